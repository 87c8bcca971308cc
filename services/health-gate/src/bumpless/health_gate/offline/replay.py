"""A recorded trace judged by the `judge` of the service, tick by tick, as if the batch were switched now.

The rows become the samples that nodes would have sent. A trace knows requests, errors, latency, restarts and whether
the node answered; rules over anything else are left out of the spec, and `Replayed.notes` names them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bumpless.common.contract.base import BatchId, Digest, MessageId, RolloutId
from bumpless.common.contract.commands import GateMember, OpenGate
from bumpless.common.contract.events import MetricsSampled
from bumpless.common.errors import Refused
from bumpless.common.model.gate import (
    ClassicRule,
    CompositeRule,
    ErrorRateRule,
    GateSpec,
    LatencyRule,
    RestartsRule,
    Rule,
    SequentialErrors,
    SequentialLatency,
)
from bumpless.common.model.verdict import Evidence, Reason, SequentialEvidence, Verdict
from bumpless.health_gate.judge import Judgement, judge
from bumpless.health_gate.offline import curve
from bumpless.health_gate.offline.trace import GROUPS, Row, Trace, by_node
from bumpless.health_gate.trial import Trials
from bumpless.health_gate.window import Member, SampleWindow, increase

SWITCH = datetime(2000, 1, 1, tzinfo=UTC)
"""Where the trace's switch is put; nothing depends on it."""
OLD, NEW = Digest("sha256:" + "0" * 64), Digest("sha256:" + "1" * 64)
COMPONENT, TOTAL, BAD, HISTOGRAM = (
    "traced",
    "http_requests_total",
    'status=~"5.."',
    "http_request_duration_seconds",
)
_LAG_S = 1.0
"""A tick is looked at a moment after its end, as in the service, where samples take a while to arrive."""
_MOST_LOG = 700.0

Read = tuple[str | None, ...]


@dataclass(frozen=True)
class Replayed:
    """What the gate said, `decided_at_s` after the switch, or, where it said nothing, at the end of the trace.

    `requests_seen` are the canary's since the switch. `evidence` is every rule's.
    """

    verdict: Verdict
    reason: Reason
    detail: str
    decided_at_s: float
    ended: bool
    requests_seen: int
    evidence: tuple[Evidence, ...]
    warm_up_s: float
    notes: tuple[str, ...]

    @property
    def sequential(self) -> SequentialEvidence | None:
        """The evidence of the sequential test, where the spec has one."""
        return next((found.sequential for found in self.evidence if found.sequential is not None), None)

    @property
    def e_value(self) -> float | None:
        found = self.sequential
        return None if found is None or found.curve is None else _exp(found.curve.log_m[-1])

    @property
    def points(self) -> list[tuple[float, float]]:
        """Seconds from the switch, and the e-value then."""
        found = self.sequential
        if found is None or found.curve is None:
            return []
        since = (found.curve.since - SWITCH).total_seconds()
        return [
            (since + (index + 1) * found.curve.step_s, _exp(value))
            for index, value in enumerate(found.curve.log_m)
        ]

    def drawing(self, title: str) -> curve.Evidence | None:
        """The evidence, to be drawn; None: there is none."""
        found = self.sequential
        if found is None or found.curve is None:
            return None
        decision = f"{self.verdict} ({self.reason}) after {self.decided_at_s:g} s: {self.detail}"
        at = self.decided_at_s if self.ended else None
        return curve.Evidence(title, self.points, _exp(found.curve.bound), self.warm_up_s, at, decision)


def replay(
    trace: Trace, spec: GateSpec | None = None, switch_s: float | None = None, batches: int = 1
) -> Replayed:
    """Judge the batch that was switched at `switch_s` of the trace; None: at 0, or where its canary begins. It is the
    first of `batches` of its release.

    `spec` None: the default one, ticking as often as the trace has rows.

    Raises:
        Refused: no canary row after the switch, or a spec of which no rule can be judged.
    """
    notes, given = list(trace.notes), spec is not None
    if switch_s is None:
        switch_s = _switch(trace)
        if switch_s:
            notes.append(
                f"its canary begins later than its peers, so the switch is taken to be at {switch_s:g} s"
            )
    if not any(row.group == "canary" and row.t > switch_s for row in trace.rows):
        raise Refused(
            f"rows of the group canary after the switch at {switch_s:g} s",
            "none",
            "name the moment of the switch, in the trace's own seconds, with --switch",
        )
    step = trace.step_s
    if spec is None:
        spec = (
            GateSpec() if step <= 0 or step <= GateSpec().interval_s else _with(GateSpec(), interval_s=step)
        )
    elif step > 1.5 * spec.interval_s:
        notes.append(
            f"its rows are {step:g} s apart, the spec's tick is {spec.interval_s:g} s: expect silences"
        )
    fitted, left_out = fit(spec)
    notes += left_out if given else []
    if not any(row.t <= switch_s for row in trace.rows):
        notes.append("it has no rows before the switch, so nothing is calibrated")
    gate, window = opened(trace, fitted, switch_s, batches), SampleWindow()
    for sample in samples(trace, switch_s):
        window.add(sample)
    found, at = _judged(gate, window, max(row.t for row in trace.rows) - switch_s)
    detail = found.detail
    if found.verdict is None:
        detail = f"the trace ends before the gate could decide; {detail}"
    return Replayed(
        verdict=found.verdict or Verdict.INCONCLUSIVE,
        reason=found.reason,
        detail=detail,
        decided_at_s=at,
        ended=found.verdict is not None,
        requests_seen=_requests(gate, window, SWITCH + timedelta(seconds=at)),
        evidence=found.evidence,
        warm_up_s=fitted.warm_up_s,
        notes=tuple(notes),
    )


def _switch(trace: Trace) -> float:
    """0, unless no row is before it and the canary's begin well after the peers': then a step before they do."""
    begins = {
        group: min((row.t for row in trace.rows if row.group == group), default=0.0) for group in GROUPS
    }
    late = begins["canary"] - begins["control"] >= 2 * trace.step_s > 0
    return begins["canary"] - trace.step_s if late and begins["control"] >= 0 else 0.0


def _judged(gate: OpenGate, window: SampleWindow, end_s: float) -> tuple[Judgement, float]:
    """The first judgement with a verdict, else the last one before the trace ends, and its time."""
    step = gate.spec.interval_s
    lag = min(_LAG_S, step / 5)
    memory = Trials()
    last = min(end_s, gate.spec.timeout_s)
    for tick in range(1, max(1, math.ceil(last / step)) + 1):
        at = tick * step + lag
        found = judge(gate, window, SWITCH + timedelta(seconds=at), memory)
        if found.verdict is not None:
            break
    return found, round(at, 3)


def fit(spec: GateSpec) -> tuple[GateSpec, list[str]]:
    """`spec` over the counters of a trace, and what of it a trace cannot answer.

    A trace has one counter of requests, one of errors and one histogram: they stand for those of the first rules
    that read any. Rules over other ones are left out.

    Raises:
        Refused: nothing is left.
    """
    read: dict[str, Read] = {}
    fitted = [(rule, _fitted(rule, read)) for rule in spec.rules]
    names = {kept.called for _, kept in fitted if kept is not None}
    fitted = [
        (rule, None if isinstance(kept, CompositeRule) and not set(kept.of) <= names else kept)
        for rule, kept in fitted
    ]
    rules = [kept for _, kept in fitted if kept is not None]
    left_out = [rule.called for rule, kept in fitted if kept is None]
    if not any(not rule.dry_run for rule in rules):
        raise Refused(
            "a rule over requests, errors, latency or restarts that decides", f"only {', '.join(left_out)}"
        )
    notes = [f"not judged, because a trace has nothing on it: {', '.join(left_out)}"] if left_out else []
    return spec.model_copy(update={"rules": tuple(rules), "source": None}), notes


def _fitted(rule: Rule, read: dict[str, Read]) -> Rule | None:
    """`rule` over the trace's counters; None: it reads something else. `read` has what the first rules read."""
    renamed: dict[str, str | None] = {}
    if isinstance(rule, SequentialErrors | ErrorRateRule | ClassicRule):
        apart = rule.bad_total if isinstance(rule, SequentialErrors) else None
        own = (rule.total, rule.bad, apart)
        if read.setdefault("requests", own) != own:
            return None
        renamed |= {"total": TOTAL, "bad": BAD}
        if isinstance(rule, SequentialErrors):
            renamed["bad_total"] = None
    if isinstance(rule, SequentialLatency | LatencyRule | ClassicRule):
        if read.setdefault("latency", (rule.histogram,)) != (rule.histogram,):
            return None
        renamed["histogram"] = HISTOGRAM
    if not renamed and not isinstance(rule, RestartsRule | CompositeRule):
        return None
    return rule.model_copy(update=renamed)


def opened(trace: Trace, spec: GateSpec, switch_s: float, batches: int = 1) -> OpenGate:
    """The gate over the trace's nodes."""

    def members(nodes: Sequence[str], version: str, root: Digest) -> tuple[GateMember, ...]:
        # Names of nodes are whatever the trace calls them.
        return tuple(
            GateMember.model_construct(node=node, component=COMPONENT, version=version, root=root)
            for node in nodes
        )

    since = {row.node for row in trace.rows if row.t > switch_s}
    return OpenGate.model_construct(
        id=MessageId("replayed"),
        at=SWITCH,
        gate=MessageId("replayed"),
        rollout=RolloutId("replayed"),
        batch=BatchId("replayed"),
        spec=spec,
        canary=members(trace.nodes("canary"), "new", NEW),
        control=members([node for node in trace.nodes("control") if node in since], "old", OLD),
        switched_at=SWITCH,
        deadline=SWITCH + timedelta(seconds=spec.timeout_s),
        batches=batches,
    )


def samples(trace: Trace, switch_s: float) -> Iterator[MetricsSampled]:
    """The rows as scrapes. A canary node's are of the old version up to the switch, and of the new one after it.

    Where its counters fall at the switch, the new process began with zero; where they go on, they are a proxy's, and
    the last count before the switch is where the new version's begin.
    """
    step = trace.step_s or 1.0
    for node, rows in by_node(trace.rows).items():
        before = [row for row in rows if row.t <= switch_s]
        after = [row for row in rows if row.t > switch_s]
        if rows[0].group == "control":
            yield from _instance(node, "old", rows, switch_s, step)
            continue
        yield from _instance(node, "old", before, switch_s, step)
        base = before[-1] if before else None
        fell = bool(base and after and _fell(base, after[0]))
        goes_on = base is not None and not fell and base.t > switch_s - step / 2
        restarts = (base.restarts or 0) if base is not None else 0
        yield from _instance(
            node, "new", after, switch_s, step, born=fell, base=base if goes_on else None, restarts=restarts
        )


def _instance(
    node: str,
    version: str,
    rows: Sequence[Row],
    switch_s: float,
    step: float,
    *,
    born: bool = False,
    base: Row | None = None,
    restarts: int = 0,
) -> Iterator[MetricsSampled]:
    """`restarts` of the node are those before this instance. Scrapes that are missing have numbers all the same."""
    sequence = 1 if born else 2
    if base is not None:
        yield _sample(node, version, base, SWITCH, sequence, 0)
        sequence += 1
    last: Row | None = None
    for row in rows:
        if last is not None:
            sequence += max(1, round((row.t - last.t) / step))
        last = row
        at = SWITCH + timedelta(seconds=row.t - switch_s)
        yield _sample(node, version, row, at, sequence, max(0, (row.restarts or 0) - restarts))


def _sample(node: str, version: str, row: Row, at: datetime, sequence: int, restarts: int) -> MetricsSampled:
    return MetricsSampled.model_construct(
        id=MessageId(f"{node}/{version}/{sequence}"),
        at=at,
        node=node,
        component=COMPONENT,
        instance=f"{node}/{version}",
        version=version,
        root=NEW if version == "new" else OLD,
        sequence=sequence,
        up=row.up,
        restarts=restarts,
        samples=_series(row) if row.up else {},
    )


def _series(row: Row) -> dict[str, float]:
    """Requests that cannot be told good from bad are missing as a whole: nothing may be read from half of it."""
    found: dict[str, float] = {}
    if row.requests is not None and row.errors is not None:
        found[f'{TOTAL}{{status="200"}}'] = max(0.0, row.requests - row.errors)
        found[f'{TOTAL}{{status="500"}}'] = row.errors
    for le, count in (row.buckets or {}).items():
        found[f'{HISTOGRAM}_bucket{{le="{"+Inf" if math.isinf(le) else f"{le:g}"}"}}'] = count
    return found


def _fell(before: Row, after: Row) -> bool:
    return before.requests is not None and after.requests is not None and after.requests < before.requests


def _requests(gate: OpenGate, window: SampleWindow, until: datetime) -> int:
    """Of the canary, from the switch until then."""
    grown = [
        increase(readings, TOTAL)
        for member in gate.canary
        for readings in window.instances(
            Member(member.node, member.component), SWITCH, until, lambda reading: reading.root == NEW
        )
    ]
    return round(sum(sum(family.values()) for family in grown if family is not None))


def _with(spec: GateSpec, *, interval_s: float) -> GateSpec:
    return GateSpec.model_validate({**spec.model_dump(exclude_defaults=True), "interval_s": interval_s})


def _exp(value: float) -> float:
    return math.exp(min(value, _MOST_LOG))
