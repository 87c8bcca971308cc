"""When a rollout that is watched is likely to end, by what its steps took in earlier ones."""

from __future__ import annotations

from datetime import timedelta

from bumpless.cli.client import Client
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.plan_answer import Earlier
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Retryable
from bumpless.common.model.plan import Plan
from bumpless.common.model.rollout import RolloutStatus
from bumpless.common.render.expected import remaining
from bumpless.common.render.words import duration
from bumpless.common.shell.history import History
from bumpless.common.shell.reading import readable
from bumpless.common.shell.rollouts import Plans


class Forecast:
    """Reads the plan and the history of each rollout once; says nothing where one of them is not to be had."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, tuple[Plan, Earlier] | None] = {}

    async def words(self, progress: e.RolloutProgressed) -> str:
        """`, about 40 s left (12:03:20 UTC)`; empty where nothing moves, or nothing is known."""
        if progress.status != RolloutStatus.ROLLING:
            return ""
        known = await self._of(progress)
        if known is None:
            return ""
        seconds = remaining(*known, progress.batches)
        about = "about" if _complete(*known) else "at least"
        end = progress.at + timedelta(seconds=seconds)
        return f", {about} {duration(seconds)} left ({end:%H:%M:%S} UTC)"

    async def plan(self, progress: e.RolloutProgressed) -> Plan | None:
        """The plan that it runs."""
        known = await self._of(progress)
        return None if known is None else known[0]

    async def _of(self, progress: e.RolloutProgressed) -> tuple[Plan, Earlier] | None:
        if progress.rollout not in self._known:
            self._known[progress.rollout] = await self._read(progress)
        return self._known[progress.rollout]

    async def _read(self, progress: e.RolloutProgressed) -> tuple[Plan, Earlier] | None:
        connection = self._client.connection
        plans = Plans(JetStreamBlobs(connection.js, subjects.PLAN_BUCKET))
        try:
            items = await connection.last(
                Stream.RO, subjects.subject_for(e.RolloutPlanned, rollout=progress.rollout)
            )
            planned = next(iter(readable(items, e.RolloutPlanned)), None)
            if planned is None:
                return None
            plan = await plans.get(planned.plan_hash)
            earlier = await History(connection).earlier(plan.product, {b.component for b in plan.batches})
        except Retryable:
            return None
        return plan, earlier


def _complete(plan: Plan, earlier: Earlier) -> bool:
    """Whether every component has a history."""
    return {batch.component for batch in plan.batches} <= {took.component for took in earlier.steps}
