"""The evidence of a gate as it grew, drawn for a terminal and as an SVG picture. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 320, 64, 24, 44, 48
COLUMNS, ROWS = 72, 12
LETTERS = 105
"""As many of these letters fit below the picture."""

STYLE = """
  :root { color-scheme: light dark; }
  .page { fill: #ffffff; } .axis { stroke: #98a2b3; } .warm { fill: #f2f4f7; }
  .bound { stroke: #b42318; stroke-width: 1.5; stroke-dasharray: 6 4; } .curve { fill: none; stroke: #1570ef; stroke-width: 2; }
  .mark { stroke: #475467; stroke-width: 1.5; } text { font: 12px system-ui, sans-serif; fill: #101828; }
  .head { font-size: 15px; font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0c111d; } .warm { fill: #1d2939; } .bound { stroke: #f97066; } .curve { stroke: #53b1fd; }
    .mark { stroke: #d0d5dd; } text { fill: #f2f4f7; }
  }
"""


@dataclass(frozen=True)
class Evidence:
    """`points` are (seconds from the switch, e-value); a gate fails at `bound`. `decided_s` None: it did not decide."""

    title: str
    points: Sequence[tuple[float, float]]
    bound: float
    warm_up_s: float
    decided_s: float | None
    decision: str

    @property
    def span(self) -> tuple[float, float]:
        """Powers of ten that the picture spans; an e-value of 1 and the bound are in it."""
        logs = [_log10(value) for _, value in self.points]
        return math.floor(max(-6.0, min([0.0, *logs]))), math.ceil(
            min(12.0, max([1.0, _log10(self.bound), *logs])) + 0.2
        )

    @property
    def end(self) -> float:
        return max([self.warm_up_s, self.decided_s or 0.0, *(at for at, _ in self.points)]) or 1.0


def plot(evidence: Evidence) -> str:
    """Lines for a terminal: the e-value over time, by powers of ten, and the bound as a line of dashes."""
    low, high = evidence.span
    rows = [[" "] * COLUMNS for _ in range(ROWS)]

    def row(value: float) -> int:
        share = (min(high, max(low, _log10(value))) - low) / (high - low)
        return ROWS - 1 - round(share * (ROWS - 1))

    bound, start = row(evidence.bound), row(1.0)
    rows[start] = ["·"] * COLUMNS
    rows[bound] = ["-"] * COLUMNS
    for at, value in evidence.points:
        column = min(COLUMNS - 1, int(at / evidence.end * (COLUMNS - 1)))
        rows[row(value)][column] = "o" if at <= evidence.warm_up_s else "*"
    labels = {start: "1", bound: f"fail {evidence.bound:.3g}", 0: f"1e{high:.0f}", ROWS - 1: f"1e{low:.0f}"}
    labels |= {start: "1", bound: f"fail {evidence.bound:.3g}"}
    lines = [evidence.title]
    lines += [f"{labels.get(number, ''):>10} |{''.join(cells).rstrip()}" for number, cells in enumerate(rows)]
    lines.append(" " * 11 + "+" + "-" * COLUMNS)
    lines.append(" " * 12 + "0 s" + f"{evidence.end:g} s".rjust(COLUMNS - 3))
    return "\n".join([*lines, evidence.decision]) + "\n"


def svg(evidence: Evidence) -> str:
    """A complete document that loads nothing; colours follow the reader's light or dark scheme."""
    low, high = evidence.span
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(at: float) -> float:
        return LEFT + (right - LEFT) * at / evidence.end

    def y(value: float) -> float:
        return bottom - (bottom - TOP) * (min(high, max(low, _log10(value))) - low) / (high - low)

    path = " ".join(
        f"{'L' if index else 'M'}{x(at):.1f} {y(value):.1f}"
        for index, (at, value) in enumerate(evidence.points)
    )
    described = (
        f"E-value over {evidence.end:g} s; the gate fails at {evidence.bound:.3g}. {evidence.decision}"
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img" aria-labelledby="curve-title curve-desc">',
        f'<title id="curve-title">{escape(evidence.title)}</title><desc id="curve-desc">{escape(described)}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<rect class="warm" x="{LEFT}" y="{TOP}" width="{x(evidence.warm_up_s) - LEFT:.1f}" height="{bottom - TOP}"/>',
        f'<text class="head" x="{LEFT}" y="26">{escape(evidence.title)}</text>',
    ]
    step = max(1, math.ceil((high - low) / 6))
    for power in range(int(low), int(high) + 1, step):
        at = y(10.0**power)
        lines.append(
            f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" stroke-opacity="0.3"/>'
        )
        lines.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">1e{power}</text>')
    for share in range(5):
        at = evidence.end * share / 4
        lines.append(f'<text x="{x(at):.1f}" y="{bottom + 18}" text-anchor="middle">{at:.0f} s</text>')
    at = y(evidence.bound)
    lines += [
        f'<line class="bound" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>',
        f'<text x="{right}" y="{at - 6:.1f}" text-anchor="end">fails at {evidence.bound:.3g}</text>',
        f'<path class="curve" d="{path}"/>',
    ]
    if evidence.decided_s is not None:
        at = x(evidence.decided_s)
        lines.append(f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{bottom}"/>')
    lines.append(f'<text x="{LEFT}" y="{HEIGHT - 12}">{escape(_short(evidence.decision))}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _short(text: str) -> str:
    """What fits below the picture; all of it is in the description."""
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf
