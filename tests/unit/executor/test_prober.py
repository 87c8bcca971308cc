"""Probes beside instances: which are tried, what is shipped of them, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bumpless.common.contract.commands import StageComponent
from bumpless.common.model.probe import Probe
from bumpless.executor import resources
from bumpless.executor.drivers.probing import Outcome
from bumpless.executor.metrics import probes_beside
from bumpless.executor.prober import Prober, as_samples
from bumpless.executor.record import ComponentRecord, Instance
from support.plans import T0, target
from support.samples import COMMAND
from support.waiting import comes_true

GOOD, BAD = Outcome(True), Outcome(False, 'said "no"\n')


def probe(name: str = "health", **fields: Any) -> Probe:
    made = {"name": name, "tcp": {"address": "h:1"}, "interval_s": 0.1, **fields}
    return Probe.model_validate(made)


class Tries:
    """Answers each probe with its outcomes in order, the last one again and again."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.left = list(outcomes)
        self.tried: list[tuple[str, str]] = []

    async def __call__(self, probe: Probe, instance: Instance) -> Mapping[str, Outcome]:
        self.tried.append((probe.name, instance.id))
        await asyncio.sleep(0)
        return {"": self.left.pop(0) if len(self.left) > 1 else self.left[0]}


def instance(name: str) -> Instance:
    return Instance(id=name, target=target("api", "v1"))


async def test_every_outcome_is_shipped_once() -> None:
    prober = Prober("n1", Tries(GOOD))
    prober.keep([(instance("i1"), [probe(interval_s=3600)])])
    found: dict[str, float] = {}
    await comes_true(lambda: found.update(prober.take("i1")) or found, "an outcome")
    assert found['bumpless_probe_success{probe="health"}'] == 1.0
    assert set(found) == {
        'bumpless_probe_success{probe="health"}',
        'bumpless_probe_duration_seconds{probe="health"}',
    }
    assert prober.take("i1") == {}
    await prober.close()


async def test_a_smoke_test_is_tried_until_it_succeeds_and_then_shipped_for_ever() -> None:
    tries = Tries(BAD, GOOD)
    prober = Prober("n1", tries)
    prober.keep([(instance("i1"), [probe(repeat=False)])])
    wanted = 'bumpless_probe_success{probe="health"}'
    await comes_true(lambda: wanted in prober.take("i1"), "a success")
    assert prober.take("i1")[wanted] == 1.0
    assert len(tries.tried) == 2
    await prober.close()


async def test_only_what_is_kept_is_tried_and_only_where_it_belongs() -> None:
    tries = Tries(GOOD)
    prober = Prober("n1", tries)
    here, there = probe("here", node="n1"), probe("there", node="n2")
    prober.keep([(instance("i1"), [here, there])])
    await comes_true(lambda: tries.tried, "a try")
    prober.keep([(instance("i2"), [here])])
    await comes_true(lambda: ("here", "i2") in tries.tried, "a try beside the other instance")
    assert {name for name, _ in tries.tried} == {"here"}
    assert prober.take("i1") == {}
    await prober.close()


def test_what_failed_says_how_and_links_have_an_address() -> None:
    assert as_samples(probe(), {"": BAD}, 0.5) == {
        'bumpless_probe_success{probe="health",detail="said \\"no\\"\\n"}': 0.0,
        'bumpless_probe_duration_seconds{probe="health"}': 0.5,
    }
    links = Probe.model_validate({"name": "db", "links": {"addresses": ["a:1"]}})
    assert as_samples(links, {"a:1": GOOD}, 0.5) == {
        'bumpless_dependency_up{dependency="db",address="a:1"}': 1.0
    }
    counted = as_samples(probe(), {"": Outcome(True, value=7.0)}, 0.5)
    assert counted['bumpless_probe_value{probe="health"}'] == 7.0


def test_resources_are_those_asked_for_of_the_process_and_its_children(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    for pid, parent in ((10, 1), (11, 10), (12, 11), (13, 1)):
        fields = ["S", str(parent), *["0"] * 9, "50", "25", *["0"] * 20]
        (proc / str(pid) / "fd").mkdir(parents=True)
        (proc / str(pid) / "stat").write_text(f"{pid} (a ) b) {' '.join(fields)}")
        (proc / str(pid) / "statm").write_text("9 2 0 0 0 0 0")
        (proc / str(pid) / "fd" / "0").write_text("")
    (proc / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable: 60 kB\n")
    wanted = ["bumpless_process_open_fds", "bumpless_process_count", "bumpless_node_memory_available_bytes"]
    assert resources.samples(wanted, 10, tmp_path, proc) == {
        "bumpless_process_open_fds": 3.0,
        "bumpless_process_count": 3.0,
        "bumpless_node_memory_available_bytes": 61440.0,
    }
    assert resources.samples(["bumpless_process_open_fds"], 99, tmp_path, proc) == {}
    assert resources.samples(["http_requests_total"], 10, tmp_path, proc) == {}
    real = resources.samples(
        ["bumpless_node_disk_used_ratio", "bumpless_node_cpu_seconds_total"], 0, tmp_path
    )
    assert 0 < real["bumpless_node_disk_used_ratio"] < 1
    assert real["bumpless_node_cpu_seconds_total"] > 0


def test_the_probes_of_a_version_to_come_are_tried_beside_the_old_but_not_its_commands() -> None:
    command = probe("smoke", tcp=None, command={"argv": ["bin/smoke"]})
    coming = target("api", "v2").model_copy(update={"probes": (probe("health"), probe("port"), command)})
    own = probe("health", interval_s=9)
    old = instance("i1").model_copy(
        update={"target": target("api", "v1").model_copy(update={"probes": (own,)})}
    )
    order = StageComponent.model_validate(
        {**COMMAND, "id": "c1", "at": T0, "batch": None, "before": None, "target": coming}
    )
    record = ComponentRecord(node="n1", component="api", current=old.target, serving=old)
    assert probes_beside(record, old) == (own,)
    staged = record.model_copy(update={"command": order})
    assert [(one.name, one.interval_s) for one in probes_beside(staged, old)] == [
        ("health", 9),
        ("port", 0.1),
    ]
    new = old.model_copy(update={"id": "i2", "target": coming})
    assert probes_beside(staged.model_copy(update={"current": coming}), new) == coming.probes
