"""Whole releases at the boundary of the null: the canary is exactly as much worse as the gate allows, in every kind
of event, and nothing else goes on. Whatever fails is a false alarm, and alpha bounds how many do.

A release is three batches of ten nodes (1, then 2, then 3), each with half an hour of history and a bake of 15
minutes that does not end with a pass, so that every tick is one more look.
"""

from __future__ import annotations

import numpy as np

from bumpless.common.model.verdict import Verdict
from bumpless.common.sequential import Carried, ErrorSpec, LatencySpec, SequentialTest
from bumpless.common.sequential.latency import tolerance
from bumpless.health_gate.offline.forecast import first_batch
from bumpless.health_gate.offline.simulate import ticks_from
from bumpless.health_gate.offline.traffic import BOUNDS, Array, exceedance
from gate.grid import BAKE_TICKS, ERROR_RATES, HISTORY_TICKS, MEDIAN_S, RPS, SEED, TICK_S
from gate.ours import GATE, WARM_UP_TICKS

NODES, BATCHES = 10, (1, 2, 3)
SPEC = first_batch(GATE, len(BATCHES))
ALPHA = SPEC.alpha
_PLACE = 1000

Drawn = tuple[Array, Array, Array]


def releases(block: int, count: int) -> dict[str, int]:
    """Judge `count` releases of a block: how many failed, and how many batches had a history that was refused."""
    rng = np.random.default_rng([SEED, _PLACE, block])
    failed = unstable = 0
    for number in range(count):
        cell = (block * count + number) % (len(RPS) * len(ERROR_RATES))
        fell, refused = _release(rng, RPS[cell // len(ERROR_RATES)], ERROR_RATES[cell % len(ERROR_RATES)])
        failed += fell
        unstable += refused
    return {"releases": count, "failed": failed, "unstable_batches": unstable}


def _release(rng: np.random.Generator, rps: float, rate: float) -> tuple[bool, int]:
    median = float(np.exp(rng.uniform(*np.log(MEDIAN_S))))
    old = np.array([rate, *exceedance(median)])
    worse = _at_boundary(old)
    carried: Carried | None = None
    upgraded, refused = 0, 0
    for size in BATCHES:
        rest = NODES - upgraded - size
        history = ticks_from(*_counts(rng, rps, HISTORY_TICKS, (size, old), (rest, old)))
        test = SequentialTest.begin(SPEC, history, carried)
        refused += test.verdict is Verdict.INCONCLUSIVE
        new = _counts(rng, rps, BAKE_TICKS, (size, worse), (rest, old))
        before = _counts(rng, rps, BAKE_TICKS, (upgraded, worse), (rest, old)) if upgraded else None
        batch = ticks_from(*new)
        whole = None if before is None else ticks_from(*_joined(new, before))
        for index, tick in enumerate(batch):
            if index < WARM_UP_TICKS:
                test.warm(tick)
            else:
                test.update(tick, None if whole is None else whole[index])
        if test.verdict is not Verdict.INCONCLUSIVE and max(test.curve) >= test.bound:
            return True, refused
        carried = test.carried()
        upgraded += size
    return False, refused


def _at_boundary(old: Array) -> Array:
    """`old` with the odds of every event multiplied by what the null allows of it."""
    exceeded = list(old[1:])
    (errors,) = [rule.allowed for rule in SPEC.rules if isinstance(rule, ErrorSpec)]
    (shift,) = [rule.allowed for rule in SPEC.rules if isinstance(rule, LatencySpec)]
    allowed = [errors, *(tolerance(exceeded, BOUNDS, level, shift) for level in range(len(BOUNDS)))]
    odds = old / (1 - old) * np.array(allowed)
    found = odds / (1 + odds)
    found[1:] = np.minimum.accumulate(found[1:])
    return np.asarray(found)


def _counts(
    rng: np.random.Generator, rps: float, ticks: int, canary: tuple[int, Array], control: tuple[int, Array]
) -> Drawn:
    """Requests and errors `[tick, side]`, slow requests `[tick, side, bound]`."""
    requests = np.stack([rng.poisson(rps * TICK_S * nodes, ticks) for nodes, _ in (canary, control)], axis=1)
    errors = np.stack(
        [rng.binomial(requests[:, side], p[0]) for side, (_, p) in enumerate((canary, control))], axis=1
    )
    slow = np.empty((ticks, 2, len(BOUNDS)))
    for side, (_, p) in enumerate((canary, control)):
        shares = np.maximum(0.0, -np.diff(np.concatenate([[1.0], p[1:], [0.0]])))
        counts = rng.multinomial(requests[:, side], shares / shares.sum())
        slow[:, side] = counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    return requests.astype(float), errors.astype(float), slow


def _joined(new: Drawn, before: Drawn) -> Drawn:
    """The canaries of both, and the control of `new`."""
    requests, errors, slow = (found.copy() for found in new)
    for into, more in zip((requests, errors, slow), before, strict=True):
        into[:, 0] += more[:, 0]
    return requests, errors, slow
