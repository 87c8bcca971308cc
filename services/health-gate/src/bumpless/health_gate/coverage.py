"""Whether a gate's own source told enough to judge by, and what becomes of a judgement if it did not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

from bumpless.common.contract.commands import OpenGate
from bumpless.common.model.metric_source import MetricsFrom
from bumpless.common.model.verdict import Evidence, Reason, Verdict
from bumpless.health_gate.judge import Judgement
from bumpless.health_gate.window import Member

RULE = "source"


def covered(
    gate: OpenGate,
    source: MetricsFrom,
    told: Mapping[Member, Sequence[datetime]],
    found: Judgement,
    now: datetime,
    trouble: str = "",
) -> Judgement:
    """`found`, unless it is a pass that rests on silence of the source.

    INCONCLUSIVE as soon as the source has told nothing of any node for its `silent_s`. A fail stands: what was
    measured before the silence is measured. `trouble` is what is known of the cause; it changes words only.
    """
    silent = [member.node for member, times in sorted(told.items()) if not _whole(gate, source, times, now)]
    text = f"{source.title} tells of every node"
    if silent:
        text = f"{source.title} told nothing of {', '.join(silent)} lately" + (
            f" ({trouble})" if trouble else ""
        )
    evidence = Evidence(
        rule=RULE,
        verdict=Verdict.INCONCLUSIVE if silent else Verdict.PASS,
        observed=len(told) - len(silent),
        limit=len(told),
        samples=sum(len(times) for times in told.values()),
        text=text,
    )
    known = replace(found, evidence=(*found.evidence, evidence))
    if not silent or found.verdict is Verdict.FAIL:
        return known
    last = max((at for times in told.values() for at in times), default=gate.switched_at)
    over = now - max(last, gate.switched_at, gate.at) >= timedelta(seconds=source.silent_s)
    verdict = Verdict.INCONCLUSIVE if over or now >= gate.deadline else None
    return replace(known, verdict=verdict, reason=Reason.NO_DATA, detail=text)


def _whole(gate: OpenGate, source: MetricsFrom, times: Sequence[datetime], now: datetime) -> bool:
    """Whether `times` leave no silence within the last window (what there is of it, before it is over)."""
    spec = gate.spec
    longest = timedelta(seconds=spec.missing_ticks * max(spec.interval_s, source.interval_s))
    judged_from = gate.switched_at + timedelta(seconds=spec.warm_up_s)
    since = max(judged_from, now - timedelta(seconds=spec.window_s))
    inside = sorted(at for at in times if at >= since)
    return bool(inside) and all(b - a <= longest for a, b in pairwise([since, *inside, now]))
