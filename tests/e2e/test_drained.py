"""An operator drains a node and brings it back, under load and beside a rollout: nobody notices but those who ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bumpless.cli.client import Client
from bumpless.common.contract import events as e
from bumpless.common.contract.commands import DrainNode, OpenGate
from bumpless.common.contract.subjects import STREAM_SUBJECTS, Stream
from bumpless.common.shell.reading import readable
from support.fleet_lab import Lab
from support.fleet_product import GATE, starts, write_release
from support.fleet_watch import check_log, ended, on_fleet, publish, results
from support.haproxy import Haproxy
from support.waiting import eventually

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(3) as lab:
        yield lab


@pytest.fixture
def proxy(lab: Lab) -> Iterator[Haproxy]:
    with Haproxy({node: lab.address(node, "core") for node in lab.nodes}) as proxy:
        yield proxy


def write(folder: Path, version: str, proxy: Haproxy, **more: Any) -> Path:
    place = {"socket": str(proxy.socket), "backend": "web", "server": "{node.name}"}
    return write_release(folder, version, core=version, front=None, how={"proxy": {"haproxy": place}}, **more)


async def rows(lab: Lab) -> dict[str, dict[str, Any]]:
    """`fleet list` by node."""
    said = await lab.cli("fleet", "list", "--output", "json")
    assert said.code == 0, said.err
    return {row["node"]: row for row in json.loads(said.out)}


async def serving(found: Client, nodes: list[str], version: str) -> None:
    async def seen() -> dict[str, str | None]:
        fleet = await found.fleet()
        parts = {n.name: n.components["core"] for n in fleet.nodes if "core" in n.components}
        return {n: c.target.version for n, c in parts.items() if c.instances and c.target is not None}

    wanted = dict.fromkeys(nodes, version)
    await eventually(seen, lambda now: now == wanted, f"{wanted} to serve")


async def test_a_node_out_of_service_and_back(lab: Lab, folder: Path, proxy: Haproxy) -> None:
    one, two = lab.fresh(), lab.fresh()
    away, *others = lab.nodes
    async with lab.client() as found:
        await ended(found, await publish(lab, found, write(folder, one, proxy, gate=None)), "succeeded")
        await serving(found, lab.nodes, one)
        async with lab.load(at=[f"127.0.0.1:{proxy.port}"]):
            done = await lab.cli("fleet", "drain", away, "--reason", "new disk", "--for", "2h")
            assert (done.code, done.out) == (0, f"{away} is drained\n"), done.err
            await serving(found, others, one)
            row = (await rows(lab))[away]
            assert (row["state"], row["version"]) == ("drained", one)
            assert "new disk" in row["drained"]
            assert "until" in row["drained"]

            # It outlives its executor, and a rollout that passes by.
            lab.kill(away)
            lab.start(away)
            rollout = await publish(lab, found, write(folder, two, proxy, gate=GATE, max_unavailable=2))
            log = await ended(found, rollout, "succeeded")
            await check_log(found, log)
            planned = log.of(e.RolloutPlanned)[0]
            assert [f.code for f in planned.findings if f.subject == away] == ["NODE_DRAINED"]
            assert list(planned.out) == [away]
            assert {m.node for m in await results(found, e.StepFinished, rollout) if m.idle} == {away}
            assert all(away not in {m.node for m in g.control} for g in log.of(OpenGate))
            await serving(found, others, two)
            assert [v for v, _, _ in starts(lab.home.node_dir(away), "core")] == [one]

            back = await lab.cli("fleet", "undrain", away)
            assert (back.code, back.out) == (0, f"{away} serves\n"), back.err
            await serving(found, lab.nodes, two)
            assert await on_fleet(found, "core") == dict.fromkeys(lab.nodes, two)

        unknown = await lab.cli("fleet", "drain", "nobody")
        assert (unknown.code, "known are" in unknown.out) == (1, True)
        orders = await found.connection.snapshot(Stream.OPS, STREAM_SUBJECTS[Stream.OPS], history=True)
        assert [m.reason for m in readable(orders, DrainNode)] == ["new disk", ""]
        assert [m.accepted for m in readable(orders, e.NodeOrderAnswered)] == [True, True, False]
