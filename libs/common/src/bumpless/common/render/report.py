"""What a release report says: when, in which batches, judged how, what went wrong, who did what. Pure.

It is made of the decisions of the rollout and of its reverts, taken again from their logs, and of what alerts said
meanwhile. `report_pages` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.alerts import AlertChanged
from bumpless.common.contract.base import Instant, Message, Model, PlanHash, RolloutId
from bumpless.common.model.plan import Plan, TargetId
from bumpless.common.model.rollout import BatchStatus, Rollout
from bumpless.common.model.verdict import Evidence, Verdict
from bumpless.common.render.replay import Decided

GOOD = frozenset({e.StepOutcome.DONE, e.StepOutcome.ALREADY})


class Span(Model):
    """One batch from when its nodes were commanded: until they answered (`applied`), and until it passed or failed."""

    batch: str
    component: str
    nodes: int
    status: str
    began: Instant
    applied: Instant | None = None
    ended: Instant | None = None
    reason: str = ""


class Gate(Model):
    """A verdict, with the numbers it rests on."""

    batch: str
    verdict: Verdict
    reason: str
    opened: Instant
    decided: Instant
    detail: str
    evidence: tuple[Evidence, ...] = ()


class Happened(Model):
    """Something at a moment: an incident, or what somebody did. `what` is its kind."""

    at: Instant
    what: str
    text: str
    by: str = ""


class Course(Model):
    """One rollout or revert, from its plan to its end; `ended` is None where it goes on."""

    rollout: RolloutId
    of: RolloutId | None
    plan_hash: PlanHash
    status: str
    reason: str
    began: Instant
    ended: Instant | None
    steps_done: int
    steps_total: int
    spans: tuple[Span, ...]
    gates: tuple[Gate, ...]


class Report(Model):
    """`changes` are components with versions before and after; `courses` the rollout and then its reverts."""

    product: str
    version: str
    changes: tuple[str, ...]
    courses: tuple[Course, ...]
    incidents: tuple[Happened, ...]
    people: tuple[Happened, ...]


def report(
    logs: Sequence[tuple[Plan, Sequence[Decided[Rollout | None]]]], alerts: Sequence[AlertChanged] = ()
) -> Report:
    """Of the logs of a rollout and its reverts, the rollout first; `alerts` are those of the time."""
    plan = logs[0][0]
    changes = dict.fromkeys(
        f"{step.component} {_version(plan, step.before)} -> {_version(plan, step.after)}"
        for step in plan.steps()
    )
    incidents = [found for _, decided in logs for one in decided for found in _incidents(one)]
    people = [found for _, decided in logs for one in decided for found in _people(one)]
    incidents += [
        Happened(at=m.at, what="alert", text=f"{m.alert.name} {m.alert.status}: {m.alert.detail}")
        for m in alerts
    ]
    return Report(
        product=plan.product,
        version=plan.release_version,
        changes=tuple(changes),
        courses=tuple(_course(plan, decided) for plan, decided in logs),
        incidents=tuple(sorted(incidents, key=lambda one: one.at)),
        people=tuple(sorted(dict.fromkeys(people), key=lambda one: one.at)),
    )


def _version(plan: Plan, target: TargetId | None) -> str:
    return "nothing" if target is None else plan.targets[target].version


def _course(plan: Plan, decided: Sequence[Decided[Rollout | None]]) -> Course:
    last = _end(decided)
    verdicts = [one.message for one in decided if isinstance(one.message, e.VerdictReached)]
    done = sum(1 for batch in last.batches.values() for fact in batch.steps.values() if fact.ok)
    return Course(
        rollout=plan.rollout,
        of=plan.of,
        plan_hash=plan.hash,
        status=last.status,
        reason=last.reason,
        began=decided[0].at,
        ended=last.since if last.ended else None,
        steps_done=done,
        steps_total=sum(1 for _ in plan.steps()),
        spans=tuple(_spans(plan, decided)),
        gates=tuple(
            Gate(
                batch=found.batch,
                verdict=found.verdict,
                reason=found.reason,
                opened=found.opened_at,
                decided=found.at,
                detail=found.detail,
                evidence=found.evidence,
            )
            for found in dict.fromkeys(verdicts)
        ),
    )


def _end(decided: Sequence[Decided[Rollout | None]]) -> Rollout:
    last = decided[-1].after
    assert last is not None, "a log ends with a rollout"
    return last


def _spans(plan: Plan, decided: Sequence[Decided[Rollout | None]]) -> Iterator[Span]:
    for batch in plan.batches:
        reached: dict[BatchStatus, datetime] = {}
        for one in decided:
            if one.after is not None:  # before it was planned
                reached.setdefault(one.after.batches[batch.id].status, one.at)
        began = reached.get(BatchStatus.APPLYING)
        if began is None:
            continue
        known = _end(decided).batches[batch.id]
        ended = reached.get(BatchStatus.PASSED, reached.get(BatchStatus.FAILED))
        yield Span(
            batch=batch.id,
            component=batch.component,
            nodes=len(batch.steps),
            status=known.status,
            began=began,
            applied=reached.get(BatchStatus.BAKING, ended),
            ended=ended,
            reason=known.reason,
        )


def _incidents(one: Decided[Rollout | None]) -> Iterator[Happened]:
    def happened(what: str, text: str) -> Happened:
        return Happened(at=one.at, what=what, text=text)

    match one.message:
        case e.StepFinished() as m if m.outcome not in GOOD:
            yield happened("step", f"{m.node}/{m.component} {m.outcome}: {m.reason or 'no reason given'}")
        case e.StepStaged(ok=False) as m:
            yield happened("staging", f"{m.node}/{m.component} could not be staged: {m.reason}")
        case e.ComponentCrashLooping() as m:
            yield happened("crash loop", f"{m.node}/{m.component} {m.version}: {m.reason}")
        case e.AlertFired() as m:
            yield happened("alert", f"{m.name}: {m.detail or 'no detail'}")
        case e.VerdictReached() as m if m.verdict is not Verdict.PASS:
            yield happened("gate", f"{m.batch} {m.verdict}: {m.detail}")
        case e.RevertStarted() as m:
            yield happened("revert", f"taken back by revert {m.revert}: {m.reason}")
    for sent in one.sent:
        if isinstance(sent, e.RolloutFailed):
            yield happened("failed", sent.reason)
        elif isinstance(sent, e.RolloutHalted):
            yield happened("halted", sent.reason)


def _people(one: Decided[Rollout | None]) -> Iterator[Happened]:
    message: Message = one.message
    if isinstance(message, e.RolloutPlanned):
        what = "started" if message.of is None else "took it back"
        yield Happened(at=message.at, what=what, by=message.by or "nobody named", text=message.reason)
    elif isinstance(message, c.OperatorCommand):
        answers = [sent for sent in one.sent if isinstance(sent, e.CommandAnswered)]
        answer = "".join(f"{'accepted' if found.accepted else 'refused'}: {found.text}" for found in answers)
        text = "; ".join(part for part in (message.reason, answer) if part)
        kind = str(type(message).model_fields["type"].default)
        yield Happened(at=message.at, what=kind, by=message.by, text=text)
