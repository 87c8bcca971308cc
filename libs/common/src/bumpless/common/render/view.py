"""Everything a person or a program is told about a dry run, worked out once. Pure; exported as docs/schemas/plan-view.json."""

from __future__ import annotations

from collections import Counter

from pydantic import Field

from bumpless.common.contract.base import BatchId, Model, PlanHash
from bumpless.common.contract.plan_answer import PlanAnswer
from bumpless.common.model.finding import Finding, Severity
from bumpless.common.model.plan import Plan
from bumpless.common.render.actions import Action, counts
from bumpless.common.render.capacity import Capacity, capacity
from bumpless.common.render.expected import Expected, expected, likely
from bumpless.common.render.risks import horizon, risks
from bumpless.common.render.tree import components

_ORDER = {Severity.BLOCK: 0, Severity.WARN: 1, Severity.INFO: 2}


class Horizon(Model):
    """The first batch after which going back is not free; None: there is none. `text` says so, and why."""

    batch: BatchId | None
    text: str


class PlanView(Model):
    """A dry run.

    `runs`: there is a plan and nothing blocks it. `counts` is by component and action, in nodes, `totals` over all
    components. `duration`, `capacity`, `risks` and `horizon` are worked out of the plan and what earlier rollouts
    took. `next` is the command that runs exactly this plan, empty where nothing is to be run.
    """

    plan_hash: PlanHash | None
    runs: bool
    reasons: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = Field(
        default=(), description="Blocks first, then warnings, then the rest"
    )
    counts: dict[str, dict[Action, int]] = {}
    totals: dict[Action, int] = {}
    duration: Expected | None = None
    capacity: tuple[Capacity, ...] = ()
    risks: tuple[str, ...] = ()
    horizon: Horizon | None = None
    next: str = ""
    plan: Plan | None = None

    @property
    def changes(self) -> bool:
        return self.plan is not None and bool(self.plan.batches)


def view(answer: PlanAnswer, command: str = "") -> PlanView:
    """`command` runs the plan when its hash is put after it."""
    findings = tuple(
        sorted(answer.findings, key=lambda f: (_ORDER[f.severity], f.code, f.subject, f.evidence))
    )
    plan = answer.plan
    told = {str(found) for found in findings}
    reasons = tuple(reason for reason in answer.reasons if reason not in told)
    runs = plan is not None and not any(found.severity is Severity.BLOCK for found in findings)
    if plan is None:
        return PlanView(plan_hash=None, runs=False, reasons=reasons, findings=findings)
    plan_hash = answer.plan_hash or plan.hash
    by_component = counts(plan)
    spans = likely(plan, answer.earlier)
    room = capacity(plan, spans)
    marked, text = horizon(spans)
    return PlanView(
        plan_hash=plan_hash,
        runs=runs,
        reasons=reasons,
        findings=findings,
        counts={name: _sorted(by_component[name]) for name in components(plan)},
        totals=_sorted(sum(by_component.values(), Counter())),
        duration=expected(plan, answer.earlier, spans),
        capacity=tuple(room),
        risks=tuple(risks(plan, room)),
        horizon=Horizon(batch=marked, text=text),
        next=f"{command} {plan_hash}" if command and runs and plan.batches else "",
        plan=plan,
    )


def _sorted(found: Counter[Action]) -> dict[Action, int]:
    return {action: found[action] for action in Action if found[action]}
