"""`rollout replay`: a rollout, its reverts and their gates, decided again from the log, and held against what lives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from bumpless.cli.client import Client
from bumpless.cli.completing import RolloutArg
from bumpless.cli.context import Context
from bumpless.cli.statement_commands import moment
from bumpless.common.access.redis_entry import RedisEntry
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.base import Message, RolloutId
from bumpless.common.contract.subjects import Stream
from bumpless.common.contract.wire import Unreadable
from bumpless.common.errors import Broken, Refused, ReleaseError
from bumpless.common.model.plan import Plan
from bumpless.common.model.rollout import Rollout
from bumpless.common.render import agreement as held
from bumpless.common.render import replay as shown
from bumpless.common.render.replay import Decided
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Received
from bumpless.common.shell.reading import read, readable
from bumpless.common.shell.rollouts import Plans, RolloutKind
from bumpless.common.shell.state import RedisState, Stored
from bumpless.health_gate.offline import logged as gates

DIFFERS = 1
LOOKS = 5
"""A rollout under way changes between two readings; what still differs at the last look does differ."""
BETWEEN_S = 0.5


@dataclass
class Read:
    """One log, read as far as it can be; `kind` rebuilt it."""

    kind: RolloutKind
    rollout: RolloutId
    plan: Plan | None = None
    decided: list[Decided[Rollout | None]] = field(default_factory=list)
    problem: str | None = None

    @property
    def state(self) -> Rollout | None:
        return self.decided[-1].after if self.decided else None

    @property
    def sent(self) -> list[Message]:
        return [m for one in self.decided for m in one.sent]


@dataclass(frozen=True)
class Logs:
    """The forward rollout first, then its reverts; `gates` are the decisions about every gate of them."""

    rollouts: tuple[Read, ...]
    gates: dict[str, list[Decided[Any]]]
    events: frozenset[str]


def replay(
    ctx: typer.Context,
    rollout: RolloutArg = None,
    component: Annotated[
        list[str] | None, typer.Option(help="Only decisions about this component (repeatable).")
    ] = None,
    node: Annotated[
        list[str] | None, typer.Option(help="Only decisions about this node (repeatable).")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Only decisions from this moment on: 2026-12-01T18:00+01:00.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Only decisions up to this moment.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hold the result against the store and what was announced.")
    ] = False,
    redis: Annotated[
        str | None, typer.Option(help="The services' state store, for --verify.", envvar="BUMPLESS_REDIS_URL")
    ] = None,
) -> int:
    """Decide the log of a rollout, its reverts and their gates again, and show every decision with its reason.

    Example: bumpless rollout replay --component api --from 2026-12-01T18:00Z

    Example: bumpless rollout replay 3f2a --verify
    """
    context: Context = ctx.obj
    first, last = (None if text is None else moment(text, clock.now()) for text in (since, until))
    store = context.home.store(redis) if verify else None

    async def work(client: Client) -> shown.Replay:
        chosen = await client.find(rollout)
        logs = await logs_of(client, chosen)
        parts = tuple(
            shown.chosen(part, components=component or (), nodes=node or (), since=first, until=last)
            for part in parts_of(logs)
        )
        verified = None if store is None else await verified_by(client, chosen, store)
        return shown.Replay(rollout=chosen, parts=parts, verified=verified)

    found = context.with_client(work)
    context.output.data(found.model_dump(mode="json"), "".join(line + "\n" for line in shown.lines(found)))
    return DIFFERS if found.problems else 0


async def logs_of(client: Client, rollout: RolloutId) -> Logs:
    """Everything that was logged about a rollout and its reverts, decided again.

    Raises: Retryable, Refused: there is no log.
    """
    reverts = [r.rollout for r in await client.rollouts() if r.of == rollout]
    plans = Plans(JetStreamBlobs(client.connection.js, subjects.PLAN_BUCKET))
    wanted = [subjects.rollout_subjects(name) for name in (rollout, *reverts)]
    items = await client.connection.snapshot(Stream.RO, wanted, history=True)
    advanced: dict[str, list[Received]] = {name: [] for name in (rollout, *reverts)}
    for item in items:
        if (message := read(item)) is not None and isinstance(message, e.RolloutAdvanced):
            advanced[message.rollout].append(item)
    if not advanced[rollout]:
        raise Refused(f"a log of rollout {rollout}", "none", "it is kept for 90 days")
    found = []
    for name, entries in advanced.items():
        first = next(iter(readable(entries, e.RolloutAdvanced)), None)
        kind = RolloutKind("rollback" if first is None else first.owner, plans, client.connection)
        found.append(await _read(kind, RolloutId(name), entries))
    messages = [message for item in items if (message := read(item)) is not None]
    return Logs(tuple(found), gates.decided(messages), frozenset(message.id for message in messages))


async def _read(kind: RolloutKind, rollout: RolloutId, entries: Sequence[Received]) -> Read:
    found = Read(kind, rollout)
    try:
        async for _, decided in kind.decisions(entries):
            found.decided += decided
    except (Broken, ReleaseError, Unreadable) as error:
        found.problem = (
            f"{error}; what is missing cannot be rebuilt: the broker lost it, or it is older than 90 days"
        )
    if not entries:
        found.problem = "it was planned, and nothing of it is in the log"
    found.plan = None if found.state is None else found.state.plan
    return found


def parts_of(logs: Logs) -> list[shown.Part]:
    found = [_part(one) for one in logs.rollouts]
    plans = {one.rollout: one.plan for one in logs.rollouts if one.plan is not None}
    for name, decided in logs.gates.items():
        last = decided[-1].after
        plan = plans.get(last.rollout)
        if plan is None:
            continue
        statuses = [str(one.after.status) for one in decided]
        found.append(
            shown.Part(
                aggregate=name,
                kind="gate",
                owner=gates.OWNER,
                title=f"batch {last.batch}",
                status=statuses[-1],
                versions=len(decided),
                decisions=tuple(shown.of_gate(decided, statuses, plan)),
            )
        )
    return found


def _part(one: Read) -> shown.Part:
    state, plan = one.state, one.plan
    return shown.Part(
        aggregate=one.rollout,
        kind="revert" if plan is not None and plan.of is not None else "rollout",
        owner=one.kind.owner,
        title="unknown" if plan is None else shown.rollout_title(plan),
        status="nothing" if state is None else state.status,
        versions=one.decided[-1].version if one.decided else 0,
        decisions=() if plan is None else tuple(shown.of_rollout(plan, one.decided)),
        problem=one.problem,
    )


# verified


async def verified_by(client: Client, rollout: RolloutId, store: RedisEntry) -> tuple[held.Held, ...]:
    """The logs held against the store, last values and events.

    Raises: Retryable: the broker or the store is away.
    """
    found: tuple[held.Held, ...] = ()
    for look in range(LOOKS):
        if look:
            await asyncio.sleep(BETWEEN_S)
        logs = await logs_of(client, rollout)
        found = await _look(client, logs, store)
        if all(one.agrees for one in found) or any(one.problem for one in logs.rollouts):
            return found
    return found


async def _look(client: Client, logs: Logs, entry: RedisEntry) -> tuple[held.Held, ...]:
    stores = {
        owner: RedisState(entry, owner, "bumpless-cli") for owner in ("planner", "rollback", gates.OWNER)
    }
    try:
        found: list[held.Held] = []
        for one in logs.rollouts:
            found += await _rollout(client, one, stores[one.kind.owner], logs.events)
        for name, decided in logs.gates.items():
            found.append(await _gate(name, decided, stores[gates.OWNER]))
        return tuple(found)
    finally:
        for store in stores.values():
            await store.close()


async def _rollout(client: Client, one: Read, store: RedisState, known: frozenset[str]) -> list[held.Held]:
    if one.problem is not None or one.state is None:
        return [_unread(one)]
    stored = await store.load(one.rollout)
    live = None if stored is None else await _live(one.kind, stored)
    logged = held.Logged(
        one.rollout,
        one.kind.owner,
        one.decided[-1].version,
        json.loads(one.kind.dump(one.state)),
        one.kind.next_deadline(one.state) is not None,
    )
    woken = held.deadline(logged, live, one.rollout in await store.waiting(), await store.known())
    last = {m.id for d in one.decided if d.version == one.decided[-1].version for m in d.sent}
    told = held.announced(one.rollout, _last(one.sent), await _shown(client, one.rollout))
    events = held.events(one.rollout, one.sent, known, live, last)
    return [found for found in (held.store(logged, live), woken, events, told) if found is not None]


def _unread(one: Read) -> held.Held:
    return held.Held(
        subject="log",
        aggregate=one.rollout,
        agrees=False,
        text=one.problem or "it is empty",
        advice="the store may still have the rollout: do not empty it before this one has ended; "
        "see docs/runbooks/broker-lost.md",
    )


async def _live(kind: RolloutKind, stored: Stored) -> held.Live:
    try:
        state = json.loads(kind.dump(await kind.load(stored.state)))
    except (ValueError, KeyError, TypeError, ReleaseError):
        state = None
    return held.Live(stored.version, state, len(stored.outbox))


def _last(sent: Sequence[Message]) -> e.RolloutProgressed | None:
    return next((m for m in reversed(sent) if isinstance(m, e.RolloutProgressed)), None)


async def _shown(client: Client, rollout: RolloutId) -> e.RolloutProgressed | None:
    subject = subjects.subject_for(e.RolloutProgressed, rollout=rollout)
    return next(iter(readable(await client.connection.last(Stream.PROG, subject), e.RolloutProgressed)), None)


async def _gate(name: str, decided: Sequence[Decided[Any]], store: RedisState) -> held.Held:
    """A gate in the store keeps what its log does not: when it last looked. Held against each other is the rest."""
    kept = ("gate", "rollout", "batch", "status", "opened")
    state = decided[-1].after.model_dump(mode="json", include=set(kept))
    stored = await store.load(name)
    if stored is None:
        live = None
    else:
        try:
            raw = json.loads(stored.state)
            live = held.Live(decided[-1].version, {key: raw.get(key) for key in kept}, len(stored.outbox))
        except (ValueError, AttributeError):
            live = held.Live(decided[-1].version, None)
    return held.store(held.Logged(name, gates.OWNER, decided[-1].version, state, False), live)
