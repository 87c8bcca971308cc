"""Plans that dry runs showed: kept for a while under their hashes, so that a later one can be compared with them.

They lie in a bucket of their own, whose contents expire: most plans that are shown never run, and the plan of a
rollout must not depend on what is thrown away here.
"""

from __future__ import annotations

from bumpless.common.contract.plan_answer import PlanAnswer
from bumpless.common.errors import Retryable
from bumpless.common.model.plan import Plan
from bumpless.common.render.difference import difference
from bumpless.common.shell.history import History
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.rollouts import Plans

log = get_logger(__name__)
MOST_BYTES = 512 << 10
"""Of a plan in an answer: half of what a NATS server takes in one message by default."""


class Shown:
    """What the planner keeps of its dry runs, and adds to them."""

    def __init__(self, plans: Plans, history: History) -> None:
        self._plans = plans
        self._history = history

    async def completed(self, answer: PlanAnswer) -> PlanAnswer:
        """`answer` with what earlier rollouts took; its plan is kept, and left out of the answer where it is large."""
        plan = answer.plan
        if plan is None:
            return answer
        try:
            await self._plans.put(plan)
            earlier = await self._history.earlier(plan.product, {batch.component for batch in plan.batches})
        except Retryable as error:
            log.warning("a dry run goes without its history", plan=plan.hash, reason=str(error))
            return answer
        large = len(plan.canonical()) > MOST_BYTES
        return answer.model_copy(update={"earlier": earlier, "plan": None if large else plan})

    async def moved(self, expected: str, now: Plan) -> list[str]:
        """What is different between `now` and the plan that was expected, where that is still known."""
        try:
            shown = await self._plans.get(expected)
        except (Retryable, ValueError):  # not there, not readable, or no hash at all
            return ["the expected one is not known here (any more), so nobody can say what moved"]
        return list(difference(shown, now).lines)
