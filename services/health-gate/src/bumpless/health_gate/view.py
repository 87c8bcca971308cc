"""What one judgement looks at: the readings of the canary, of its peers, and of its own nodes before the switch.

Only readings of the version that is meant count: a draining predecessor on a canary node, or a peer that was
upgraded meanwhile, is in neither pool.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from bumpless.common.contract.commands import GateMember, OpenGate
from bumpless.common.model.gate import MISSING_TICKS as DEFAULT_MISSING_TICKS
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.verdict import Evidence, Reason, Verdict
from bumpless.health_gate.window import Instance, Member, Reading, SampleWindow

MISSING_TICKS = DEFAULT_MISSING_TICKS
"""The silence of a gate that says nothing else."""
LEAST_REQUESTS = 20
"""No verdict and no baseline rests on fewer requests."""

Pool = Mapping[Member, tuple[Instance, ...]]
"""Readings by member; a member without any is there, with no instances."""


@dataclass(frozen=True)
class Finding:
    """What one rule says now: its numbers with their verdict, and why. INCONCLUSIVE means: cannot tell yet."""

    evidence: Evidence
    reason: Reason


def finding(
    rule: str,
    reason: Reason,
    text: str,
    *,
    observed: float | None = None,
    baseline: float | None = None,
    limit: float | None = None,
    samples: float = 0,
) -> Finding:
    """A finding whose verdict follows from its reason."""
    match reason:
        case Reason.PASSED:
            verdict = Verdict.PASS
        case (
            Reason.NO_DATA
            | Reason.LOW_TRAFFIC
            | Reason.BASELINE_MISSING
            | Reason.BASELINE_UNSTABLE
            | Reason.LIMIT_CROSSED
            | Reason.DEADLINE
        ):
            verdict = Verdict.INCONCLUSIVE
        case _:
            verdict = Verdict.FAIL
    evidence = Evidence(
        rule=rule,
        verdict=verdict,
        observed=observed,
        baseline=baseline,
        limit=limit,
        samples=round(samples),
        text=text,
    )
    return Finding(evidence, reason)


@dataclass(frozen=True)
class View:
    """One gate, the samples, and the moment it is looked at. Everything a rule asks is computed once."""

    gate: OpenGate
    window: SampleWindow
    now: datetime

    @property
    def spec(self) -> GateSpec:
        return self.gate.spec

    @property
    def judged_from(self) -> datetime:
        """The end of the warm-up: rates, latency and gauges count from here."""
        return self.gate.switched_at + timedelta(seconds=self.spec.warm_up_s)

    @property
    def over(self) -> bool:
        """Whether the window is over, so that a pass is possible."""
        return self.now >= self.judged_from + timedelta(seconds=self.spec.window_s)

    @property
    def patience(self) -> timedelta:
        """How long a node may say nothing."""
        return timedelta(seconds=self.spec.missing_ticks * self.spec.interval_s)

    @property
    def few(self) -> int:
        """The least requests on which a fail, or a baseline, may rest."""
        return max(LEAST_REQUESTS, math.ceil(self.spec.min_samples / 5))

    @cached_property
    def canary(self) -> Pool:
        return self._pool(self.gate.canary, self.judged_from, self.now)

    @property
    def watched_from(self) -> datetime:
        """Since when values are watched: a gate that a person opened again forgets what the one before saw."""
        return max(self.judged_from, self.gate.at)

    @cached_property
    def watched(self) -> Pool:
        return self._pool(self.gate.canary, self.watched_from, self.now)

    @cached_property
    def switched(self) -> Pool:
        """The canary from its switch on, warm-up included."""
        return self._pool(self.gate.canary, self.gate.switched_at, self.now)

    @cached_property
    def control(self) -> Pool:
        return self._pool(self.gate.control, self.judged_from, self.now)

    @cached_property
    def history(self) -> Pool:
        """The canary's nodes before the switch, running anything but what they run now."""
        end = self.gate.switched_at
        start = end - timedelta(seconds=self.spec.baseline.history_s)
        return {Member(m.node, m.component): self._slice(m, start, end, own=False) for m in self.gate.canary}

    def tick_start(self, number: int) -> datetime:
        """When tick `number` begins; 0 is the first judged one."""
        return self.judged_from + number * timedelta(seconds=self.spec.interval_s)

    def ahead(self, member: Member) -> bool:
        """Whether the member reported from a time that is still to come, so that its clock or the gate's is wrong."""
        readings = self.window.raw(member).values()
        return any(found and found[-1].at > self.now + self.patience for found in readings)

    def everything(self, member: GateMember) -> tuple[Instance, ...]:
        """All that a canary member reported since its switch, whatever version."""
        return self.window.instances(
            Member(member.node, member.component), self.gate.switched_at, self.now, lambda _: True
        )

    def before(self, member: GateMember) -> tuple[Instance, ...]:
        """What instances of the new version reported before the switch."""
        start = self.gate.switched_at - timedelta(seconds=self.spec.baseline.history_s)
        return self._slice(member, start, self.gate.switched_at - timedelta(microseconds=1), own=True)

    def _pool(self, members: tuple[GateMember, ...], start: datetime, end: datetime) -> Pool:
        return {Member(m.node, m.component): self._slice(m, start, end, own=True) for m in members}

    def _slice(
        self, member: GateMember, start: datetime, end: datetime, *, own: bool
    ) -> tuple[Instance, ...]:
        """Readings of the member's own version, or of every other one."""

        def wanted(reading: Reading) -> bool:
            return (reading.root == member.root) is own

        return self.window.instances(Member(member.node, member.component), start, end, wanted)
