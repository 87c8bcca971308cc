"""Who is at work where: the log of a rollout begins only while no other rollout or revert works on one of its places.

The planner and the rollback service decide for themselves and at the same moment. What both of them see is the stream
of all logs: the first entry of one is written on condition that no log grew since they were looked at.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Broken, Retryable
from bumpless.common.model.plan import Plan
from bumpless.common.model.rollout import TERMINAL, RolloutStatus
from bumpless.common.shell.broker import Connection, Received, StaleSequence
from bumpless.common.shell.kind import Still
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.reading import readable
from bumpless.common.shell.rollouts import Plans, RolloutKind
from bumpless.common.shell.taken import Taken

log = get_logger(__name__)

TRIES = 50
"""Each time another log grew between the look and the write: some milliseconds."""
ALL = subjects.subject_for(e.RolloutAdvanced)


class Places:
    """Writes the first entries of logs."""

    def __init__(self, connection: Connection, plans: Plans) -> None:
        self._connection, self._plans = connection, plans

    async def begin(self, entry: e.RolloutAdvanced, source: str, still: Still | None = None) -> int:
        """Write the first entry of a log; returns its sequence. `still` is asked after the last look at the others.

        Raises:
            Taken: another one is at work on some of its places.
            StaleSequence: it has begun already, otherwise than `entry` says.
            Retryable: the broker is away, or other logs keep growing.
        """
        first = e.RolloutPlanned.model_validate(entry.inputs[0].message)
        plan = await self._plans.get(first.plan_hash)
        for _ in range(TRIES):
            logs = await self._connection.snapshot(Stream.RO, ALL)
            mine = next((found for found in logs if found.subject == subjects.subject_of(entry)), None)
            if mine is not None:
                return await self._connection.publish(entry, source=source, expect_last=0)
            await self._free(plan, logs)
            if still is not None:
                await still()
            last = max((found.sequence for found in logs), default=0)
            with contextlib.suppress(StaleSequence):
                return await self._connection.publish(entry, source=source, expect_last=last, among=ALL)
        raise Retryable("the logs of other rollouts keep growing")

    async def free(self, plan: Plan, revert: RolloutId) -> None:
        """Raises: Taken: somebody is at work on some of the places of `plan` now, beside itself and its `revert`."""
        await self._free(plan, await self._connection.snapshot(Stream.RO, ALL), revert)

    async def _free(self, plan: Plan, logs: Sequence[Received], *but: RolloutId) -> None:
        places = {step.place for step in plan.steps()}
        for last in readable(logs, e.RolloutAdvanced):
            if last.rollout in (plan.rollout, plan.of, *but) or RolloutStatus(last.status) in TERMINAL:
                continue
            try:
                rebuilt = await RolloutKind(last.owner, self._plans, self._connection).rebuild(last.rollout)
            except Broken as error:  # it goes nowhere any more, and must not hold up all that comes after it
                log.error("not looked at: its log cannot be read", rollout=last.rollout, reason=str(error))
                continue
            if rebuilt is None or rebuilt.state.ended or rebuilt.state.left_to_a_person:
                continue
            other = rebuilt.state
            if places & {step.place for step in other.plan.steps()}:
                raise Taken(other.plan, other.status, other.since)
