"""The answer to a dry run (`api.planner.plan`)."""

from __future__ import annotations

from bumpless.common.contract.base import Model, PlanHash, Token
from bumpless.common.model.finding import Finding
from bumpless.common.model.plan import Plan


class Took(Model):
    """How long the last steps of one component took in `rollouts` earlier rollouts: `seconds`, the shortest first."""

    component: Token
    rollouts: int
    seconds: tuple[float, ...]


class Earlier(Model):
    """What earlier rollouts of the product took: steps by component, and the staging of all nodes before them."""

    steps: tuple[Took, ...] = ()
    staging_s: tuple[float, ...] = ()


class PlanAnswer(Model):
    """A plan and its hash, or why there is none; and what was found on the way, also where there is a plan.

    A plan too large for one message is not in it: with a hash and no plan, the plan lies under that hash in the
    bucket of shown plans. `earlier` is no part of the plan, so that its hash does not change with every rollout
    that ends.
    """

    plan: Plan | None = None
    plan_hash: PlanHash | None = None
    reasons: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    earlier: Earlier = Earlier()
