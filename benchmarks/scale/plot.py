"""Curves as an SVG: both axes logarithmic, so that a straight line of 45 degrees is a cost that grows with the fleet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, RIGHT, EDGE = 720, 420, 60, 190, 40
COLOURS = ("#888888", "#0072b2", "#d55e00", "#009e73", "#cc79a7")
Points = Sequence[tuple[float, float]]


def svg(lines: Mapping[str, Points], across: str, up: str) -> str:
    """`lines` by their names; every value is above 0."""
    xs, ys = (
        _decades([x for points in lines.values() for x, _ in points]),
        _decades([y for points in lines.values() for _, y in points]),
    )

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (math.log10(x) - xs[0]) / (xs[1] - xs[0]) * (WIDTH - LEFT - RIGHT),
            HEIGHT - EDGE - (math.log10(y) - ys[0]) / (ys[1] - ys[0]) * (HEIGHT - 2 * EDGE),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for power in range(xs[0], xs[1] + 1):
        x, low = at(10**power, 10 ** ys[0])
        parts.append(_line(x, low, x, EDGE, "#dddddd") + _text(x, low + 18, f"{10**power:,}", "middle"))
    for power in range(ys[0], ys[1] + 1):
        left, y = at(10 ** xs[0], 10**power)
        parts.append(
            _line(left, y, WIDTH - RIGHT, y, "#dddddd") + _text(left - 6, y + 4, f"{10.0**power:g}", "end")
        )
    parts += [
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, across, "middle"),
        _text(8, EDGE - 14, up, "start"),
    ]
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [at(x, y) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        y = EDGE + 20 * number
        parts.append(_line(WIDTH - RIGHT + 12, y, WIDTH - RIGHT + 32, y, colour))
        parts.append(_text(WIDTH - RIGHT + 38, y + 4, name, "start"))
    return "\n".join([*parts, "</svg>", ""])


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
