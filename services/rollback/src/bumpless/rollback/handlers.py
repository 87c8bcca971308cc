"""What the rollback service does with each message. It needs the broker and its own store, never the planner.

Taking over: the log of a rollout is written by compare-and-set, so appending `RevertStarted` to it ends the
planner's authority over that rollout for good, also when the planner is dead, paused or cut off and comes back.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.base import MessageId, RolloutId, derive_id
from bumpless.common.contract.subjects import Stream
from bumpless.common.engine.turn import answered
from bumpless.common.errors import Retryable
from bumpless.common.model.plan import Direction, Plan, StepKey
from bumpless.common.model.rollout import Rollout, RolloutStatus
from bumpless.common.shell import clock
from bumpless.common.shell.apart import apart
from bumpless.common.shell.broker import Connection, StaleSequence
from bumpless.common.shell.kind import Rebuilt
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.places import Places
from bumpless.common.shell.reading import readable
from bumpless.common.shell.relay import Relay
from bumpless.common.shell.rollouts import Plans, RolloutKind, revert_started
from bumpless.common.shell.run import Runner
from bumpless.common.shell.taken import Taken
from bumpless.rollback.policy import why_not
from bumpless.rollback.reverse import WHOLE, How, left_over, reverse
from bumpless.rollback.taken import taken

log = get_logger(__name__)

TAKEOVER_TRIES = 20
TAKING_BACK = "taking it back"


@dataclass(frozen=True)
class _Outcome:
    """`settled`: refused, because what was asked for is the case."""

    accepted: bool
    text: str
    settled: bool = False


@dataclass(frozen=True)
class _Earlier:
    """A revert of the same rollout that was planned before, and the message it was planned for."""

    revert: RolloutId
    cause: MessageId | None


def revert_id(rollout: RolloutId, number: int) -> RolloutId:
    return RolloutId(derive_id(rollout, "revert", str(number)))


class Rollbacker:
    """Handlers of the rollback service; each may be called again with the same message at any time."""

    def __init__(
        self,
        connection: Connection,
        runner: Runner[Rollout],
        forward: RolloutKind,
        plans: Plans,
        relay: Relay,
    ) -> None:
        self._connection = connection
        self._runner = runner
        self._forward = forward
        self._plans = plans
        self._relay = relay
        self._places = Places(connection, plans)

    async def failed(self, message: e.RolloutFailed) -> None:
        reason = why_not(message)
        if reason is not None:
            log.info("left as it is", rollout=message.rollout, reason=reason)
            return
        outcome = await self._revert(
            message.rollout, message.id, by="policy", reason=message.reason, how=WHOLE
        )
        if outcome.accepted or outcome.settled:
            return
        log.error("cannot be taken back", rollout=message.rollout, reason=outcome.text)
        await self._connection.publish(
            e.RolloutHalted(
                id=derive_id(message.id, "halted"),
                at=clock.now(),
                cause=message.id,
                rollout=message.rollout,
                of=revert_id(message.rollout, 0),
                reason=outcome.text,
            ),
            source="rollback",
        )

    async def operator(self, message: c.OperatorCommand) -> None:
        if not isinstance(message, c.Rollback):
            await self._runner.handle(message.rollout, message)
            return
        reason = message.reason or "asked for"
        outcome = await self._revert(
            message.rollout, message.id, by=message.by, reason=reason, how=How(message.only, message.now)
        )
        await self._connection.publish(
            answered(message, message.rollout, outcome.text, clock.now(), accepted=outcome.accepted),
            source="rollback",
        )

    async def result(self, message: e.StepFinished) -> None:
        await self._runner.handle(message.rollout, message)

    async def _revert(
        self, rollout: RolloutId, cause: MessageId, *, by: str, reason: str, how: How
    ) -> _Outcome:
        """Start the revert, or say why not. Called again for the same cause, it goes on where it was."""
        started = await self._earlier(rollout)
        mine = next((found for found in started if found.cause == cause), None)
        if mine is not None:
            await self._runner.drain(mine.revert)
            return _Outcome(True, TAKING_BACK)
        for found in started:
            running = await self._runner.look(found.revert)
            if running is not None and running.status is RolloutStatus.REVERTED and not running.plan.partial:
                return _Outcome(
                    False, f"it has been taken back already, by revert {found.revert}", settled=True
                )
            if running is not None and not running.ended:
                # A failure that arrives while it is taken back asks for what happens already.
                return _Outcome(
                    not how.only and not running.plan.partial, f"revert {found.revert} is {running.status}"
                )
        before = await self._forward.rebuild(rollout)
        if before is None:
            return _Outcome(False, f"expected a rollout that exists, found none under {rollout}")
        state = before.state
        revert = revert_id(rollout, len(started))
        refusal = (
            _not_of(state.plan, how.only)
            or _leaves(state, how.only)
            or await self._overtaken(state.plan)
            or await self._taken(state.plan, revert)
        )
        if refusal:
            return _Outcome(False, refusal)
        state = await self._take_over(rollout, revert, cause, by, reason)
        plan = await apart(
            len(before.state.plan.places),
            lambda: reverse(state, revert=revert, number=len(started), how=how),
        )
        if not plan.batches:
            return _Outcome(True, "nothing of it was switched; the rollout is stopped")
        await self._plans.put(plan)
        planned = e.RolloutPlanned(
            id=derive_id(revert, "planned"),
            at=clock.now(),
            cause=cause,
            rollout=revert,
            of=rollout,
            product=plan.product,
            release_version=plan.release_version,
            direction=Direction.REVERT,
            plan_hash=plan.hash,
            generation=plan.generation,
            by=by,
            reason=reason,
        )
        try:
            await self._runner.handle(revert, planned)
        except Taken as found:
            return _Outcome(False, _instead(found))
        return _Outcome(True, TAKING_BACK)

    async def _taken(self, plan: Plan, revert: RolloutId) -> str | None:
        try:
            await self._places.free(plan, revert)
        except Taken as found:
            return _instead(found)
        return None

    async def _take_over(
        self, rollout: RolloutId, revert: RolloutId, cause: MessageId, by: str, reason: str
    ) -> Rollout:
        """The forward rollout as it stands, after its planner can no longer move it."""
        for _ in range(TAKEOVER_TRIES):
            found = await self._forward.rebuild(rollout)
            if found is None:
                raise Retryable(f"the log of rollout {rollout} cannot be read")
            now = clock.now()
            news = revert_started(rollout, revert, cause=cause, by=by, reason=reason, now=now)
            decision = self._forward.decide(found.state, news, now)
            if decision.state is None or decision.state is found.state:
                return found.state
            entry = self._forward.logged(
                rollout, found.version + 1, found.state, decision.state, [news], decision.notes, now
            )
            assert entry is not None
            await self._say_what_was_logged(found)
            try:
                await self._relay.log(entry, found.log_sequence)
            except StaleSequence:
                continue
            told = self._forward.told(decision.state, news, now)
            await self._relay.send([*decision.messages, *told])
            return decision.state
        raise Retryable(f"rollout {rollout} keeps moving")

    async def _say_what_was_logged(self, found: Rebuilt[Rollout]) -> None:
        """The events of the last entry: a planner that died may not have published them, and a store that is emptied
        is filled from the entries after it. Not its commands, which are taken back anyway."""
        if not found.state.ended:
            commands = (c.StageArtifacts, c.ApplyBatch)
            await self._relay.send([m for m in found.messages if not isinstance(m, commands)])

    async def _earlier(self, rollout: RolloutId) -> list[_Earlier]:
        items = await self._connection.snapshot(
            Stream.RO, subjects.subject_for(e.RolloutPlanned, rollout="*"), history=True
        )
        planned = readable(items, e.RolloutPlanned)
        return [_Earlier(message.rollout, message.cause) for message in planned if message.of == rollout]

    async def _overtaken(self, plan: Plan) -> str | None:
        items = await self._connection.snapshot(Stream.INV, subjects.subject_for(e.NodeObserved))
        for place, generation in taken(items):
            if generation > plan.generation and place in plan.places:
                return (
                    f"{place} has since taken generation {generation}; "
                    f"take back the later rollout instead of {plan.rollout}"
                )
        return None


def _not_of(plan: Plan, only: Collection[StepKey]) -> str | None:
    known = {key for step in plan.steps() for key in (step.place, step.key)}
    foreign = sorted(set(only) - known)
    return f"expected some of {', '.join(sorted(known))}, found {', '.join(foreign)}" if foreign else None


def _leaves(state: Rollout, only: Collection[StepKey]) -> str | None:
    if not only or not (left := left_over(state, only)):
        return None
    return (
        f"expected what went after {', '.join(sorted(only))} to be taken back with it, "
        f"found that {', '.join(left)} would stay; name them too, or take back all of it"
    )


def _instead(found: Taken) -> str:
    return f"{found}; take that back, or abort it, instead"
