"""The answer to a dry run (`api.planner.plan`)."""

from __future__ import annotations

from bumpless.common.contract.base import Model, PlanHash
from bumpless.common.model.finding import Finding
from bumpless.common.model.plan import Plan


class PlanAnswer(Model):
    """A plan and its hash, or why there is none; and what was found on the way, also where there is a plan."""

    plan: Plan | None = None
    plan_hash: PlanHash | None = None
    reasons: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
