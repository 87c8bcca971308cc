"""Why a rollout or revert cannot begin now."""

from __future__ import annotations

from datetime import datetime

from bumpless.common.errors import ReleaseError
from bumpless.common.model.plan import Plan


class Taken(ReleaseError):
    """Another rollout or revert, of `plan`, is at work on some of the places."""

    def __init__(self, plan: Plan, status: str, since: datetime) -> None:
        self.plan, self.status, self.since = plan, status, since
        what = "rollout" if plan.of is None else "revert"
        super().__init__(f"{what} {plan.rollout} is {status} on the same places since {since:%H:%M:%S} UTC")
