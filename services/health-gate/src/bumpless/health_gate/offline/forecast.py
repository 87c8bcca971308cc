"""What a gate would do with expected traffic: figures by simulation, and the sizing formula beside them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf

from bumpless.common.contract.base import BatchId, MessageId, RolloutId
from bumpless.common.contract.commands import OpenGate
from bumpless.common.errors import Refused
from bumpless.common.model.gate import GateSpec, SequentialErrors, SequentialLatency
from bumpless.common.sequential import ErrorSpec, TestSpec
from bumpless.health_gate.channels import channel_of
from bumpless.health_gate.offline.bounds import clopper_pearson
from bumpless.health_gate.offline.simulate import Bake, Figures, simulate
from bumpless.health_gate.offline.sizing import requests_needed, seconds_needed
from bumpless.health_gate.offline.traffic import BOUNDS, HEALTHY, NOISES, Fault, Traffic
from bumpless.health_gate.trial import spec_of
from bumpless.health_gate.view import View
from bumpless.health_gate.window import SampleWindow

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

FAULTS = {
    "healthy": HEALTHY,
    "errors x2": Fault(errors=2),
    "errors x3": Fault(errors=3),
    "errors x10": Fault(errors=10),
    "latency x1.3": Fault(latency=1.3),
    "latency x2": Fault(latency=2),
}


@dataclass(frozen=True)
class Row:
    """One fault. `failed_95` are exact one-sided bounds on the share that fails; the formula knows only errors."""

    fault: str
    figures: Figures
    failed_95: tuple[float, float]
    sized_requests: float | None
    sized_s: float | None


@dataclass(frozen=True)
class Forecast:
    """`alpha` is the bound on false alarms of one batch, `bake_s` how long it is looked at after the warm-up."""

    alpha: float
    bake_s: float
    noise: str
    rows: tuple[Row, ...]


def forecast(spec: GateSpec, traffic: Traffic, noise: str, *, batches: int, runs: int, seed: int) -> Forecast:
    """Simulate the first of `batches` batches for every fault. Without control nodes, the canary's own past stands in.

    Raises:
        Refused: the spec has no sequential rule that fails a batch.
    """
    alone = spec.baseline.mode != "concurrent" or not traffic.control
    test = first_batch(spec, batches, alone=alone)
    bake = Bake(spec.warm_up_s, spec.timeout_s - spec.warm_up_s)
    found = []
    for number, (name, fault) in enumerate(FAULTS.items()):
        figures = simulate(test, bake, traffic, NOISES[noise], fault, runs=runs, seed=seed + number)
        requests, seconds = _sized(test, spec, traffic, fault)
        found.append(Row(name, figures, clopper_pearson(figures.failed, runs), requests, seconds))
    return Forecast(test.alpha_batch, bake.bake_s, noise, tuple(found))


def _sized(
    test: TestSpec, spec: GateSpec, traffic: Traffic, fault: Fault
) -> tuple[float | None, float | None]:
    errors = [rule for rule in test.rules if isinstance(rule, ErrorSpec)]
    if test.alone or not errors or fault.errors <= errors[0].allowed or traffic.error_rate <= 0:
        return None, None
    needed = requests_needed(
        traffic.error_rate, fault.errors, traffic.canary, traffic.control, test.alpha_batch, errors[0].allowed
    )
    if needed == inf:
        return None, None
    return needed, seconds_needed(needed, traffic.rps, traffic.canary, spec.interval_s, spec.warm_up_s)


def first_batch(spec: GateSpec, batches: int, *, alone: bool = False) -> TestSpec:
    """The sequential test of a gate's first of `batches` batches, over the simulated histogram's bounds.

    Raises:
        Refused: it has no sequential rule that fails a batch.
    """
    rules = [
        rule
        for rule in spec.rules
        if isinstance(rule, SequentialErrors | SequentialLatency)
        and not rule.dry_run
        and rule.on_fail == "fail"
    ]
    if not rules:
        raise Refused(
            "a gate with a sequential rule that may fail a batch", "none", "docs/gates.md describes them"
        )
    gate = OpenGate(
        id=MessageId("forecast"),
        at=_EPOCH,
        gate=MessageId("forecast"),
        rollout=RolloutId("forecast"),
        batch=BatchId("forecast"),
        spec=spec,
        canary=(),
        control=(),
        switched_at=_EPOCH,
        deadline=_EPOCH,
        batches=batches,
    )
    channels = [channel_of(rule, BOUNDS) for rule in rules]
    return spec_of(View(gate, SampleWindow(), _EPOCH), rules, channels, alone=alone)
