"""What the wire may do to messages: repeat them, and carry bytes that are no message at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.subjects import Stream
from bumpless.common.model.rollout import rollout_id
from bumpless.common.shell import topology
from support.fleet_lab import Lab
from support.fleet_product import write_release
from support.fleet_watch import announce, build, check_log, check_switches, ended, on_fleet, parked, publish
from support.waiting import eventually

pytestmark = pytest.mark.timeout(300)

NOISE = b"\xff\xfe no message"


async def test_an_announcement_that_comes_five_times(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        async with lab.load():
            built = await build(lab, found, write_release(folder, new, core=new))
            message = built.announcement(by="ci")
            rollout = await announce(found, built)
            for number in range(4):
                # Another id in the header: the broker does not know that it has stored this before.
                headers = {**wire.headers(message, "ci"), wire.MSG_ID_HEADER: f"copy-{new}-{number}"}
                await found.connection.js.publish(
                    subjects.subject_of(message), wire.encode(message), headers=headers
                )
            log = await ended(found, rollout, "succeeded")

        stored = await found.connection.snapshot(Stream.REL, subjects.subject_of(message), history=True)
        copies = [item for item in stored if wire.decode(item.data).id == message.id]
        assert len(copies) == 5
        await check_log(found, log)
        await check_switches(lab, found, rollout, "core", new, lab.nodes)
        planned = await found.connection.snapshot(
            Stream.RO, subjects.subject_for(e.RolloutPlanned), history=True
        )
        mine = [m for item in planned if isinstance(m := wire.decode(item.data), e.RolloutPlanned)]
        assert [m.rollout for m in mine if m.release_version == new] == [rollout]


async def test_the_same_release_is_the_same_rollout_whatever_the_fleet_runs(lab: Lab, folder: Path) -> None:
    """How the trees are packed depends on what the nodes run; what the release is does not."""
    new = lab.fresh()
    async with lab.client() as found:
        path = write_release(folder, new, core=new, gate=None)
        first = await build(lab, found, path)
        rollout = await announce(found, first)
        await ended(found, rollout, "succeeded")
        again = await build(lab, found, path)
        assert again.components["core"].envelope != first.components["core"].envelope
        assert again.digest == first.digest
        assert await announce(found, again) == rollout
        planned = await found.connection.snapshot(
            Stream.RO, subjects.subject_for(e.RolloutPlanned, rollout=rollout), history=True
        )
        assert len(planned) == 1


async def test_a_new_version_of_the_same_bytes_runs_under_its_new_name(lab: Lab, folder: Path) -> None:
    """The gate compares the version that a service says, so the service must be told."""
    old, new = lab.fresh(), lab.fresh()
    async with lab.client() as found:
        path = write_release(folder, old, core=old, gate=None)
        await ended(found, await publish(lab, found, path), "succeeded")
        path = write_release(folder, new, core=old)
        body = json.loads(path.read_text())
        body["components"][0]["version"] = new
        path.write_text(json.dumps(body))
        async with lab.load():
            log = await ended(found, await publish(lab, found, path), "succeeded")

        assert await on_fleet(found, "core") == dict.fromkeys(lab.nodes, new)
        await check_log(found, log)


async def test_noise_on_every_subject_delays_nobody(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        built = await build(lab, found, write_release(folder, new, core=new))
        sent = []
        durables = [durable for durable in topology.DURABLES if durable.name in lab.services]
        for pattern in sorted({pattern for durable in durables for pattern in durable.filters}):
            subject = pattern.replace("*", "noise")
            ack = await found.connection.js.publish(subject, NOISE)
            sent += [(d.name, ack.stream, subject, ack.seq) for d in durables if pattern in d.filters]
        for kind in (
            e.RolloutPlanned,
            e.RolloutAdvanced,
            e.RolloutProgressed,
            e.NodeObserved,
            e.MetricsSampled,
        ):
            # Nobody is handed these one by one; whoever reads many of them at once meets it.
            await found.connection.js.publish(subjects.subject_for(kind).replace("*", "noise"), NOISE)
        async with lab.load():
            rollout = rollout_id(built.release.product, built.digest, 0)
            assert await announce(found, built) == rollout
            log = await ended(found, rollout, "succeeded", limit_s=30)
        await check_log(found, log)

        letters = await eventually(
            lambda: parked(found, lambda m: m.body == NOISE),
            lambda all_: len(all_) >= len(sent),
            "dead letters",
        )
        assert sorted((m.service, m.stream, m.subject, m.stream_sequence) for m in letters) == sorted(sent)
        assert all("expected a JSON message" in m.reason for m in letters)
        for durable in durables:
            info = await found.connection.js.consumer_info(durable.stream.value, durable.name)
            assert info.num_ack_pending == 0, f"{durable} has unsettled messages"
