"""What a test does with simulated traffic: how often it alarms, how soon it finds a fault, how soon it passes.

The test is the product's own, driven tick by tick as a gate drives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bumpless.common.model.verdict import Verdict
from bumpless.common.sequential import Counts, ErrorSpec, SequentialTest, TestSpec, Tick
from bumpless.health_gate.offline.traffic import CANARY, Array, Drawn, Fault, Noise, Traffic, draw

HISTORY_S = 1800.0


@dataclass(frozen=True)
class Figures:
    """Of `runs` simulated batches. `decided_s` and `requests` (of the canary, after the warm-up) are of those that
    failed, or, for a healthy release, of those that passed: median and ninetieth percentile; None: there are none.

    The rest of the runs could not be decided within the bake.
    """

    runs: int
    failed: int
    passed: int
    decided_s: tuple[float, float] | None
    requests: tuple[float, float] | None


@dataclass(frozen=True)
class Bake:
    """The times of a gate in seconds: after `warm_up_s` the test looks every tick, until `bake_s` are over."""

    warm_up_s: float
    bake_s: float


def ticks_from(
    requests: Array, errors: Array, slow: Array, rules: Sequence[object] | None = None
) -> list[Tick]:
    """Counts `[tick, side]`, slow ones `[tick, side, bound]`, as ticks of an error and a latency rule, or of `rules`."""
    wanted = (True, False) if rules is None else tuple(isinstance(rule, ErrorSpec) for rule in rules)
    found: list[Tick] = []
    rows = zip(requests.tolist(), errors.tolist(), slow.tolist(), strict=True)
    for (n, m), (x, y), (late, late_there) in rows:
        bad, long = Counts(n, m, (x,), (y,)), Counts(n, m, late, late_there)
        found.append([bad if is_error else long for is_error in wanted])
    return found


def ticks_of(drawn: Drawn, rules: Sequence[object] | None = None) -> tuple[list[Tick], list[Tick]]:
    """The ticks before the switch, and those after it."""
    ticks = ticks_from(drawn.requests, drawn.errors, drawn.slow, rules)
    return ticks[: drawn.history], ticks[drawn.history :]


def simulate(
    spec: TestSpec, bake: Bake, traffic: Traffic, noise: Noise, fault: Fault, *, runs: int, seed: int
) -> Figures:
    """Judge `runs` batches with `fault`; the same seed gives the same."""
    rng = np.random.default_rng(seed)
    history = round(HISTORY_S / spec.interval_s)
    after = round((bake.warm_up_s + bake.bake_s) / spec.interval_s)
    outcomes = [
        _judged(
            spec,
            bake,
            draw(traffic, noise, fault, rng, history=history, after=after, interval_s=spec.interval_s),
        )
        for _ in range(runs)
    ]
    wanted = Verdict.PASS if fault == Fault() else Verdict.FAIL
    seen = [(at, requests) for verdict, at, requests in outcomes if verdict is wanted]
    return Figures(
        runs,
        failed=sum(verdict is Verdict.FAIL for verdict, _, _ in outcomes),
        passed=sum(verdict is Verdict.PASS for verdict, _, _ in outcomes),
        decided_s=_middle_and_most([at for at, _ in seen]),
        requests=_middle_and_most([requests for _, requests in seen]),
    )


def _judged(spec: TestSpec, bake: Bake, drawn: Drawn) -> tuple[Verdict | None, float, float]:
    """The verdict, its seconds from the switch, and the canary's requests that were judged for it."""
    history, after = ticks_of(drawn, spec.rules)
    test = SequentialTest.begin(spec, history)
    warm = round(bake.warm_up_s / drawn.interval_s)
    for index, tick in enumerate(after):
        if index < warm:
            test.warm(tick)
        else:
            test.update(tick)
        if test.verdict is not None:
            end = drawn.history + index + 1
            requests = (
                float(drawn.requests[drawn.history + warm : end, CANARY].sum()) if index >= warm else 0.0
            )
            return test.verdict, (index + 1) * drawn.interval_s, requests
    return None, len(after) * drawn.interval_s, float(drawn.requests[drawn.history + warm :, CANARY].sum())


def _middle_and_most(values: Sequence[float]) -> tuple[float, float] | None:
    if not values:
        return None
    return float(np.median(values)), float(np.quantile(values, 0.9))
