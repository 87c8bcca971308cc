"""Bytes that somebody put there: foreign releases, foreign commands, damaged packages. Nothing of it runs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from nats.js.object_store import ObjectStore

from bumpless.cli.client import Client
from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import PlanHash, RolloutId
from bumpless.common.contract.envelope import COMMAND_TYPE, Envelope
from bumpless.common.contract.subjects import Stream
from bumpless.common.model.plan import Direction
from bumpless.common.shell import clock
from support.fleet_lab import Lab
from support.fleet_product import starts, write_release
from support.fleet_watch import (
    announce,
    build,
    check_log,
    ended,
    log_when,
    on_fleet,
    parked,
    publish,
    refused,
    results,
)
from support.waiting import eventually

pytestmark = pytest.mark.timeout(300)

HIGHER = 1000


async def test_a_release_of_a_foreign_key(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        before = await on_fleet(found, "core")
        path = write_release(folder, new, core=new)
        rollout = await announce(found, await build(lab, found, path, SigningKey.generate()))
        reasons = " ".join((await refused(found, rollout)).reasons)
        assert "signature" in reasons
        assert await on_fleet(found, "core") == before


@pytest.mark.parametrize("how", ["unsigned", "foreign", "altered"])
async def test_a_command_that_nobody_of_ours_signed(lab: Lab, folder: Path, how: str) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        # So that what stands is signed, whatever the case before this one left there.
        clean = lab.fresh()
        await ended(
            found, await publish(lab, found, write_release(folder, clean, core=clean, gate=None)), "succeeded"
        )
        before = {node: starts(lab.home.node_dir(node), "core") for node in lab.nodes}
        subject = subjects.subject_for(c.ApplyComponent, node="node-1", component="core")
        standing = (await found.connection.last(Stream.CMD, subject))[0]
        command = await forged(found, standing.data)
        match how:
            case "unsigned":
                body = wire.encode(command)
            case "foreign":
                body = SigningKey.generate().sign(COMMAND_TYPE, wire.encode(command)).to_bytes()
            case _:
                ours = Envelope.from_bytes(standing.data)
                body = ours.model_copy(update={"payload": wire.encode(command)}).to_bytes()
        headers = {"Bumpless-Generation": str(command.generation), "Bumpless-Sequence": str(command.sequence)}
        ack = await found.connection.js.publish(subject, body, headers=headers)

        letters = await eventually(
            lambda: parked(found, lambda m: m.service == "executor" and m.body == body), bool, "a dead letter"
        )
        assert [(m.stream, m.subject.split(".", 1)[1]) for m in letters] == [(ack.stream, "node-1.core")]
        async with lab.load():
            # What stands there must not keep our own next command away either.
            path = write_release(folder, new, core=new)
            log = await ended(found, await publish(lab, found, path), "succeeded", limit_s=40)
        await check_log(found, log)
        for node in lab.nodes:
            assert [v for v, _, _ in starts(lab.home.node_dir(node), "core")[len(before[node]) :]] == [new]
        said = await results(found, e.StepFinished, command.rollout)
        assert not said, "an unsigned command was answered"


async def forged(found: Client, standing: bytes) -> c.ApplyComponent:
    """A command of a higher generation, to stop the component."""
    message = wire.decode(Envelope.from_bytes(standing).payload)
    assert isinstance(message, c.NodeCommand)
    return c.ApplyComponent(
        id=clock.fresh_id(),
        at=clock.now(),
        rollout=RolloutId(clock.fresh_id()),
        batch=None,
        plan_hash=PlanHash("sha256:" + "0" * 64),
        direction=Direction.FORWARD,
        generation=message.generation + HIGHER,
        sequence=1,
        node="node-1",
        component="core",
        target=None,
        before=message.target,
        expires_at=clock.now() + timedelta(minutes=10),
    )


async def test_a_damaged_delta_costs_a_full_package(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        built = await build(lab, found, write_release(folder, new, core=new))
        artifact = built.components["core"].artifact
        assert artifact.deltas
        for delta in artifact.deltas:
            await overwrite(found, delta.digest, delta.size)
        async with lab.load():
            rollout = await announce(found, built)
            await ended(found, rollout, "succeeded")
        staged = await results(found, e.StepStaged, rollout)
        assert {(m.node, m.used) for m in staged} == {(node, "full") for node in lab.nodes}
        assert await on_fleet(found, "core") == dict.fromkeys(lab.nodes, new)


async def test_a_damaged_full_package_stops_the_rollout_before_anything_switches(
    lab: Lab, folder: Path
) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        before = await on_fleet(found, "core")
        built = await build(lab, found, write_release(folder, new, core=new))
        artifact = built.components["core"].artifact
        for ref in (artifact.full, *artifact.deltas):
            await overwrite(found, ref.digest, ref.size)
        async with lab.load():
            rollout = await announce(found, built)
            log = await log_when(
                found, rollout, lambda log: log.of(e.RolloutFailed), "the rollout to fail", 30
            )
        failed = log.one(e.RolloutFailed)
        assert not failed.switched_anything
        assert "cannot stage" in failed.reason
        staged = await results(found, e.StepStaged, rollout)
        assert staged
        assert not any(m.ok for m in staged)
        assert not await results(found, e.StepFinished, rollout)
        assert await on_fleet(found, "core") == before


async def overwrite(found: Client, digest: str, size: int) -> None:
    """Other bytes of the same length under the blob's name."""
    bucket = subjects.ARTIFACT_BUCKET
    objects = ObjectStore(bucket, f"OBJ_{bucket}", found.connection.js)
    await objects.put(digest.removeprefix("sha256:"), b"\x00" * size)
