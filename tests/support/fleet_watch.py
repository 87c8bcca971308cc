"""Publishing to a lab, waiting for what a rollout does, and reading afterwards what its log says."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from bumpless.cli.client import Client
from bumpless.cli.comparing import compared
from bumpless.cli.publishing import BuiltRelease, build_release, upload
from bumpless.cli.watched import Watched
from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import Message, RolloutId
from bumpless.common.contract.subjects import Stream
from bumpless.common.model.rollout import rollout_id
from bumpless.common.render.comparison import in_words
from bumpless.common.shell.rollouts import Plans, RolloutKind
from support.fleet_lab import Lab
from support.fleet_product import starts

M = TypeVar("M", bound=Message)
LIMIT_S = 120.0
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


async def build(lab: Lab, found: Client, path: Path, key: SigningKey | None = None) -> BuiltRelease:
    """The signed release of the file, its blobs uploaded; not announced."""
    built = await build_release(
        path,
        key=key or SigningKey.load(lab.home.release_key),
        trust=TrustStore.load(lab.home.trust),
        work=lab.home.work,
        fleet=await found.fleet(),
        store=found.artifacts,
        tell=lambda text: None,
    )
    await upload(built, found.artifacts, lambda text: None)
    return built


async def announce(found: Client, built: BuiltRelease) -> RolloutId:
    await found.connection.publish(built.announcement(by="ci"), source="ci")
    return rollout_id(built.release.product, built.digest, 0)


async def publish(lab: Lab, found: Client, path: Path) -> RolloutId:
    return await announce(found, await build(lab, found, path))


# while it goes on


async def until(
    found: Client,
    rollout: RolloutId,
    reached: Callable[[Watched], object],
    what: str,
    limit_s: float = LIMIT_S,
) -> Watched:
    """Follow a rollout's progress until `reached`."""
    seen = Watched(rollout)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s), contextlib.aclosing(found.watch(rollout)) as watching:
            async for seen, _ in watching:
                if reached(seen):
                    return seen
    raise AssertionError(f"expected {what} within {limit_s:g} s, last seen {seen}")


def batch(name: str, status: str) -> Callable[[Watched], bool]:
    """A batch of the rollout, or of a revert of it, has this status."""

    def reached(seen: Watched) -> bool:
        shown = [p for p in (seen.forward, *seen.reverts.values()) if p is not None]
        return any(p.batches.get(name, "").startswith(status) for p in shown)

    return reached


def step(node: str, component: str, state: str) -> Callable[[Watched], bool]:
    def reached(seen: Watched) -> bool:
        shown = seen.steps.get((node, component))
        return shown is not None and shown.state == state

    return reached


async def until_batch(found: Client, rollout: RolloutId, name: str, status: str) -> Watched:
    return await until(found, rollout, batch(name, status), f"batch {name} to be {status}")


# its log


@dataclass(frozen=True)
class Log:
    """Everything that was logged about one rollout, in order."""

    rollout: RolloutId
    messages: tuple[Message, ...]

    def of(self, kind: type[M]) -> list[M]:
        return [m for m in self.messages if isinstance(m, kind)]

    def one(self, kind: type[M]) -> M:
        """The only message of its kind."""
        found = self.of(kind)
        assert len(found) == 1, f"expected one {kind.__name__}, found {found}"
        return found[0]

    @property
    def advanced(self) -> list[e.RolloutAdvanced]:
        return self.of(e.RolloutAdvanced)

    @property
    def status(self) -> str:
        return self.advanced[-1].status if self.advanced else "none"

    @property
    def reasons(self) -> list[str]:
        """Why it failed, and what its planner noted last."""
        return [*(m.reason for m in self.of(e.RolloutFailed)), *self.advanced[-1].notes]

    @property
    def revert(self) -> RolloutId:
        return self.one(e.RevertStarted).revert

    def index(self, wanted: Callable[[Message], bool]) -> int:
        return next(number for number, message in enumerate(self.messages) if wanted(message))


async def log_when(
    found: Client, rollout: RolloutId, enough: Callable[[Log], object], what: str, limit_s: float = LIMIT_S
) -> Log:
    """The log as soon as `enough` of it is there."""
    messages: list[Message] = []
    following = found.connection.follow(Stream.RO, subjects.rollout_subjects(rollout), since=BEGINNING)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s), contextlib.aclosing(following) as items:
            async for item in items:
                with contextlib.suppress(wire.Unreadable):
                    messages.append(wire.decode(item.data))
                log = Log(rollout, tuple(messages))
                if enough(log):
                    return log
    shown = [(m.version, m.status, m.notes) for m in Log(rollout, tuple(messages)).advanced] or messages
    raise AssertionError(f"expected {what} within {limit_s:g} s, the log has {shown}")


async def log_of(found: Client, rollout: RolloutId) -> Log:
    return Log(rollout, tuple(wire.decode(item.data) for item in await found.history(rollout)))


async def ended(found: Client, rollout: RolloutId, status: str, limit_s: float = LIMIT_S) -> Log:
    """The whole log once the planner's own word for it is `status`; one that succeeded may be taken back later."""
    bad = {"succeeded", "reverted", "halted", "cancelled"} - {status}
    bad -= {"succeeded"} if status == "reverted" else set()

    def over(log: Log) -> bool:
        assert log.status not in bad, f"expected {status}, found {log.status}: {log.reasons}"
        return log.status == status

    await log_when(found, rollout, over, f"rollout {rollout} to end {status}", limit_s)
    return await log_of(found, rollout)


async def refused(found: Client, rollout: RolloutId) -> e.ReleaseRefused:
    log = await log_when(found, rollout, lambda log: log.of(e.ReleaseRefused), "a refusal", 30)
    return log.one(e.ReleaseRefused)


async def results(found: Client, kind: type[M], *rollouts: str) -> list[M]:
    """What the executors said about these rollouts."""
    items = await found.connection.snapshot(Stream.EVT, subjects.subject_for(kind), history=True)
    said = []
    for item in items:
        with contextlib.suppress(wire.Unreadable):
            message = wire.decode(item.data)
            if isinstance(message, kind) and getattr(message, "rollout", None) in rollouts:
                said.append(message)
    return said


async def parked(found: Client, wanted: Callable[[e.MessageParked], bool]) -> list[e.MessageParked]:
    """The dead letters that are `wanted`."""
    items = await found.connection.snapshot(Stream.DLQ, subjects.STREAM_SUBJECTS[Stream.DLQ][0], history=True)
    messages = [wire.decode(item.data) for item in items]
    return [m for m in messages if isinstance(m, e.MessageParked) and wanted(m)]


async def on_fleet(found: Client, component: str) -> dict[str, str]:
    """Node -> version of the component, as the nodes observed it."""
    return {
        node.name: seen.target.version
        for node in (await found.fleet()).nodes
        if (seen := node.components.get(component)) is not None and seen.target is not None
    }


# what must hold of it


async def check_log(found: Client, log: Log) -> None:
    """Versions without a gap, no transition twice, one gate and one verdict at most per batch; the replay agrees, and
    nothing was done but what the plan had shown."""
    assert [entry.version for entry in log.advanced] == list(range(1, len(log.advanced) + 1))
    moves = [(a.status_before, a.status) for a in log.advanced if a.status_before != a.status]
    chained = [None, *(after for _, after in moves)]
    assert [before for before, _ in moves] == chained[:-1], f"the log does not hang together: {moves}"
    for kind in (e.RolloutPlanned, e.RolloutSucceeded, e.RolloutFailed, e.RolloutReverted):
        assert len(log.of(kind)) <= 1, f"{kind.__name__} was said more than once"
    once(log.of(c.OpenGate), lambda gate: gate.batch)
    once(log.of(e.VerdictReached), lambda verdict: verdict.batch)
    assert await replayed(found, log) == log.status
    wrong = [
        line for one in await compared(found, log.rollout) if one.discrepancies for line in in_words(one)
    ]
    assert not wrong, wrong


async def replayed(found: Client, log: Log) -> str:
    """How the rollout ends when its log is fed through the engine again."""
    plans = Plans(JetStreamBlobs(found.connection.js, subjects.PLAN_BUCKET))
    kind = RolloutKind(log.advanced[0].owner, plans, found.connection)
    entries = await found.connection.snapshot(
        Stream.RO, subjects.subject_for(e.RolloutAdvanced, rollout=log.rollout), history=True
    )
    rebuilt = await kind.replay(entries)
    assert rebuilt is not None
    return rebuilt.state.status


async def check_switches(
    lab: Lab, found: Client, rollout: str, component: str, version: str, nodes: Iterable[str]
) -> None:
    """On exactly these nodes the step was done, once, with one process of the version started for it."""
    done = [m for m in await results(found, e.StepFinished, rollout) if m.component == component]
    switched = {(m.node, m.switched_at) for m in done if m.switched_at is not None}
    assert Counter(node for node, _ in switched) == Counter(nodes), f"switches: {switched}"
    for node in nodes:
        mine = [pid for v, _, pid in starts(lab.home.node_dir(node), component) if v == version]
        assert len(mine) == 1, f"expected {node} to start {component} {version} once, found pids {mine}"


def once(messages: Iterable[M], key: Callable[[M], str]) -> None:
    counts = Counter(key(message) for message in messages)
    assert all(count == 1 for count in counts.values()), f"expected each once, found {counts}"
