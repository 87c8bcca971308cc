"""Rollouts as an aggregate of the runner: the same engine forward (planner) and in reverse (rollback)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Literal

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.stores.store import BlobStore
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import Message, MessageId, PlanHash, RolloutId, derive_id
from bumpless.common.contract.commands import OperatorCommand
from bumpless.common.contract.subjects import Stream
from bumpless.common.engine import rollout as engine
from bumpless.common.engine.decision import Deadline, Decision
from bumpless.common.engine.turn import answered, next_deadline
from bumpless.common.errors import Broken, Retryable
from bumpless.common.model.plan import Plan
from bumpless.common.model.rollout import TERMINAL, BatchStatus, Rollout, RolloutStatus, rollout_id
from bumpless.common.render.replay import Decided
from bumpless.common.shell import tracing
from bumpless.common.shell.broker import Connection, Received
from bumpless.common.shell.kind import Rebuilt
from bumpless.common.shell.reading import readable

LONG_ENTRY = 50
"""Messages that were decided together, from which on a replay gives way before it goes on."""
MAX_PLAN_BYTES = 256 << 20
PLANS_KEPT = 64
"""In memory; the oldest goes first. A plan of 10,000 nodes takes some megabytes."""


class Plans:
    """Plans by their hash: kept in the broker's object store, and in memory once read (they never change)."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._known: dict[str, Plan] = {}

    async def put(self, plan: Plan) -> PlanHash:
        """Store a plan under its hash.

        Raises:
            Retryable: the store is away.
        """
        try:
            await self._blobs.put(plan.canonical())
        except ArtifactError as error:
            raise Retryable(f"plan {plan.hash} cannot be stored: {error}") from error
        self._keep(plan)
        return plan.hash

    async def get(self, plan_hash: str) -> Plan:
        """Read a plan.

        Raises:
            Retryable: the store is away, or does not have it (yet).
        """
        known = self._known.get(plan_hash)
        if known is not None:
            return known
        try:
            data = await self._blobs.get(plan_hash, max_size=MAX_PLAN_BYTES)
        except ArtifactError as error:
            raise Retryable(f"plan {plan_hash} cannot be read: {error}") from error
        return self._keep(Plan.from_stored(data))

    def _keep(self, plan: Plan) -> Plan:
        while len(self._known) >= PLANS_KEPT:
            del self._known[next(iter(self._known))]
        self._known[plan.hash] = plan
        return plan

    def known(self, plan_hash: str) -> Plan | None:
        return self._known.get(plan_hash)


async def attempt_of(connection: Connection, product: str, digest: str) -> int:
    """The attempt to announce a release as: the first that was not refused, or was planned after all.

    Raises: Retryable: the broker is away.
    """
    attempt = 0
    while True:
        rollout = rollout_id(product, digest, attempt)
        answers = [
            subjects.subject_for(kind, rollout=rollout) for kind in (e.ReleaseRefused, e.RolloutPlanned)
        ]
        found = await connection.last(Stream.RO, answers)
        if not readable(found, e.ReleaseRefused) or readable(found, e.RolloutPlanned):
            return attempt
        attempt += 1


class RolloutKind:
    """The rollouts one owner runs. See `kind.Kind`."""

    def __init__(self, owner: Literal["planner", "rollback"], plans: Plans, connection: Connection) -> None:
        self.owner: str = owner
        self._name: Literal["planner", "rollback"] = owner
        self._plans = plans
        self._connection = connection

    def decide(self, state: Rollout | None, message: Message, now: datetime) -> Decision[Rollout | None]:
        if state is not None:
            found = engine.decide(state, message, now)
            return Decision(found.state, found.messages, found.notes)
        match message:
            case e.RolloutPlanned():
                plan = self._plans.known(message.plan_hash)
                if plan is None:
                    raise Retryable(f"plan {message.plan_hash} has not been read yet")
                begun = engine.begin(plan, message, now)
                if plan.of is None:
                    return Decision(begun.state, (message, *begun.messages), begun.notes)
                started = revert_started(
                    plan.of, plan.rollout, cause=message.id, by=message.by, reason=message.reason, now=now
                )
                return Decision(begun.state, (started, message, *begun.messages), begun.notes)
            case OperatorCommand():
                return Decision(None, (unknown(message, now),), ("no such rollout",))
            case _:
                return Decision(None, (), ("no such rollout",))

    def decide_all(
        self, state: Rollout | None, messages: Sequence[Message], now: datetime
    ) -> Decision[Rollout | None]:
        if state is not None:
            found = engine.decide_all(state, messages, now)
            return Decision(found.state, found.messages, found.notes)
        first = self.decide(None, messages[0], now)
        if len(messages) == 1:
            return first
        rest = self.decide_all(first.state, messages[1:], now)
        return Decision(rest.state, first.messages + rest.messages, first.notes + rest.notes)

    def dump(self, state: Rollout) -> bytes:
        raw = state.model_dump_json(exclude={"plan"}, exclude_defaults=True)
        return f'{{"plan_hash":{json.dumps(state.plan.hash)},{raw[1:]}'.encode()

    async def load(self, data: bytes) -> Rollout:
        raw = json.loads(data)
        plan = await self._plans.get(raw.pop("plan_hash"))
        if plan.of is not None:
            tracing.belongs(plan.rollout, plan.of)
        return Rollout.model_validate({**raw, "plan": plan})

    def next_deadline(self, state: Rollout) -> Deadline | None:
        return next_deadline(state)

    def status(self, state: Rollout) -> str:
        return state.status

    def told(self, state: Rollout, message: Message, now: datetime) -> tuple[Message, ...]:
        return (progress(state, message, now),)

    def logged(
        self,
        aggregate: str,
        version: int,
        before: Rollout | None,
        after: Rollout,
        inputs: Sequence[Message],
        notes: tuple[str, ...],
        now: datetime,
    ) -> Message | None:
        return e.RolloutAdvanced(
            # The moment is a part of it: another service may have written the same inputs, decided at another time.
            id=derive_id(
                aggregate, "advanced", str(version), now.isoformat(), *(message.id for message in inputs)
            ),
            at=now,
            cause=inputs[-1].id,
            rollout=after.id,
            owner=self._name,
            version=version,
            inputs=tuple(
                e.LoggedInput(at=now, message=message.model_dump(mode="json")) for message in inputs
            ),
            status_before=None if before is None else before.status,
            status=after.status,
            notes=notes,
        )

    async def rebuild(self, aggregate: str) -> Rebuilt[Rollout] | None:
        entries = await self._connection.snapshot(
            Stream.RO, subjects.subject_for(e.RolloutAdvanced, rollout=aggregate), history=True
        )
        if not entries or json.loads(entries[0].data).get("owner") != self.owner:
            return None
        return await self.replay(entries)

    async def replay(self, entries: Sequence[Received]) -> Rebuilt[Rollout] | None:
        """Feed the log through `decide` again; every step must end where the log says it did.

        Raises:
            Broken: it does not: the log is not this engine's, or has a gap.
        """
        before: Rollout | None = None
        rebuilt: Rebuilt[Rollout] | None = None
        async for entry, inputs, state, messages in self.turns(entries):
            if entry.version == len(entries) and state is not before:
                messages += self.told(state, inputs[-1], entry.inputs[-1].at)
            before, rebuilt = state, Rebuilt(state, entry.version, entries[-1].sequence, messages)
        return rebuilt

    async def turns(
        self, entries: Sequence[Received]
    ) -> AsyncIterator[tuple[e.RolloutAdvanced, tuple[Message, ...], Rollout, tuple[Message, ...]]]:
        """Every entry of the log with what came in, the state it led to, and what was sent because of it, less what
        onlookers were told.

        Raises: as `replay`.
        """
        state: Rollout | None = None
        for entry in _in_order(entries):
            if len(entry.inputs) >= LONG_ENTRY:
                await asyncio.sleep(0)  # a long log must not keep the lease from being renewed
            inputs: list[Message] = []
            out: list[Message] = []
            for at, together in groupby(entry.inputs, key=lambda logged: logged.at):
                messages = [await self._input(logged) for logged in together]
                decision = self.decide_all(state, messages, at)
                state = decision.state
                inputs.extend(messages)
                out.extend(decision.messages)
            yield entry, tuple(inputs), _as_logged(entry, state), tuple(out)

    async def decisions(
        self, entries: Sequence[Received]
    ) -> AsyncIterator[tuple[e.RolloutAdvanced, tuple[Decided[Rollout | None], ...]]]:
        """Every entry of the log with the decisions that it stands for, taken again one by one.

        Raises: as `replay`.
        """
        state: Rollout | None = None
        for entry in _in_order(entries):
            start = state
            decided: list[Decided[Rollout | None]] = []
            for logged in entry.inputs:
                message = await self._input(logged)
                decision = self.decide(state, message, logged.at)
                before, state = state, decision.state
                sent, notes = decision.messages, decision.notes
                decided.append(Decided(entry.version, logged.at, before, message, state, sent, notes))
            after, last = _as_logged(entry, state), decided[-1]
            if after is not start:
                told = self.told(after, last.message, last.at)
                decided[-1] = replace(last, sent=(*last.sent, *told))
            yield entry, tuple(decided)

    async def _input(self, logged: e.LoggedInput) -> Message:
        """An input as it came, its plan in memory."""
        message = wire.from_dict(logged.message)
        if isinstance(message, e.RolloutPlanned):
            await self._plans.get(message.plan_hash)
        return message

    async def unfinished(self) -> list[str]:
        """The rollouts of this owner that the log does not show at rest."""
        last = await self._connection.snapshot(Stream.RO, subjects.subject_for(e.RolloutAdvanced))
        entries = readable(last, e.RolloutAdvanced)
        return [
            str(entry.rollout)
            for entry in entries
            if entry.owner == self.owner and RolloutStatus(entry.status) not in TERMINAL
        ]


def _in_order(entries: Sequence[Received]) -> Iterator[e.RolloutAdvanced]:
    """Raises: Broken, where one is missing."""
    for version, item in enumerate(entries, start=1):
        entry = wire.decode(item.data)
        assert isinstance(entry, e.RolloutAdvanced)
        if entry.version != version:
            raise Broken(f"log of {entry.rollout}: expected version {version}, found {entry.version}")
        yield entry


def _as_logged(entry: e.RolloutAdvanced, state: Rollout | None) -> Rollout:
    """Raises: Broken, where `state` is not what the entry says it came to."""
    if state is None or state.status != entry.status:
        found = None if state is None else state.status
        raise Broken(
            f"log of {entry.rollout}, version {entry.version}: expected {entry.status}, replay gave {found}"
        )
    return state


def revert_started(
    rollout: RolloutId, revert: RolloutId, *, cause: MessageId, by: str, reason: str, now: datetime
) -> e.RevertStarted:
    """The news that `revert` has taken over `rollout`: told to its log, and when the revert begins."""
    return e.RevertStarted(
        id=derive_id(revert, "revert-started"),
        at=now,
        cause=cause,
        rollout=rollout,
        revert=revert,
        reason=reason,
        by=by,
    )


def unknown(message: OperatorCommand, now: datetime) -> e.CommandAnswered:
    text = f"expected a rollout that exists, found none under {message.rollout}; see `bumpless rollout list`"
    return answered(message, message.rollout, text, now, accepted=False)


def progress(state: Rollout, message: Message, now: datetime) -> e.RolloutProgressed:
    """What dashboards see of `state`."""
    deadline = next_deadline(state)
    done = sum(1 for batch in state.batches.values() for fact in batch.steps.values() if fact.ok)
    batches = {
        name: batch.status
        + (" (inconclusive)" if batch.inconclusive and batch.status is BatchStatus.BAKING else "")
        for name, batch in state.batches.items()
    }
    return e.RolloutProgressed(
        id=derive_id(message.id, "progress", state.id),
        at=now,
        cause=message.id,
        rollout=state.id,
        of=state.plan.of,
        product=state.plan.product,
        release_version=state.plan.release_version,
        direction=state.direction,
        status=state.status,
        since=state.since,
        until=None if deadline is None else deadline.due,
        reason=state.reason,
        batches=batches,
        steps_done=done,
        steps_total=sum(1 for _ in state.plan.steps()),
        version=int(now.timestamp() * 1000),
    )
