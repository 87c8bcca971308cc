"""Our gate in the benchmark: the product's own test, tick by tick, and its own rule for restarts.

Nothing of the statistic is written here. What fails a crashing canary first is the rule for restarts, which counts
what nodes report; it is asked through `judge`, as in the service.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import log

from bumpless.common.contract.base import BatchId, Digest, MessageId, RolloutId
from bumpless.common.contract.commands import GateMember, OpenGate
from bumpless.common.contract.events import MetricsSampled
from bumpless.common.model.gate import GateSpec, RestartsRule
from bumpless.common.model.verdict import Verdict
from bumpless.common.sequential import SequentialTest
from bumpless.health_gate.judge import judge
from bumpless.health_gate.offline.forecast import first_batch
from bumpless.health_gate.offline.simulate import ticks_of
from bumpless.health_gate.offline.traffic import Drawn
from bumpless.health_gate.window import SampleWindow
from gate.grid import TICK_S

GATE = GateSpec()
"""What a release gets that says nothing about its gate but that it wants one."""
WARM_UP_TICKS = round(GATE.warm_up_s / TICK_S)
ALPHA_BATCH = 0.001
"""A hundredth for a release of five batches."""
ALPHA_ALONE = 0.01
SPEC = replace(first_batch(GATE, batches=5), alpha=ALPHA_BATCH, batches=None)


@dataclass(frozen=True)
class Outcome:
    """Seconds from the switch; None: it did not happen.

    `failed`: the evidence, or restarts, fail the batch, whether or not it had passed before; `alone` is the same for
    a release of one batch. `passed`: the gate's verdict was a pass. `requests`: of the canary, after the warm-up,
    until `failed`. `unstable`: the history was refused.
    """

    failed: float | None
    alone: float | None
    passed: float | None
    requests: float | None
    unstable: bool


def run(drawn: Drawn, *, healthy: bool) -> Outcome:
    """Judge one batch. A healthy one is looked at to the end of the bake, a faulty one until all is known."""
    history, after = ticks_of(drawn)
    test = SequentialTest.begin(SPEC, history)
    if test.verdict is not None:
        return Outcome(None, None, None, None, unstable=True)
    passed: float | None = None
    for index, tick in enumerate(after):
        if index < WARM_UP_TICKS:
            test.warm(tick)
        else:
            test.update(tick)
        if passed is None and test.verdict is Verdict.PASS:
            passed = (index + 1) * drawn.interval_s
        if not healthy and test.curve[-1] >= -log(ALPHA_BATCH):
            break
    restarted = _restarted(drawn) if drawn.restarts.any() else None
    failed = _earlier(_crossed(test.curve, ALPHA_BATCH, drawn), restarted)
    alone = _earlier(_crossed(test.curve, ALPHA_ALONE, drawn), restarted)
    if passed is not None and failed is not None and failed <= passed:
        passed = None
    return Outcome(failed, alone, passed, _requests(drawn, failed), unstable=False)


def _crossed(curve: list[float], alpha: float, drawn: Drawn) -> float | None:
    found = next((index for index, value in enumerate(curve) if value >= -log(alpha)), None)
    return None if found is None else (found + 1) * drawn.interval_s


def _earlier(one: float | None, other: float | None) -> float | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _requests(drawn: Drawn, until: float | None) -> float | None:
    if until is None:
        return None
    start = drawn.history + WARM_UP_TICKS
    return float(drawn.requests[start : drawn.history + round(until / drawn.interval_s), 0].sum())


T0 = datetime(2030, 1, 1, tzinfo=UTC)
ROOT = "sha256:" + "b" * 64


def _restarted(drawn: Drawn) -> float | None:
    """When `judge` fails the batch for its restarts or its silence, from what the canary's nodes report."""
    window = SampleWindow()
    nodes = [f"node-{number}" for number in range(drawn.restarts.shape[1])]
    gate = _gate(nodes, drawn.after * drawn.interval_s)
    for tick in range(drawn.after):
        now = T0 + timedelta(seconds=(tick + 1) * drawn.interval_s)
        for number, node in enumerate(nodes):
            window.add(_sample(node, tick, now, drawn, number))
        if judge(gate, window, now).verdict is Verdict.FAIL:
            return (tick + 1) * drawn.interval_s
    return None


def _sample(node: str, tick: int, now: datetime, drawn: Drawn, number: int) -> MetricsSampled:
    return MetricsSampled.model_construct(
        id=MessageId(f"{node}/{tick}"),
        at=now,
        node=node,
        component="api",
        instance=node,
        version="2",
        root=Digest(ROOT),
        sequence=tick + 1,
        up=bool(drawn.up[tick, number]),
        restarts=int(drawn.restarts[tick, number]),
        samples={},
    )


def _gate(nodes: list[str], timeout_s: float) -> OpenGate:
    return OpenGate(
        id=MessageId("open"),
        at=T0,
        gate=MessageId("gate"),
        rollout=RolloutId("rollout"),
        batch=BatchId("batch"),
        spec=GateSpec(rules=(RestartsRule(),), warm_up_s=GATE.warm_up_s, timeout_s=timeout_s),
        canary=tuple(GateMember(node=node, component="api", version="2", root=ROOT) for node in nodes),
        control=(),
        switched_at=T0,
        deadline=T0 + timedelta(seconds=timeout_s),
    )
