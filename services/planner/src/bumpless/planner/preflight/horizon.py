"""ROLLBACK_LOSSY of a plan: after which batch there is no free way back, and what a failure means then."""

from __future__ import annotations

from collections.abc import Iterator

from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.plan import Batch, Plan
from bumpless.common.model.release import RollbackPolicy
from bumpless.planner.preflight.case import Case


def check(plan: Plan, case: Case) -> Iterator[Finding]:
    """One finding for every hop that crosses a horizon: from its first batch on."""
    crossed: dict[tuple[str, int], Batch] = {}
    for batch in plan.batches:
        if batch.horizon:
            crossed.setdefault((batch.component, batch.hop), batch)
    for batch in crossed.values():
        yield Finding(
            code=Code.ROLLBACK_LOSSY,
            severity=Severity.WARN,
            subject=batch.component,
            evidence=f"from batch {batch.id} on there is no free way back: {batch.horizon}, so going back loses "
            f"what was written since; {_failure(plan, batch)}",
            recommendation=_advice(plan, batch),
            waivable=True,
        )


def _failure(plan: Plan, batch: Batch) -> str:
    if batch.freeze:
        return "a failure after it halts for a person"
    if plan.rollback_policy is RollbackPolicy.AUTO:
        return "a failure after it is taken back all the same"
    return "a failure after it stays where it is until a person acts"


def _advice(plan: Plan, batch: Batch) -> str:
    hops = f"compat.hops.{batch.component}"
    if batch.freeze or plan.rollback_policy is not RollbackPolicy.AUTO:
        return f"know how to go on from there; {hops}: {{horizon: none}} where the component keeps no data"
    return f"{hops}: {{horizon: freeze}} lets a failure after it halt, horizon: none says that the component keeps no data"
