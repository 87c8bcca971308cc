"""What the planner does with each message: read the world, ask the pure parts, hand the result to the runner."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime
from pathlib import Path

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.signing import Role, TrustStore
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.base import Digest, RolloutId, derive_id
from bumpless.common.contract.envelope import RELEASE_TYPE, Envelope
from bumpless.common.contract.subjects import Stream
from bumpless.common.engine.turn import answered
from bumpless.common.errors import Refused, Retryable
from bumpless.common.model.fleet import Fleet, fleet_of
from bumpless.common.model.plan import Direction, Plan
from bumpless.common.model.release import Release
from bumpless.common.model.rollout import Rollout, RolloutStatus, rollout_id
from bumpless.common.model.version import InvalidVersion
from bumpless.common.shell import clock
from bumpless.common.shell.apart import apart
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.reading import readable
from bumpless.common.shell.rollouts import Plans, unknown
from bumpless.common.shell.run import Runner
from bumpless.common.shell.taken import Taken
from bumpless.planner import refusals
from bumpless.planner.availability import NodeOrders
from bumpless.planner.budget import Budget
from bumpless.planner.collection import no_collection
from bumpless.planner.looking import Looked, Looking
from bumpless.planner.plan import make_plan
from bumpless.planner.proof import check
from bumpless.planner.shown import Shown
from bumpless.planner.standing import standing
from bumpless.planner.unplannable import Unplannable

log = get_logger(__name__)

LOOK_S = 15.0
"""How often the planner looks which nodes are silent, while a rollout is on its way: once a heartbeat."""
RESTED = frozenset(
    {RolloutStatus.FAILED, RolloutStatus.REVERTED, RolloutStatus.HALTED, RolloutStatus.CANCELLED}
)
BEING_TAKEN_BACK = "it has failed and is being taken back; retry once that has ended"


class Planner:
    """Handlers of the planner; each may be called again with the same message at any time."""

    def __init__(
        self,
        connection: Connection,
        runner: Runner[Rollout],
        plans: Plans,
        trust: TrustStore,
        shown: Shown,
        orders: NodeOrders,
        budget: Budget,
        policy: Path | None = None,
    ) -> None:
        self._orders, self._budget = orders, budget
        self._connection = connection
        self._runner = runner
        self._plans = plans
        self._trust = trust
        self._shown = shown
        self._looking = Looking(connection, trust, plans, policy)
        self._planning = asyncio.Lock()
        """Two releases at once would get the same generation, and neither would see the other's lock."""

    async def announced(self, message: e.ReleaseAnnounced) -> None:
        rollout = rollout_id(message.product, message.digest, message.attempt)
        # One that is only saved is lost with the store: it exists once it is in the log.
        if await self._runner.drain(rollout) is not None:
            return
        async with self._planning:
            await self._begin(rollout, message)

    async def _begin(self, rollout: RolloutId, message: e.ReleaseAnnounced) -> None:
        # First of all: what is saved of others is said, and with it the generations that are given.
        await self._runner.publish_left()
        await self._runner.unfinished()
        try:
            plan, looked = await self.plan(message)
            looked.refuse()
            await self._plans.put(plan)
            try:
                await self._runner.handle(rollout, self._planned(message, plan, looked))
            except Taken as taken:
                locked = refusals.locked(taken.plan, taken.status, taken.since)
                raise Unplannable([locked, *looked.findings]) from taken
        except Unplannable as error:
            log.warning("release refused", rollout=rollout, reasons=error.reasons)
            await self._connection.publish(
                e.ReleaseRefused(
                    id=derive_id(message.id, "refused"),
                    at=clock.now(),
                    cause=message.id,
                    rollout=rollout,
                    product=message.product,
                    digest=message.digest,
                    reasons=error.reasons,
                    findings=error.findings,
                ),
                source="planner",
            )

    @staticmethod
    def _planned(message: e.ReleaseAnnounced, plan: Plan, looked: Looked) -> e.RolloutPlanned:
        return e.RolloutPlanned(
            id=derive_id(plan.rollout, "planned"),
            at=clock.now(),
            cause=message.id,
            rollout=plan.rollout,
            product=plan.product,
            release_version=plan.release_version,
            direction=plan.direction,
            plan_hash=plan.hash,
            generation=plan.generation,
            by=message.by,
            findings=looked.findings,
            waivers=looked.waivers,
        )

    async def plan(self, message: e.ReleaseAnnounced) -> tuple[Plan, Looked]:
        """The plan that this announcement would run now, and what was found beside it, blocks included.

        Raises:
            Unplannable: unsigned, unreadable, impossible on this fleet, or not the plan that was expected.
        """
        release = self._open(message)
        fleet = await self.fleet()
        rollout = rollout_id(message.product, message.digest, message.attempt)
        generation = 1 + max([await self._highest_planned(), *(node.generation for node in fleet.nodes)])
        now = clock.now()
        self._budget.observed(fleet.nodes, now)
        seen = await self._looking.look(message, release, fleet, now)
        release = seen.case.release  # as far as it is believed
        try:
            plan, broken = await apart(
                len(fleet.nodes), lambda: _checked(release, message.digest, fleet, rollout, generation, now)
            )
        except Unplannable as error:
            raise Unplannable(seen.without_plan(error.findings).findings) from error
        except InvalidVersion as error:
            raise Unplannable(seen.without_plan([refusals.unversioned(str(error))]).findings) from error
        except Refused as error:
            raise Unplannable(seen.without_plan([refusals.contradictory(str(error))]).findings) from error
        if broken:
            faults = [refusals.invalid(rollout, text) for text in broken]
            raise Unplannable(seen.without_plan(faults).findings)
        looked = seen.with_plan(plan)
        if message.expected_plan is not None and message.expected_plan != plan.hash:
            differences = await self._shown.moved(message.expected_plan, plan)
            what = f"expected plan {message.expected_plan}"
            raise Unplannable([refusals.moved(rollout, what, plan.hash, differences), *looked.findings])
        return plan, looked

    def _open(self, message: e.ReleaseAnnounced) -> Release:
        try:
            envelope = Envelope.from_bytes(message.envelope.encode())
            payload = self._trust.verify(envelope, payload_type=RELEASE_TYPE, role=Role.RELEASE)
            release = Release.model_validate_json(payload)
            if release.digest != message.digest:
                raise ValueError(f"expected a release with digest {message.digest}, found {release.digest}")
            return release
        except (ArtifactError, ValueError) as error:
            raise Unplannable([refusals.unreadable(message.product, str(error))]) from error

    async def _highest_planned(self) -> int:
        """The highest generation any rollout was given: a node that is away may yet find a command of it."""
        planned = await self._connection.snapshot(Stream.RO, subjects.subject_for(e.RolloutPlanned))
        return max((message.generation for message in readable(planned, e.RolloutPlanned)), default=0)

    async def fleet(self) -> Fleet:
        """The last word of every node."""
        items = await self._connection.snapshot(Stream.INV, subjects.subject_for(e.NodeObserved))
        return await apart(
            len(items), lambda: fleet_of(observed.node for observed in readable(items, e.NodeObserved))
        )

    async def load(self) -> None:
        """Take in every rollout that is on its way, before the first message is handled.

        Raises:
            Retryable: store or broker away.
        """
        for rollout in await self._runner.unfinished():
            self._budget.decided(rollout)
        await self._look()

    async def keep(self) -> None:
        """For ever: tell every rollout which of its nodes are out for reasons outside of it.

        What a rollout changes is told at once. The nodes are looked at once in a heartbeat: they say no more.
        """
        looked = clock.now()
        while True:
            self._budget.changed.clear()
            try:
                if self._budget.busy and (clock.now() - looked).total_seconds() >= LOOK_S:
                    await self._look()
                    looked = clock.now()
                for news in self._budget.behind(clock.now()):
                    await self._runner.handle(news.rollout, news)
            except Retryable as error:
                log.warning("the nodes that are out are not known yet", reason=str(error))
            except Exception:
                log.exception("rollouts were not told which nodes are out")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._budget.changed.wait(), LOOK_S)

    async def _look(self) -> None:
        items = await self._connection.snapshot(Stream.INV, subjects.subject_for(e.NodeObserved))
        self._budget.observed(standing(items), clock.now())

    async def operator(self, message: c.OperatorCommand | c.DrainNode | c.UndrainNode | e.AlertFired) -> None:
        if isinstance(message, c.DrainNode | c.UndrainNode):
            await self._orders.obey(message, await self.fleet(), clock.now())
            return
        if isinstance(message, c.Retry):
            await self._retry(message)
        else:
            await self._runner.handle(message.rollout, message)

    async def _retry(self, message: c.Retry) -> None:
        state = await self._runner.peek(message.rollout)
        if state is None or state.status not in RESTED:
            await self._runner.handle(message.rollout, message)
            return
        if state.status is RolloutStatus.FAILED and not (state.ended or state.left_to_a_person):
            if await self._is_back(message.rollout):
                raise Retryable(
                    f"rollout {message.rollout} is taken back, and has not heard of it", after_s=0.2
                )
            said = answered(message, message.rollout, BEING_TAKEN_BACK, clock.now(), accepted=False)
            await self._connection.publish(said, source="planner")
            return
        original = await self._announcement(state)
        if original is None:
            await self._connection.publish(unknown(message, clock.now()), source="planner")
            return
        again = original.model_copy(
            update={
                "id": derive_id(message.id, "again"),
                "at": message.at,
                "cause": message.id,
                "attempt": original.attempt + 1,
                "expected_plan": None,
                "by": message.by,
            }
        )
        await self._connection.publish(again, source="planner")
        text = f"announced again as {rollout_id(again.product, again.digest, again.attempt)}"
        await self._connection.publish(
            answered(message, message.rollout, text, clock.now(), accepted=True), source="planner"
        )

    async def _is_back(self, rollout: RolloutId) -> bool:
        """Whether its revert has said that all of it is taken back: everybody sees that, and may act on it at once."""
        items = await self._connection.snapshot(
            Stream.RO, subjects.subject_for(e.RolloutReverted, rollout=rollout)
        )
        return any(not message.partial for message in readable(items, e.RolloutReverted))

    async def _announcement(self, state: Rollout) -> e.ReleaseAnnounced | None:
        filters = subjects.subject_for(e.ReleaseAnnounced, product=state.plan.product)
        items = await self._connection.snapshot(Stream.REL, filters, history=True)
        announced = readable(items, e.ReleaseAnnounced)
        return next((m for m in reversed(announced) if m.digest == state.plan.release_digest), None)

    async def result(self, message: e.StepStaged | e.StepFinished | e.ComponentCrashLooping) -> None:
        if message.direction is Direction.FORWARD:
            await self._runner.handle(message.rollout, message)

    async def event(
        self, message: e.VerdictReached | e.RevertStarted | e.RolloutReverted | e.RolloutHalted
    ) -> None:
        if isinstance(message, e.RolloutHalted) and message.of is None:
            return
        await self._runner.handle(message.rollout, message)


def _checked(
    release: Release, digest: Digest, fleet: Fleet, rollout: RolloutId, generation: int, now: datetime
) -> tuple[Plan, list[str]]:
    """The plan, and what an independent check finds wrong with it. Raises: as `make_plan`."""
    with no_collection():
        plan = make_plan(release, digest, fleet, rollout=rollout, generation=generation, now=now)
        return plan, check(plan, release, fleet)
