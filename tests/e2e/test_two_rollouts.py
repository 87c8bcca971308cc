"""Two rollouts at once on the same nodes: one unavailability budget for both."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from bumpless.cli.client import Client
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import RolloutId
from bumpless.common.engine import rollout as engine
from bumpless.common.engine.batch import unavailable
from bumpless.common.model.rollout import Rollout
from bumpless.common.shell.rollouts import Plans
from support.fleet_lab import Lab
from support.fleet_product import write_release
from support.fleet_watch import Log, check_log, ended, on_fleet, publish

pytestmark = pytest.mark.timeout(300)


def only(path: Path, name: str, env: dict[str, str]) -> Path:
    """The release file, with one of its components alone."""
    body = json.loads(path.read_text())
    (component,) = (found for found in body["components"] if found["name"] == name)
    component["depends_on"] = []
    component["run"]["env"] = env
    body["components"] = [component]
    path.write_text(json.dumps(body))
    return path


async def out_of(found: Client, log: Log) -> list[tuple[datetime, RolloutId, frozenset[str]]]:
    """Which nodes the rollout kept from serving, from when on, as its log says."""
    plans = Plans(JetStreamBlobs(found.connection.js, subjects.PLAN_BUCKET))
    state: Rollout | None = None
    seen = []
    for entry in log.advanced:
        for item in entry.inputs:
            message = wire.from_dict(item.message)
            if isinstance(message, e.RolloutPlanned):
                plan = await plans.get(message.plan_hash)
                state = engine.begin(plan, message, item.at).state
            else:
                assert state is not None
                state = engine.decide(state, message, item.at).state
        assert state is not None
        seen.append((entry.at, log.rollout, unavailable(state)))
    return seen


async def test_no_more_nodes_are_out_than_one_rollout_may_take(lab: Lab, folder: Path) -> None:
    old, new = lab.fresh(), lab.fresh()
    strategy = {"strategy": {"kind": "rolling", "batch_size": 1}, "max_unavailable": 1}
    async with lab.client() as found:
        path = write_release(folder, old, core=old, front=old, gate=None)
        await ended(found, await publish(lab, found, path), "succeeded")
        core = write_release(folder / "core", new, core=new, front=None, gate=None, **strategy)
        both = write_release(
            folder / "front", new, core=old, front=new, gate=None, product="faces", **strategy
        )
        env = {"CORE": ",".join(lab.address(node, "core") for node in lab.nodes)}
        front = only(both, "front", env)
        async with lab.load():
            first, second = await publish(lab, found, core), await publish(lab, found, front)
            logs = [await ended(found, first, "succeeded"), await ended(found, second, "succeeded")]

        assert await on_fleet(found, "core") == dict.fromkeys(lab.nodes, new)
        assert await on_fleet(found, "front") == dict.fromkeys(lab.nodes, new)
        for log in logs:
            await check_log(found, log)
        out: dict[RolloutId, frozenset[str]] = {}
        for _, rollout, nodes in sorted(
            [x for log in logs for x in await out_of(found, log)], key=lambda x: x[:2]
        ):
            out[rollout] = nodes
            assert len(frozenset().union(*out.values())) <= 1, f"out at once: {out}"
        told = [
            wire.from_dict(item.message)
            for log in logs
            for entry in log.advanced
            for item in entry.inputs
            if item.message["type"] == "nodes-out"
        ]
        assert any(isinstance(m, e.NodesOut) and m.nodes for m in told), "neither was told of the other"
