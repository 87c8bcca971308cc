"""The verdict on a batch, from its gate and the samples. Pure: the same gate, samples and moment give the same.

FAIL as soon as one rule fails. PASS only when the window is over and liveness and every rule pass. INCONCLUSIVE
when there is nothing to compare with at the end of the window, or at the deadline. Otherwise: not yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bumpless.common.contract.commands import OpenGate
from bumpless.common.model.verdict import Evidence, Reason, Verdict
from bumpless.health_gate.checks import liveness
from bumpless.health_gate.rules import evaluate
from bumpless.health_gate.view import View
from bumpless.health_gate.window import SampleWindow

_WEIGHT = (Reason.NO_DATA, Reason.BASELINE_MISSING, Reason.LOW_TRAFFIC, Reason.DEADLINE)
"""Which reason is told where rules have several: the one that a person has to do something about comes first."""


@dataclass(frozen=True)
class Judgement:
    """`verdict` None: not yet, and `reason` and `detail` say what is awaited."""

    verdict: Verdict | None
    reason: Reason
    detail: str
    evidence: tuple[Evidence, ...]


def judge(gate: OpenGate, window: SampleWindow, now: datetime) -> Judgement:
    """What can be said of `gate` at `now`; later samples are not looked at."""
    view = View(gate, window, now)
    findings = [liveness(view), *(evaluate(rule, view) for rule in gate.spec.rules)]
    evidence = tuple(found.evidence for found in findings)
    for found in findings:
        if found.evidence.verdict is Verdict.FAIL:
            return Judgement(Verdict.FAIL, found.reason, found.evidence.text, evidence)
    waiting = [found for found in findings if found.evidence.verdict is not Verdict.PASS]
    if view.over and not waiting:
        text = f"{len(gate.canary)} nodes kept every limit for {gate.spec.window_s:g} s"
        return Judgement(Verdict.PASS, Reason.PASSED, text, evidence)
    reason, text = Reason.DEADLINE, f"the window of {gate.spec.window_s:g} s is not over"
    for found in sorted(waiting, key=lambda found: _WEIGHT.index(found.reason))[:1]:
        reason, text = found.reason, f"{found.evidence.rule}: {found.evidence.text}"
    for found in waiting:
        if view.over and found.reason is Reason.BASELINE_MISSING:
            text = f"{found.evidence.rule}: {found.evidence.text}"
            return Judgement(Verdict.INCONCLUSIVE, Reason.BASELINE_MISSING, text, evidence)
    return Judgement(Verdict.INCONCLUSIVE if now >= gate.deadline else None, reason, text, evidence)
