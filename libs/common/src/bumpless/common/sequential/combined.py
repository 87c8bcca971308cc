"""The sequential test of one batch: what a gate and a simulation of one both drive, tick by tick.

It fails when the evidence M of the release reaches 1 / alpha (see `release`), with
E_batch = 0.9 x the weighted mean of the kinds' evidence + 0.1 x the start-up test's. It passes when every rule has
evidence of 1 / beta that the canary is good enough, its requests, and its time. It never passes by absence: a tick
without counts changes nothing but the time.

Pure and incremental: `begin` once with the history, then `warm` for each tick of the warm-up and `update` for each
judged one, in their order. No clock and no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import log

from bumpless.common.model.verdict import Reason, Verdict
from bumpless.common.sequential.calibration import Pair
from bumpless.common.sequential.eprocess import EProcess, StartUp, log_sum
from bumpless.common.sequential.kinds import Kind, kinds_of
from bumpless.common.sequential.past import Past
from bumpless.common.sequential.release import Carried, CarriedKind, log_m
from bumpless.common.sequential.spec import Counts, ErrorSpec, TestSpec, Tick

STARTUP_SHARE = 0.1
_TOLERANCE_MOST = 10.0
"""Nodes that differ so much from their peers, from minute to minute, that nothing could be told."""
_STARTUP_MOST = 0.1
"""A component that already failed more than this share of its requests has no start-up test."""


class SequentialTest:
    """See the module. `verdict` is None while the test goes on; the first verdict stays. `failed`: whether the
    evidence ever reached the bound, also after a pass.

    `curve` has log M after each tick, warm-up included, and `bound` is what it is held against.
    """

    def __init__(
        self, spec: TestSpec, kinds: tuple[Kind, ...], past: Past | None, carried: Carried | None
    ) -> None:
        self.spec = spec
        self.kinds = kinds
        self.verdict: Verdict | None = None
        self.reason: Reason | None = None
        self.failed = False
        self.ticks = 0
        self.requests = [0.0] * len(spec.rules)
        self.bound = -log(spec.alpha)
        self.curve: list[float] = []
        self._past = past
        self._carried = carried or Carried()
        starts = [
            index
            for index, rule in enumerate(spec.rules)
            if isinstance(rule, ErrorSpec)
            and rule.startup
            and all(kind.rate <= _STARTUP_MOST for kind in kinds if kind.rule == index)
        ]
        self.startups = {index: StartUp() for index in starts}
        share = STARTUP_SHARE if starts else 0.0
        self._log_startup = log(share) if starts else -math.inf
        self._log_weights = [log((1 - share) * kind.weight) for kind in kinds]
        self._past_startup = self._carried.startup
        self._log_pass = -log(spec.beta)
        self._least_ticks = math.ceil(spec.least_pass_s / spec.interval_s)
        self._apart = bool(self._carried.batches)
        self.release = [self._resumed(kind) for kind in kinds] if self._apart else [k.failing for k in kinds]

    @classmethod
    def begin(cls, spec: TestSpec, history: Sequence[Tick], carried: Carried | None = None) -> SequentialTest:
        """Calibrate on `history`, ticks before the batch in which canary and control ran the earlier version.

        Where the history itself would have failed, the verdict is INCONCLUSIVE (`baseline_unstable`) at once.
        """
        kinds = kinds_of(spec, history)
        past = Past(history, spec.most_ticks) if spec.alone else None
        found = cls(spec, kinds, past, carried)
        if found._unstable(history):
            found.verdict, found.reason = Verdict.INCONCLUSIVE, Reason.BASELINE_UNSTABLE
        return found

    def warm(self, tick: Tick) -> None:
        """A tick of the warm-up: only the start-up test looks at it."""
        self._start_up(tick)
        self._look()

    def update(self, tick: Tick, release: Tick | None = None) -> None:
        """A judged tick. `release`: the same with all nodes upgraded so far as the canary, after the first batch."""
        self.ticks += 1
        self._start_up(tick)
        judged = tick if self._past is None else self._past.beside(tick)
        for index, counts in enumerate(judged):
            if counts is not None:
                self.requests[index] += counts.n
        for kind in self.kinds:
            counts = judged[kind.rule]
            if counts is not None:
                kind.update(counts)
        if self._apart and release is not None:
            for kind, process in zip(self.kinds, self.release, strict=True):
                counts = release[kind.rule]
                if counts is not None and kind.level is not None:
                    process.update(*_pair(counts, kind.level))
        self._look()

    @property
    def log_batch(self) -> float:
        """log E_batch."""
        return self._mixed([kind.failing.log_e for kind in self.kinds], 0.0)

    @property
    def log_release(self) -> float:
        """log E_release; of the first batch the same as `log_batch`."""
        return self._mixed([process.log_e for process in self.release], self._past_startup)

    def log_pass(self, rule: int) -> float:
        """log of the evidence that `rule` is good enough; -inf where nothing can be said of it.

        The least of its kinds': a tail that is worse is not outweighed by a middle that is not.
        """
        return min(
            (
                _good(kind)
                for kind in self.kinds
                if kind.rule == rule and kind.level is not None and kind.passing is not None
            ),
            default=-math.inf,
        )

    def lacking(self, rule: int) -> Reason | None:
        """What `rule` lacks for a pass; None: nothing."""
        if all(kind.level is None for kind in self.kinds if kind.rule == rule):
            return Reason.BASELINE_MISSING
        if self.requests[rule] < self.spec.min_samples or self.log_pass(rule) < self._log_pass:
            return Reason.LOW_TRAFFIC
        return None if self.ticks >= self._least_ticks else Reason.DEADLINE

    def carried(self) -> Carried:
        """What the next batch goes on from."""
        return Carried(
            batches=(*self._carried.batches, self.log_batch),
            kinds=tuple(
                CarriedKind(kind.name, process.logs, process.odds, process.tempering)
                for kind, process in zip(self.kinds, self.release, strict=True)
            ),
            startup=self._past_startup + (self._startup if self.startups else 0.0),
        )

    def _resumed(self, kind: Kind) -> EProcess:
        before, found = self._carried.kind(kind.name), kind.calibration
        return EProcess.resumed(
            before.logs, max(before.odds, found.odds), min(before.tempering, found.tempering)
        )

    def _start_up(self, tick: Tick) -> None:
        for index, process in self.startups.items():
            counts = tick[index]
            if counts is not None:
                process.update(counts.n, counts.x[0])

    @property
    def _startup(self) -> float:
        """log of the mean evidence of the start-up tests."""
        return log_sum([process.log_e for process in self.startups.values()]) - log(len(self.startups))

    def _mixed(self, logs: Sequence[float], startup: float) -> float:
        terms = [weight + value for weight, value in zip(self._log_weights, logs, strict=True)]
        if self.startups:
            terms.append(self._log_startup + startup + self._startup)
        return log_sum(terms)

    def _look(self) -> None:
        """Take the tick's evidence to the curve, and decide."""
        batch = self.log_batch
        found = batch
        if self.spec.batches is not None:
            release = self.log_release if self._apart else batch
            found = log_m(release, batch, self._carried.batches, self.spec.batches)
        self.curve.append(found)
        self.failed = self.failed or (found >= self.bound and self.reason is not Reason.BASELINE_UNSTABLE)
        if self.verdict is not None:
            return
        if self.failed:
            self.verdict, self.reason = Verdict.FAIL, Reason.REGRESSION
        elif self.ticks >= self._least_ticks and all(
            self.lacking(index) is None for index in range(len(self.spec.rules))
        ):
            self.verdict, self.reason = Verdict.PASS, Reason.PASSED

    def _unstable(self, history: Sequence[Tick]) -> bool:
        """Whether the same test, on the half hour in which nothing changed, would have failed or could not."""
        if any(kind.calibration.tolerance > _TOLERANCE_MOST for kind in self.kinds):
            return True
        if self.spec.alone:
            return False
        for kind, weight in zip(self.kinds, self._log_weights, strict=True):
            process = EProcess(kind.calibration.odds, kind.calibration.tempering, self.spec.onset_ticks)
            for tick in history:
                counts = tick[kind.rule]
                if counts is None or kind.level is None:
                    continue
                process.update(*_pair(counts, kind.level))
                if weight + process.log_e >= -log(self.spec.alpha_batch):
                    return True
        return False


def _pair(counts: Counts, level: int) -> Pair:
    return Pair(counts.n, counts.m, counts.x[level], counts.y[level])


def _good(kind: Kind) -> float:
    assert kind.passing is not None
    if kind.below is None:
        return kind.passing.log_e
    return log_sum((kind.passing.log_e, kind.below.log_e)) - log(2)
