"""Real rollouts by waves, by priority and spread over zones: nodes switch in the order that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bumpless.common.contract import events as e
from e2e.conftest import install
from support.fleet_lab import Lab
from support.fleet_product import write_release
from support.fleet_watch import check_log, check_switches, ended, on_fleet, publish, refused, results
from support.waiting import eventually

pytestmark = pytest.mark.timeout(300)

LABELS = {
    "node-1": {"zone": "a", "rank": "2"},
    "node-2": {"zone": "a", "rank": "10"},
    "node-3": {"zone": "b", "rank": "1"},
    "node-4": {"zone": "b", "rank": "10"},
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Four nodes in two zones that run `core` v1 and `front` f1."""
    with Lab(4, labels=LABELS) as lab:
        asyncio.run(install(lab))
        yield lab


WAVES = [
    {"name": "pilot", "nodes": ["node-3"], "soak_s": 0.2},
    {"name": "zone-a", "labels": {"zone": "a"}, "batch_size": 2},
    {"name": "others", "rest": True},
]
PRIORITY = {"kind": "priority", "priority": "rank", "batch_size": 2}
ZONES = {"kind": "rolling", "batch_size": 4, "spread": {"label": "zone", "mode": "one-at-a-time"}}


@pytest.mark.parametrize(
    ("strategy", "batches"),
    [
        pytest.param(
            {"kind": "waves", "waves": WAVES}, [["node-3"], ["node-1", "node-2"], ["node-4"]], id="waves"
        ),
        pytest.param(PRIORITY, [["node-2", "node-4"], ["node-1"], ["node-3"]], id="priority"),
        pytest.param(
            {"kind": "rolling", "batch_size": 2, "spread": "zone"},
            [["node-1", "node-3"], ["node-2", "node-4"]],
            id="spread",
        ),
        pytest.param(ZONES, [["node-1", "node-2"], ["node-3", "node-4"]], id="one zone at a time"),
    ],
)
async def test_nodes_switch_in_their_order(
    lab: Lab, folder: Path, strategy: dict[str, Any], batches: list[list[str]]
) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        async with lab.load():
            path = write_release(folder, new, core=new, gate=None, strategy=strategy)
            rollout = await publish(lab, found, path)
            log = await ended(found, rollout, "succeeded")
        await check_log(found, log)
        await check_switches(lab, found, rollout, "core", new, lab.nodes)
        wanted = dict.fromkeys(lab.nodes, new)
        await eventually(lambda: on_fleet(found, "core"), lambda seen: seen == wanted, f"{wanted}")

        done = [m for m in await results(found, e.StepFinished, rollout) if m.component == "core"]
        moments: dict[str, list[Any]] = {}
        for number, nodes in enumerate(batches, start=1):
            mine = [m for m in done if m.batch == f"core-{number}"]
            assert sorted({m.node for m in mine}) == nodes
            moments[f"core-{number}"] = [m.switched_at for m in mine if m.switched_at is not None]
        for earlier, later in pairwise(moments.values()):
            assert max(earlier) < min(later)


async def test_nodes_in_no_wave_are_not_left_out_silently(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    waves = {"kind": "waves", "waves": WAVES[:2]}
    async with lab.client() as found:
        before = await on_fleet(found, "core")
        path = write_release(folder, new, core=new, gate=None, strategy=waves)
        said = await refused(found, await publish(lab, found, path))
        assert "node-4 in no wave" in said.reasons[0]
        assert "rest: true" in said.reasons[0]
        assert await on_fleet(found, "core") == before
