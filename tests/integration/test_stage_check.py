"""The executor process is asked whether it could stage a tree: what it answers, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from pathlib import Path

from bumpless.cli.stage_commands import Answer, ask_fleet
from bumpless.common.artifacts.build import build_artifact
from bumpless.common.artifacts.manifest import Artifact, open_artifact, sign_artifact
from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.artifacts.stores.store import DirectoryBlobs
from bumpless.common.contract.commands import StageComponent
from bumpless.common.contract.envelope import MAX_ENVELOPE_BYTES
from bumpless.common.contract.events import NodeObserved, StepOutcome, StepStaged
from bumpless.common.contract.stage_check import StageCheck, StageChecked
from bumpless.common.contract.subjects import ARTIFACT_BUCKET, api_stage_check
from bumpless.common.errors import Retryable
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Run
from bumpless.executor.journal import Journal
from bumpless.executor.layout import SPARE_BYTES
from integration.test_executor import COMPONENT, NODE, PATIENCE_S, Site, site
from support.waiting import eventually

__all__ = ["site"]  # the fixture
SIZE, RATE = 1_000_000, 250_000
"""So slow that there is time for something else meanwhile."""


async def check(site: Site, target: Target, timeout_s: float = PATIENCE_S) -> StageChecked:
    question = StageCheck(
        component=target.component,
        root=target.root,
        artifact=target.artifact,
        artifact_size=target.artifact_size,
        timeout_s=timeout_s,
    )

    async def ask() -> bytes | None:
        try:
            return await site.connection.request(
                api_stage_check(NODE), question.model_dump_json().encode(), timeout_s + 5
            )
        except Retryable:
            return None  # it has just been started, and nobody listens yet

    return StageChecked.model_validate_json(await eventually(ask, bool, "an answer") or b"")


OF_THE_EXECUTOR = {
    "log", "run", "checks", "downloads", "verified", "lock", "identity", "reserve", "journal.json", "journal.before.json",
}  # fmt: skip
"""What an executor writes on its own account, also when it only starts."""


def kept(site: Site) -> dict[Path, bytes]:
    """Everything on the node that a check must leave as it was; a link is where it leads to.

    The journal counts as its record, without the results that the broker has not acknowledged: those come and go.
    """
    node = site.home / "node"
    found = {
        path.relative_to(node): path.resolve().read_bytes() if path.is_file() else bytes(path.resolve())
        for path in node.rglob("*")
        if not OF_THE_EXECUTOR & set(path.relative_to(node).parts)
    }
    if (record := Journal(site.component / "journal.json").load()) is not None:
        found[Path("record")] = record.model_copy(update={"outbox": ()}).model_dump_json().encode()
    return found


def changed(
    before: dict[Path, bytes], after: dict[Path, bytes]
) -> dict[Path, tuple[bytes | None, bytes | None]]:
    """What is not the same on both sides."""
    paths = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    return {path: (before.get(path), after.get(path)) for path in paths}


def left(site: Site) -> list[Path]:
    """What checks made and did not remove."""
    node = site.home / "node"
    return [*(node / "checks").glob("*"), *(node / "downloads").glob("*")]


async def described(site: Site, target: Target) -> Artifact:
    store = JetStreamBlobs(site.connection.js, ARTIFACT_BUCKET)
    envelope = await store.get(target.artifact, max_size=MAX_ENVELOPE_BYTES)
    return open_artifact(envelope, TrustStore.of(release=site.release.public))


async def publish_as(site: Site, target: Target, artifact: Artifact, key: SigningKey) -> Target:
    """The target with another description of its tree."""
    store = JetStreamBlobs(site.connection.js, ARTIFACT_BUCKET)
    ref = await store.put(sign_artifact(artifact, key).to_bytes())
    return target.model_copy(update={"artifact": ref.digest, "artifact_size": ref.size})


async def publish_large(site: Site) -> tuple[Target, int]:
    """A target without a base, and the size of its package."""
    tree = site.home / "large"
    tree.mkdir()
    (tree / "data").write_bytes(random.Random(3).randbytes(SIZE))
    built = await asyncio.to_thread(
        build_artifact,
        tree,
        name=COMPONENT,
        version="v1",
        previous=[],
        out=site.home / "built",
        key=site.release,
    )
    store = JetStreamBlobs(site.connection.js, ARTIFACT_BUCKET)
    for blob in tuple(built.blobs.iterdir()):
        await store.put(blob)
    ref = await store.put(built.envelope)
    fields = {"root": built.artifact.root, "artifact": ref.digest, "artifact_size": ref.size}
    target = {"component": COMPONENT, "version": "v1", "run": Run(command=("true",)), **fields}
    return Target.model_validate(target), built.artifact.full.size


async def install(site: Site, target: Target) -> None:
    """Return when the target serves and the broker has the result, which is the journal's last change."""
    assert (await site.apply((1, 1), target)).outcome is StepOutcome.DONE

    async def journal() -> dict[str, object]:
        return json.loads((site.component / "journal.json").read_text())["record"]

    await eventually(journal, lambda record: not record["outbox"], "an empty outbox")


async def part_arrived(site: Site) -> int:
    async def arrived() -> int:
        return sum(part.stat().st_size for part in (site.home / "node" / "downloads").glob("*.part"))

    return await eventually(arrived, bool, "part of the package")


async def test_full_delta_and_present_are_told_and_nothing_is_left(site: Site) -> None:
    v1, v2 = await site.publish("v1"), await site.publish("v2", "v1")
    site.start()
    first = await check(site, v1)
    assert (first.ready, first.used) == (True, "full")
    assert first.bytes_fetched == first.full_bytes > 0
    assert "no delta from a tree on this node" in (first.reason or "")
    assert first.free_bytes > 0
    assert not site.component.exists(), "a component that was only asked for became known"

    await install(site, v1)
    before = kept(site)
    second = await check(site, v2)
    assert (second.ready, second.used, second.reason) == (True, "delta", None)
    assert 0 < second.bytes_fetched < second.full_bytes
    present = await check(site, v1)
    assert (present.ready, present.used, present.bytes_fetched) == (True, "present", 0)
    assert (changed(before, kept(site)), left(site)) == ({}, [])

    assert (await site.apply((2, 1), v2, v1)).outcome is StepOutcome.DONE
    assert not any(isinstance(m, StepStaged) for m in site.heard), "a check was reported like a staging"
    seen = [m.node.components.get(COMPONENT) for m in site.heard if isinstance(m, NodeObserved)]
    assert {c.generation for c in seen if c is not None} <= {0, 1, 2}


async def test_what_is_wrong_is_told_and_nothing_is_left(site: Site) -> None:
    v1, v2 = await site.publish("v1"), await site.publish("v2", "v1")
    site.start()
    await install(site, v1)
    before = kept(site)
    artifact = await described(site, v2)

    untrusted = await check(site, await publish_as(site, v2, artifact, SigningKey.generate()))
    assert (untrusted.ready, untrusted.used) == (False, None)
    assert "sign with a trusted key" in (untrusted.reason or "")

    vast = artifact.model_copy(update={"tree_size": 1 << 60})
    no_space = await check(site, await publish_as(site, v2, vast, site.release))
    assert not no_space.ready
    assert f"expected {(1 << 60) + artifact.full.size + SPARE_BYTES} bytes free" in (no_space.reason or "")
    assert "make room or choose a larger disk" in (no_space.reason or "")

    mixed = v2.model_copy(update={"artifact": v1.artifact, "artifact_size": v1.artifact_size})
    assert "somebody mixed up two artifacts" in ((await check(site, mixed)).reason or "")

    gone = v2.model_copy(update={"artifact": "sha256:" + "0" * 64})
    assert "publish the release again" in ((await check(site, gone)).reason or "")
    assert (changed(before, kept(site)), left(site)) == ({}, [])


async def test_a_damaged_package_is_not_ready_and_a_damaged_delta_is_ready_by_full(site: Site) -> None:
    v1, v2 = await site.publish("v1"), await site.publish("v2", "v1")
    artifact = await described(site, v2)
    store = DirectoryBlobs(site.home / "store")
    for version in ("v1", "v2"):
        for blob in (site.home / "built" / version / "blobs").iterdir():
            await store.put(blob)
    for target in (v1, v2):
        jetstream = JetStreamBlobs(site.connection.js, ARTIFACT_BUCKET)
        await store.put(await jetstream.get(target.artifact, max_size=MAX_ENVELOPE_BYTES))
    site.start(STORE_URL=f"file://{site.home}/store")
    await install(site, v1)
    before = kept(site)

    def damage(digest: str) -> None:
        blob = site.home / "store" / digest.removeprefix("sha256:")
        blob.write_bytes(blob.read_bytes()[:-1] + b"?")

    damage(artifact.deltas[0].digest)
    full = await check(site, v2)
    assert (full.ready, full.used) == (True, "full")
    assert "Corrupt" in (full.reason or "")
    damage(artifact.full.digest)
    damaged = await check(site, v2)
    assert not damaged.ready
    assert f"expected {artifact.full.digest}" in (damaged.reason or "")
    assert (changed(before, kept(site)), left(site)) == ({}, [])


async def test_a_damaged_tree_that_serves_is_not_ready_and_is_left_alone(site: Site) -> None:
    v1 = await site.publish("v1")
    site.start(STOP_SERVICES_ON_EXIT="false")
    await install(site, v1)
    await site.stop()
    site.start()  # what an executor has verified itself it does not read again
    site.damage(v1)
    before = kept(site)
    damaged = await check(site, v1)
    assert not damaged.ready
    assert f"expected the tree {v1.root}" in (damaged.reason or "")
    assert (changed(before, kept(site)), left(site)) == ({}, [])


async def test_two_at_once_are_both_answered(site: Site) -> None:
    v1, v2 = await site.publish("v1"), await site.publish("v2", "v1")
    site.start()
    await install(site, v1)
    before = kept(site)
    answers = await asyncio.gather(check(site, v2), check(site, v2))
    assert [(answer.ready, answer.used) for answer in answers] == [(True, "delta")] * 2
    assert (changed(before, kept(site)), left(site)) == ({}, [])


async def test_a_staging_goes_first_and_goes_on_where_the_check_was(site: Site) -> None:
    target, size = await publish_large(site)
    site.start(FETCH_JITTER_S="0", FETCH_BYTES_PER_S=str(RATE))
    asked = asyncio.create_task(check(site, target))
    await part_arrived(site)
    fields = site.command((1, 1), target).model_dump(exclude={"type"}) | {"batch": None}
    await site.send(StageComponent.model_validate(fields))
    answer = await asked
    assert not answer.ready
    assert "expected no rollout at work on this node" in (answer.reason or "")
    staged = await site.wait(StepStaged)
    assert (staged.ok, staged.used) == (True, "full")
    assert 0 < staged.bytes_fetched < size
    assert left(site) == []


async def test_a_kill_in_the_middle_leaves_what_the_next_check_goes_on_with(site: Site) -> None:
    target, size = await publish_large(site)
    site.start(FETCH_BYTES_PER_S=str(RATE))
    asked = asyncio.create_task(check(site, target))
    await part_arrived(site)
    assert list((site.home / "node" / "checks").iterdir()), "nothing was left to be removed"
    await site.stop(signal.SIGKILL)
    asked.cancel()
    held = await part_arrived(site)
    site.start()
    again = await check(site, target)
    assert (again.ready, again.used, again.bytes_fetched) == (True, "full", size - held)
    assert left(site) == []
    assert not site.component.exists()


async def test_what_is_not_a_check_is_dropped_and_others_are_answered(site: Site) -> None:
    v1 = await site.publish("v1")
    site.start()
    assert (await check(site, v1)).ready
    raw = v1.model_dump(mode="json", include={"component", "root", "artifact_size"})
    for artifact in ("sha256:../../../../etc/passwd", "sha256:0"):
        bad = StageCheck.model_construct(**raw, artifact=artifact, timeout_s=5)
        await site.connection.nc.publish(
            api_stage_check(NODE), bad.model_dump_json().encode(), reply="nobody"
        )
    found = await ask_fleet(site.connection, {NODE: [v1], "node-b": [v1, v1]}, PATIENCE_S)
    assert [(c.node, c.answer) for c in found] == [
        (NODE, Answer.READY),
        ("node-b", Answer.NO_ANSWER),
        ("node-b", Answer.NO_ANSWER),
    ]
    assert "see that its executor runs" in (found[1].reason or "")
