"""All checks. A new one is written beside the others and named here, and its codes in docs/preflight.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bumpless.common.model.finding import Finding
from bumpless.common.model.plan import Plan
from bumpless.planner.preflight import (
    contracts,
    drained,
    evidence,
    horizon,
    interfaces,
    nodes,
    published,
    records,
    versions,
    windows,
)
from bumpless.planner.preflight.case import Case, Check
from bumpless.planner.queues import queue_findings


def messages(case: Case) -> Iterable[Finding]:
    """QUEUE_ORDER."""
    return queue_findings(case.release, case.fleet)


CHECKS: tuple[Check, ...] = (
    versions.check,
    interfaces.check,
    messages,
    records.check,
    published.check,
    windows.check,
    evidence.approval,
    evidence.backups,
    evidence.scans,
    evidence.rehearsals,
    drained.drained,
    nodes.room,
    nodes.ports,
    nodes.runtimes,
    nodes.facts_missing,
    nodes.drift,
    nodes.changed,
)

AFTER: tuple[Callable[[Plan, Case], Iterable[Finding]], ...] = (
    contracts.check,
    interfaces.met_breaks,
    horizon.check,
)
"""What only a plan tells."""


def look(case: Case) -> tuple[Finding, ...]:
    """Everything that every check finds, each once, in the order of the checks."""
    return tuple(dict.fromkeys(finding for check in CHECKS for finding in check(case)))


def look_at(plan: Plan, case: Case) -> tuple[Finding, ...]:
    """Everything that the plan itself tells."""
    return tuple(dict.fromkeys(finding for check in AFTER for finding in check(plan, case)))
