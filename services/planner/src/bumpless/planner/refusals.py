"""Why the planner does not run a release that it could plan, or cannot read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bumpless.common.model.finding import Code, Finding, blocking
from bumpless.common.model.plan import Plan


def unreadable(product: str, why: str) -> Finding:
    return blocking(
        Code.RELEASE_UNREADABLE,
        product,
        why,
        "publish it again, signed by a release key that the planner trusts",
    )


def unversioned(why: str) -> Finding:
    return blocking(
        Code.COMPAT_INVALID,
        "compat",
        f"something is stated about versions, and {why}",
        "give these components versions that can be compared, or state nothing of them",
    )


def contradictory(why: str) -> Finding:
    """As `stated_faults` tells it; it is told once."""
    return blocking(Code.COMPAT_INVALID, "compat.levels", why, "correct it in the release file")


def invalid(rollout: str, why: str) -> Finding:
    return blocking(
        Code.PLAN_INVALID,
        rollout,
        f"the plan breaks its own rules: {why}",
        "this is a fault of the planner: report it, with the release file",
    )


def broken(product: str, what: str) -> Finding:
    return blocking(
        Code.PLAN_INVALID,
        product,
        f"the planner could not go on: {what}",
        "this is a fault of the planner: report it, with the release file and what its log says",
    )


def moved(rollout: str, expected: str, found: str, differences: Sequence[str] = ()) -> Finding:
    """`expected`: what the caller wanted, in words; `differences`: what is not as it was, a line each."""
    return blocking(
        Code.PLAN_MOVED,
        rollout,
        "\n".join([f"{expected}, the fleet now gives {found}", *differences]),
        "look at `bumpless plan` again, and apply the hash that it shows",
    )


def locked(plan: Plan, status: str, since: datetime) -> Finding:
    what = "rollout" if plan.of is None else "revert"
    return blocking(
        Code.LOCKED,
        plan.rollout,
        f"locked: {what} {plan.rollout} ({plan.product} {plan.release_version}) is {status} since "
        f"{since:%H:%M:%S} UTC",
        "wait for it, or abort it",
    )
