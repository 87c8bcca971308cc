"""What the sequential tests say of a view, as findings with the evidence they rest on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bumpless.common.model.probe import NoTraffic
from bumpless.common.model.verdict import (
    CarriedEvidence,
    CarriedProcess,
    Curve,
    KindEvidence,
    Reason,
    SequentialEvidence,
)
from bumpless.common.sequential import SequentialTest
from bumpless.common.sequential.combined import STARTUP_SHARE
from bumpless.common.sequential.kinds import Kind
from bumpless.health_gate.channels import LatencyChannel
from bumpless.health_gate.fresh import of_channel, still_told
from bumpless.health_gate.trial import Counted, SequentialRule, Trial, Trials, run
from bumpless.health_gate.tryouts import instead_of_requests
from bumpless.health_gate.view import Finding, View, finding

JOINT = "sequential"
"""What the evidence of all deciding sequential rules together is called."""
CURVE_POINTS = 240


@dataclass(frozen=True)
class Tested:
    """`joint` is the finding of the rules that decide together, None without any; `rules` has one for each rule.

    `carried` is what the batch leaves to the next one. `counted` None: there are no sequential rules.
    """

    joint: Finding | None = None
    rules: tuple[tuple[SequentialRule, Finding], ...] = ()
    carried: CarriedEvidence | None = None
    counted: Counted | None = None


def tested(view: View, rules: Sequence[SequentialRule], parts: frozenset[str], memory: Trials) -> Tested:
    """Test `rules`; `parts` are the names of those that belong to a composite."""
    if not rules:
        return Tested()
    counted = memory.counted(view, rules)
    together = [
        rule for rule in rules if not rule.dry_run and rule.on_fail == "fail" and rule.called not in parts
    ]
    found: dict[int, Finding] = {}
    joint, carried = None, None
    if together:
        trial = run(view, together, rules, counted)
        found |= {id(rule): _rule(view, trial, index) for index, rule in enumerate(together)}
        joint = _joint(view, trial, [found[id(rule)] for rule in together])
        carried = _carried(trial.test)
    for rule in rules:
        if id(rule) not in found:
            trial = run(view, [rule], rules, counted)
            found[id(rule)] = _alone(view, trial)
    return Tested(joint, tuple((rule, found[id(rule)]) for rule in rules), carried, counted)


def _joint(view: View, trial: Trial, rules: Sequence[Finding]) -> Finding:
    """The finding of several rules in one test: broken by their evidence together, passed when each of them passes."""
    reason, text = _state(view, trial)
    if reason is Reason.PASSED:
        waiting = [found for found in rules if found.reason is not Reason.PASSED]
        if waiting:
            reason = waiting[0].reason
            text = f"{waiting[0].evidence.rule}: {waiting[0].evidence.text}"
    return _with(finding(JOINT, reason, text, samples=max(trial.test.requests)), trial, view)


def _alone(view: View, trial: Trial) -> Finding:
    found = _rule(view, trial, 0)
    reason, text = _state(view, trial)
    if reason is not Reason.PASSED:
        evidence = found.evidence
        found = finding(
            evidence.rule,
            reason,
            text,
            observed=evidence.observed,
            baseline=evidence.baseline,
            samples=evidence.samples,
        )
    return _with(found, trial, view)


def _state(view: View, trial: Trial) -> tuple[Reason, str]:
    """Whether the test as a whole is broken, or cannot be held at all; PASSED: neither."""
    test = trial.test
    against = _odds(test.curve[-1]) if test.curve else "nothing"
    if test.failed:
        worst = _worst(test)
        what = _startup(test) if worst is None else f"{trial.rules[worst.rule].called}: {_told(worst, trial)}"
        return Reason.REGRESSION, f"{what}; evidence {against}, limit {_odds(test.bound)}"
    if test.reason is Reason.BASELINE_UNSTABLE:
        if _log_startup(test) >= test.bound:  # which compares with nobody
            return Reason.REGRESSION, _startup(test)
        return Reason.BASELINE_UNSTABLE, (
            f"in the {view.spec.baseline.history_s:g} s before the switch these nodes already differed from their "
            "peers: expected nodes alike, find out what is wrong with them"
        )
    return Reason.PASSED, f"evidence of a fault {against}, limit {_odds(test.bound)}"


def _rule(view: View, trial: Trial, index: int) -> Finding:
    """One rule of a test: what it saw, and what it still lacks for a pass."""
    rule, test = trial.rules[index], trial.test
    kinds = [kind for kind in test.kinds if kind.rule == index]
    shown = max(kinds, key=lambda kind: kind.failing.log_e)
    n, seen = test.requests[index], shown.level is not None
    reason, text = _lacking(view, trial, index, shown)
    found = finding(
        rule.called,
        reason,
        text,
        observed=shown.x / shown.n if seen and shown.n else None,
        baseline=shown.y / shown.m if seen and shown.m else None,
        samples=n,
    )
    return still_told(found, view, tuple(of_channel(trial.channels[index])))


def _lacking(view: View, trial: Trial, index: int, shown: Kind) -> tuple[Reason, str]:
    test, spec, told = trial.test, view.spec, trial.told[index]
    n = test.requests[index]
    silent = sorted({member.node for member in view.gate.canary} - told)
    if spec.no_traffic == "allowed" and n <= 0 and len(silent) in (0, len(view.gate.canary)):
        return Reason.PASSED, "no requests, which the gate allows"
    if isinstance(spec.no_traffic, NoTraffic) and n <= 0 and len(silent) in (0, len(view.gate.canary)):
        instead = instead_of_requests(view, trial.rules[index].called, spec.no_traffic)
        return instead.reason, instead.evidence.text
    channel = trial.channels[index]
    if silent and view.now >= view.judged_from + view.patience:
        return Reason.NO_DATA, _unseen(view, channel_name(trial, index), silent)
    if isinstance(channel, LatencyChannel) and told and not channel.bounds:
        return Reason.NO_DATA, f"{channel.histogram}: the nodes' buckets have no bound in common"
    if n <= 0:
        return Reason.LOW_TRAFFIC, "no requests that could be set beside those of the peers"
    lack = test.lacking(index)
    text = _told(shown, trial)
    match lack:
        case None:
            return Reason.PASSED, text
        case Reason.BASELINE_MISSING:
            if not spec.baseline.required:
                return Reason.PASSED, "no requests before the switch to calibrate on, not judged"
            return lack, "expected requests before the switch to calibrate on, found none"
        case Reason.LOW_TRAFFIC if n < spec.min_samples:
            return lack, f"{text}; {n:.0f} of {spec.min_samples} requests"
        case Reason.LOW_TRAFFIC:
            shown_pass = _odds(test.log_pass(index))
            return lack, f"{text}; evidence for a pass {shown_pass}, wanted {_odds(-math.log(spec.beta))}"
        case _:
            return lack, text


def channel_name(trial: Trial, index: int) -> str:
    return trial.channels[index].families[0]


def _unseen(view: View, name: str, silent: Sequence[str]) -> str:
    """Which data are missing, and why where that can be told."""
    where = ", ".join(silent[:5]) + (f" and {len(silent) - 5} more" if len(silent) > 5 else "")
    text = f"expected {name} from every node, found none from {where}"
    for member, instances in view.switched.items():
        if member.node in silent:
            if any(reading.crowded for readings in instances for reading in readings):
                return f"{text}; {member.node} exports too many series to be read"
            if view.ahead(member):
                return f"{text}; the clock of {member.node} is ahead"
    return text


def _told(kind: Kind, trial: Trial) -> str:
    """What one kind saw, in words."""
    if kind.level is None:
        return "the history has no bucket for it"
    counted = trial.counted
    against = "the pinned baseline" if counted.pinned else "their own past" if counted.alone else "the peers"
    channel = trial.channels[kind.rule]
    what = "bad requests"
    if isinstance(channel, LatencyChannel):
        what = f"requests above {channel.bounds[kind.level] * 1000:g} ms"
    text = f"{what} {_share(kind.x, kind.n)}"
    return text + (f", {against} {_share(kind.y, kind.m)}" if kind.m else ", no peers")


def _log_startup(test: SequentialTest) -> float:
    """log of what the start-up tests alone add to the evidence; -inf without any."""
    return max((process.log_e for process in test.startups.values()), default=-math.inf) + math.log(
        STARTUP_SHARE / max(1, len(test.startups))
    )


def _startup(test: SequentialTest) -> str:
    worst = max(test.startups.values(), key=lambda process: process.log_e)
    return f"bad requests {_share(worst.x, worst.n)} since the switch, limit 20 %"


def _share(events: float, requests: float) -> str:
    share = events / requests if requests else 0.0
    return f"{share:.2%} ({events:.0f} of {requests:.0f})"


def _odds(log_e: float) -> str:
    """Evidence as people read it: 12 to 1."""
    if log_e > 14:
        return f"10^{log_e / math.log(10):.0f} to 1"
    return f"{math.exp(log_e):.3g} to 1"


def _worst(test: SequentialTest) -> Kind | None:
    """The kind that has most of the evidence; None: the start-up test has."""
    kinds = max(test.kinds, key=lambda kind: kind.failing.log_e + math.log(kind.weight), default=None)
    if kinds is None or _log_startup(test) > kinds.failing.log_e + math.log(
        (1 - STARTUP_SHARE) * kinds.weight
    ):
        return None
    return kinds


def _with(found: Finding, trial: Trial, view: View) -> Finding:
    evidence = found.evidence.model_copy(update={"sequential": _evidence(trial, view)})
    return Finding(evidence, found.reason)


def _evidence(trial: Trial, view: View) -> SequentialEvidence:
    test, spec, counted = trial.test, view.spec, trial.counted
    past = sum(any(counts is not None for counts in tick) for tick in counted.past)
    control = "peers" if not counted.alone else "own past" if past else "nothing"
    if counted.pinned:
        control, past = "pinned", 0
    starts = [process.log_e for process in test.startups.values()]
    return SequentialEvidence(
        alpha=test.spec.alpha,
        batches=test.spec.batches or 1,
        log_batch=_round(test.log_batch),
        log_release=_round(test.log_release),
        log_startup=_round(max(starts)) if starts else None,
        control=control,
        nodes=(len(view.gate.canary), counted.peers),
        history_s=past * spec.interval_s,
        judged_s=test.ticks * spec.interval_s,
        source="agent" if spec.source is None else spec.source.title,
        kinds=tuple(_kind(kind, trial) for kind in test.kinds if kind.level is not None),
        curve=_curve(test, view),
    )


def _kind(kind: Kind, trial: Trial) -> KindEvidence:
    channel = trial.channels[kind.rule]
    above = None
    if isinstance(channel, LatencyChannel) and kind.level is not None:
        above = channel.bounds[kind.level]
    return KindEvidence(
        name=kind.name,
        n=kind.n,
        m=kind.m,
        x=kind.x,
        y=kind.y,
        odds=_round(kind.calibration.odds),
        rho=_round(kind.calibration.rho),
        tempering=_round(kind.calibration.tempering),
        log_e=_round(kind.failing.log_e),
        log_pass=None if kind.passing is None else _round(kind.passing.log_e),
        above_s=above,
    )


def _curve(test: SequentialTest, view: View) -> Curve | None:
    """The evidence over time; of a long one every other point and so on, and always the last."""
    if not test.curve:
        return None
    stride = -(-len(test.curve) // CURVE_POINTS)
    offset = (len(test.curve) - 1) % stride
    warm = len(test.curve) - test.ticks
    first = view.tick_start(offset - warm - (stride - 1))
    return Curve(
        since=first,
        step_s=view.spec.interval_s * stride,
        bound=_round(test.bound),
        log_m=tuple(_round(value) for value in test.curve[offset::stride]),
    )


def _carried(test: SequentialTest) -> CarriedEvidence:
    found = test.carried()
    return CarriedEvidence(
        batches=tuple(_round(value) for value in found.batches),
        kinds=tuple(
            CarriedProcess(name=kind.name, logs=kind.logs, odds=kind.odds, tempering=kind.tempering)
            for kind in found.kinds
        ),
        startup=found.startup,
    )


def _round(value: float) -> float:
    return round(value, 4)
