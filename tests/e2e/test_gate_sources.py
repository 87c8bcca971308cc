"""Rollouts whose gates read a real Prometheus, which judges, or dies in the middle, or the health gate does; and one
whose gates read what the nodes tried out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from support.command_check import faults
from support.command_table import JUDGED
from support.fleet_lab import Lab
from support.fleet_product import GATE, write_release
from support.fleet_watch import check_switches, ended, log_when, on_fleet, publish, until
from support.prometheus import SCRAPE_S, PrometheusServer, Scraped, needs_prometheus
from support.waiting import comes_true

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def prometheus(lab: Lab) -> Iterator[PrometheusServer]:
    """Scrapes `core` on every node, over the addresses that clients use."""
    targets = [Scraped(lab.address(node, "core"), {"node": node, "component": "core"}) for node in lab.nodes]
    with PrometheusServer(lab.home.path / "prometheus", targets) as found:
        yield found


@pytest.fixture
async def gate(lab: Lab, prometheus: PrometheusServer) -> dict[str, Any]:
    """A gate that reads the Prometheus, which sees all nodes."""
    await seeing(lab, prometheus)
    source = {"prometheus": {"url": prometheus.url, "scrape_interval_s": SCRAPE_S}, "silent_s": 20}
    return {**GATE, "source": source}


async def seeing(lab: Lab, prometheus: PrometheusServer) -> None:
    await comes_true(lambda: prometheus.sees() == len(lab.nodes), "the Prometheus to see every node")


def by_source(verdict: e.VerdictReached) -> tuple[str, str]:
    """The verdict, and what its evidence says of the source."""
    found = [one for one in verdict.evidence if one.rule == "source"]
    assert len(found) == 1
    return verdict.verdict, found[0].verdict


@needs_prometheus
async def test_a_bad_release_is_found(lab: Lab, folder: Path, gate: dict[str, Any]) -> None:
    bad = lab.fresh()
    async with lab.client() as found:
        before = await on_fleet(found, "core")
        async with lab.load():
            path = write_release(folder, bad, core=bad, mode="errors", gate=gate)
            log = await ended(found, await publish(lab, found, path), "reverted")
        verdict = log.one(e.VerdictReached)
        assert (verdict.batch, verdict.verdict, verdict.reason) == ("core-1", "fail", "regression")
        assert await on_fleet(found, "core") == before


@needs_prometheus
async def test_the_health_gate_is_killed_in_one_batch_and_the_prometheus_dies_in_the_next(
    lab: Lab, folder: Path, prometheus: PrometheusServer, gate: dict[str, Any]
) -> None:
    new = lab.fresh()
    hasty = {**gate, "window_s": 6, "source": {**gate["source"], "silent_s": 6}}
    async with lab.client() as found:
        async with lab.load():
            rollout = await publish(lab, found, write_release(folder, new, core=new, gate=hasty))
            await until(found, rollout, lambda seen: "core-1" in seen.gates, "a judgement")
            lab.kill("health-gate")
            lab.start("health-gate")

            await until(
                found, rollout, lambda seen: "core-2" in seen.gates, "a judgement of the second batch"
            )
            prometheus.stop()
            log = await log_when(found, rollout, lambda log: log.status == "paused", "the rollout to pause")
            assert len(log.of(c.OpenGate)) == len(log.of(e.VerdictReached)) == 2
            passed, silent = log.of(e.VerdictReached)
            assert (passed.batch, *by_source(passed)) == ("core-1", "pass", "pass")
            rate = next(one for one in passed.evidence if one.rule == "error_rate")
            assert rate.samples >= GATE["min_samples"]
            assert (silent.batch, *by_source(silent)) == ("core-2", "inconclusive", "inconclusive")
            assert silent.reason == "no_data"
            assert f"prometheus {prometheus.url} told nothing of node-2, node-3" in silent.detail

            prometheus.start()
            await seeing(lab, prometheus)
            assert (await lab.cli("resume", rollout)).code == 0
            log = await ended(found, rollout, "succeeded")
        await check_switches(lab, found, rollout, "core", new, lab.nodes)
    again = log.of(e.VerdictReached)[2:]
    assert [(one.batch, *by_source(one)) for one in again] == [("core-2", "pass", "pass")]


TRIED = {
    "probes": [
        {
            "name": "health",
            "interval_s": 0.3,
            "http": {"url": "http://{node.address}:7201/", "contains": "{"},
        },
        {"name": "port", "interval_s": 0.3, "tcp": {"address": "{node.address}:7201"}},
        {
            "name": "smoke",
            "repeat": False,
            "interval_s": 0.3,
            "command": {"argv": ["python3", "-c", "import sys"]},
        },
        {
            "name": "scenario",
            "interval_s": 0.3,
            "scenario": {
                "base": "http://{node.address}:7201",
                "calls": [
                    {"path": "/", "capture": {"pid": "pid"}},
                    {
                        "method": "POST",
                        "path": "/{var.pid}",
                        "expect": {"status": [201], "contains": "version"},
                    },
                ],
            },
        },
        {
            "name": "rows",
            "interval_s": 0.5,
            "command": {"argv": ["python3", "-c", "print(42)"], "reads": "number"},
        },
    ],
    "rules": [
        {"rule": "probe", "probe": "health"},
        {"rule": "probe", "probe": "port"},
        {"rule": "probe", "probe": "scenario"},
        {"rule": "speed", "probe": "health", "max_ratio": 20, "floor_s": 2, "least": 5},
        {"rule": "value", "probe": "rows", "min": 1, "max": 100},
        {"rule": "gauge", "metric": "bumpless_process_open_fds", "max_value": 5000},
        {"rule": "gauge", "metric": "bumpless_node_disk_used_ratio", "max_value": 1},
    ],
}
LINKED = {"rules": [{"rule": "dependencies", "interval_s": 0.3}]}


async def test_what_the_nodes_try_out_is_judged(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        path = write_release(folder, new, core=new, front=new, gate={**GATE, **TRIED})
        release = json.loads(path.read_text())
        core, front = release["components"]
        front["gate"] = {**GATE, **LINKED}
        core["gate"]["rules"].append({"rule": "probe", "probe": "smoke", "once": True, "failures": 2})
        path.write_text(json.dumps(release))
        async with lab.load():
            log = await ended(found, await publish(lab, found, path), "succeeded")
        answer = await lab.cli("gate", "dry-run", str(path), "--component", "core", "--output", "json")
        assert faults("gate dry-run", JUDGED["gate dry-run"][0], answer) == []
        seen = json.loads(answer.out)
        assert {row["node"] for row in seen if row["metric"] == "bumpless_process_open_fds"} == set(lab.nodes)
        core["gate"]["rules"][5]["metric"] = "bumpless_proces_open_fds"
        path.write_text(json.dumps(release))
        answer = await lab.cli("gate", "dry-run", str(path), "--component", "core")
        assert answer.code == 1
        assert "1 metrics are missing" in answer.err
    rules = {one.rule: one.verdict for verdict in log.of(e.VerdictReached) for one in verdict.evidence}
    assert {
        "probe health",
        "probe port",
        "value rows",
        "probe smoke",
        "probe scenario",
        "speed health",
        "gauge",
        "dependencies",
    } < set(rules)
    assert set(rules.values()) == {"pass"}
