"""The verdict on a batch, from its gate and the samples. Pure: the same gate, samples and moment give the same.

FAIL as soon as one rule that may fail the batch is broken, or the sequential rules are together. INCONCLUSIVE as soon
as a rule that may only pause it is broken; when there is nothing to compare with at the end of the window; when a
gate with sequential rules heard nothing for too long; or at the deadline. PASS only when the window is over and
liveness and every rule that decides pass. Otherwise: not yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bumpless.common.contract.commands import OpenGate
from bumpless.common.model.gate import CompositeRule, Rule, SequentialErrors, SequentialLatency
from bumpless.common.model.verdict import CarriedEvidence, Evidence, Reason, Verdict
from bumpless.health_gate.checks import liveness
from bumpless.health_gate.composite import composite
from bumpless.health_gate.rules import evaluate
from bumpless.health_gate.tested import JOINT, Tested, tested
from bumpless.health_gate.trial import Trials
from bumpless.health_gate.view import Finding, View
from bumpless.health_gate.window import SampleWindow

_WEIGHT = (
    Reason.NO_DATA,
    Reason.BASELINE_MISSING,
    Reason.BASELINE_UNSTABLE,
    Reason.LOW_TRAFFIC,
    Reason.DEADLINE,
)
"""Which reason is told where rules have several: the one that a person has to do something about comes first."""
_HOPELESS = (Reason.BASELINE_MISSING, Reason.BASELINE_UNSTABLE)
"""What time does not mend, once the window is over."""


@dataclass(frozen=True)
class Judgement:
    """`verdict` None: not yet, and `reason` and `detail` say what is awaited. `carried` is for the next batch."""

    verdict: Verdict | None
    reason: Reason
    detail: str
    evidence: tuple[Evidence, ...]
    carried: CarriedEvidence | None = None


@dataclass(frozen=True)
class _Said:
    """One finding, and what its rule may do: `decides` or not, and fail or only pause."""

    finding: Finding
    decides: bool = True
    pauses: bool = False

    @property
    def evidence(self) -> Evidence:
        found = self.finding.evidence
        return found if self.decides else found.model_copy(update={"decides": False})


def judge(gate: OpenGate, window: SampleWindow, now: datetime, memory: Trials | None = None) -> Judgement:
    """What can be said of `gate` at `now`; later samples tell nothing but that a silent node's clock is ahead.

    `memory` keeps what was counted from one tick to the next; the answer is the same without.
    """
    view = View(gate, window, now)
    parts = frozenset(name for rule in gate.spec.rules if isinstance(rule, CompositeRule) for name in rule.of)
    sequential = [rule for rule in gate.spec.rules if isinstance(rule, SequentialErrors | SequentialLatency)]
    test = tested(view, sequential, parts, memory or Trials())
    said = [_Said(liveness(view))]
    if test.joint is not None:
        said.append(_Said(test.joint))
    said += _said(view, test, parts)
    return _verdict(view, test, said)


def _said(view: View, test: Tested, parts: frozenset[str]) -> Iterator[_Said]:
    """What every rule says, in the order of the spec. A composite's parts are looked at before it, wherever it is."""
    found: dict[str, Finding] = {}
    rules = view.spec.rules
    by_rule = {id(rule): finding for rule, finding in test.rules}
    findings: list[tuple[Rule, Finding | None]] = [
        (rule, by_rule.get(id(rule)) or evaluate(rule, view)) for rule in rules
    ]
    for rule, finding in findings:
        if finding is not None:
            found[rule.called] = finding
    for rule, finding in findings:
        if finding is None:
            assert isinstance(rule, CompositeRule)
            finding = composite(rule, found)
        decides = not rule.dry_run and rule.called not in parts
        yield _Said(finding, decides, rule.on_fail == "pause")


def _verdict(view: View, test: Tested, said: Sequence[_Said]) -> Judgement:
    evidence = tuple(one.evidence for one in said)
    deciding = [one for one in said if one.decides]

    def ended(verdict: Verdict | None, reason: Reason, text: str) -> Judgement:
        return Judgement(verdict, reason, text, evidence, test.carried if verdict else None)

    broken = [one for one in deciding if one.finding.evidence.verdict is Verdict.FAIL]
    for one in broken:
        if not one.pauses:
            return ended(Verdict.FAIL, one.finding.reason, one.finding.evidence.text)
    for one in broken:
        return ended(Verdict.INCONCLUSIVE, Reason.LIMIT_CROSSED, _text(one.finding))
    silent = _silence(view, test)
    if silent is not None:
        return ended(Verdict.INCONCLUSIVE, *silent)
    waiting = [one.finding for one in deciding if one.finding.evidence.verdict is not Verdict.PASS]
    if view.over and not waiting:
        text = f"{len(view.gate.canary)} nodes kept every limit for {view.spec.window_s:g} s"
        return ended(Verdict.PASS, Reason.PASSED, text)
    reason, text = Reason.DEADLINE, f"the window of {view.spec.window_s:g} s is not over"
    for found in sorted(waiting, key=lambda found: _WEIGHT.index(found.reason))[:1]:
        reason, text = found.reason, _text(found)
    for found in waiting:
        if view.over and found.reason in _HOPELESS:
            return ended(Verdict.INCONCLUSIVE, found.reason, _text(found))
    return ended(Verdict.INCONCLUSIVE if view.now >= view.gate.deadline else None, reason, text)


def _text(found: Finding) -> str:
    if found.evidence.rule == JOINT:  # which names the rule that matters itself
        return found.evidence.text
    return f"{found.evidence.rule}: {found.evidence.text}"


def _silence(view: View, test: Tested) -> tuple[Reason, str] | None:
    """Why a gate with sequential rules need not wait on: the canary said, or served, nothing for `silence_s`."""
    counted, silence = test.counted, timedelta(seconds=view.spec.silence_s)
    if counted is None or view.now < view.judged_from + silence:
        return None
    heard = counted.heard
    if heard is None or view.now - heard >= silence:
        return Reason.NO_DATA, f"no node of the canary reported for {view.spec.silence_s:g} s or more"
    served = counted.served or view.judged_from
    if view.spec.no_traffic == "inconclusive" and any(counted.told) and view.now - served >= silence:
        return Reason.LOW_TRAFFIC, f"no requests for {view.spec.silence_s:g} s or more"
    return None
