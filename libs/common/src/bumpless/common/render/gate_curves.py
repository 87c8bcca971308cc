"""What a verdict rests on, as pictures: the evidence as it grew against its bound, the canary beside its baseline. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from bumpless.common.model.verdict import Curve, Evidence
from bumpless.common.render.words import duration

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 170, 60, 130, 12, 24
POINTS = 600
"""A finer line could not be told from this one."""
SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 32
MOST = math.log(1e6)
"""Evidence beyond this is drawn as this."""


def curves(evidence: Iterable[Evidence]) -> list[tuple[Evidence, Curve]]:
    """The rules of a sequential test, with their evidence as it grew."""
    found = ((one, one.sequential.curve) for one in evidence if one.sequential is not None)
    return [(one, curve) for one, curve in found if curve is not None and curve.log_m]


def drawing(batch: str, rule: str, curve: Curve) -> str:
    """The evidence over the time since the switch, with its bound, as SVG."""
    values = [_within(value) for value in _thinned(curve.log_m, POINTS)]
    length = curve.step_s * len(curve.log_m)
    low, high = min(0.0, *values), max(curve.bound, *values) * 1.1
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * tall

    points = " ".join(
        f"{LEFT + wide * (number + 1) / len(values):.1f},{y(value):.1f}"
        for number, value in enumerate(values)
    )
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    bound, last = _odds(curve.bound), _odds(curve.log_m[-1])
    label = escape(f"{batch}, {rule}: evidence {last} after {duration(length)}, its bound is {bound}")
    parts = [
        f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>',
        f'<line class="axis" x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{bottom}"/>',
        f'<line class="bound" x1="{LEFT}" y1="{y(curve.bound):.1f}" x2="{right}" y2="{y(curve.bound):.1f}"/>',
        f'<text x="{right + 6}" y="{y(curve.bound) + 4:.1f}">bound {bound}</text>',
        f'<text x="0" y="{y(0) + 4:.1f}">1 to 1</text>',
        f'<polyline class="evidence" points="{points}"/>',
        f'<text x="{LEFT}" y="{HEIGHT - 6}">{curve.since:%H:%M:%S} UTC</text>',
        f'<text x="{right - 60}" y="{HEIGHT - 6}">{escape(duration(length))}</text>',
    ]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def sparkline(curve: Curve) -> str:
    """The same in one line: the full block is the bound, or what is above it."""
    values = [_within(value) for value in _thinned(curve.log_m, SPARK_WIDTH)]
    steps = len(SPARKS) - 1
    marks = (SPARKS[round(min(max(value / curve.bound, 0.0), 1.0) * steps)] for value in values)
    return f"{''.join(marks)} {_odds(curve.log_m[-1])}, bound {_odds(curve.bound)}"


def sides(evidence: Evidence) -> Sequence[str]:
    """Rule, canary, baseline, limit, requests, and what the rule says, as cells of a table."""
    numbers = (evidence.observed, evidence.baseline, evidence.limit)
    verdict = str(evidence.verdict) + ("" if evidence.decides else " (does not decide)")
    return (
        evidence.rule,
        *("" if number is None else f"{number:.4g}" for number in numbers),
        str(evidence.samples),
        f"{verdict}: {evidence.text}" if evidence.text else verdict,
    )


def _thinned(values: Sequence[float], most: int) -> list[float]:
    """At most so many of them, evenly, the last one among them."""
    every = -(-len(values) // most)
    return list(values[::-1][::every][::-1])


def _within(value: float) -> float:
    return max(-MOST, min(MOST, value))


def _odds(value: float) -> str:
    """Of a natural logarithm."""
    value = _within(value)
    return f"{math.exp(value):.3g} to 1" if value >= 0 else f"1 to {math.exp(-value):.3g}"
