"""The graph of batches as an SVG picture: a column for each component, time runs down. Pure.

No program takes part and nothing is loaded from elsewhere. Colours follow the reader's light or dark scheme; what is
coloured is also said in words. Lines run between the boxes, never through one.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

from bumpless.common.model.plan import Plan
from bumpless.common.render.charts import kinds, label
from bumpless.common.render.groups import Group, groups
from bumpless.common.render.words import count

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN, HEAD = 250, 66, 46, 40, 24, 64
LETTERS = 38
"""As many of these letters fit into a box; the whole text is in its title."""

STYLE = """
  :root { color-scheme: light dark; }
  .page { fill: #ffffff; } .box { fill: #f2f4f7; stroke: #475467; stroke-width: 1.5; }
  .canary { stroke-dasharray: 5 3; } .approval { stroke-width: 3.5; } .horizon { stroke: #b42318; }
  .line { fill: none; stroke: #667085; stroke-width: 1.5; } .tip { fill: #667085; }
  text { font: 12px system-ui, sans-serif; fill: #101828; } .name { font-weight: 600; } .head { font-size: 15px; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0c111d; } .box { fill: #1d2939; stroke: #98a2b3; } .horizon { stroke: #f97066; }
    .line { stroke: #98a2b3; } .tip { fill: #98a2b3; } text { fill: #f2f4f7; }
  }
"""


@dataclass(frozen=True)
class Box:
    """The upper left corner of a group's box, and its row."""

    x: int
    y: int
    row: int


def svg(plan: Plan) -> str:
    """A complete document."""
    shown = groups(plan)
    boxes = _boxes(shown)
    wide = max((box.x for box in boxes.values()), default=MARGIN) + WIDTH + MARGIN
    high = max((box.y for box in boxes.values()), default=HEAD) + HEIGHT + MARGIN
    title = f"{plan.product} {plan.release_version}: {count(len(plan.batches), 'batch')}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        'role="img" aria-labelledby="plan-title plan-desc">',
        f'<title id="plan-title">{_xml(title)}</title>',
        f'<desc id="plan-desc">{_xml(_described(plan, shown))}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{wide}" height="{high}"/>',
        f'<text class="name head" x="{MARGIN}" y="{MARGIN + 14}">{_xml(title)}</text>',
    ]
    for group in shown:
        lines += [_line(boxes[need], boxes[group.id]) for need in group.needs]
    for group in shown:
        lines += _box(plan, group, boxes[group.id])
    return "\n".join([*lines, "</svg>"]) + "\n"


def _boxes(shown: list[Group]) -> dict[str, Box]:
    """A row below everything needed; a component's groups in its own column, beside it where that is taken."""
    rows: dict[str, int] = {}
    for group in shown:
        rows[group.id] = 1 + max((rows[need] for need in group.needs if need in rows), default=-1)
    wanted: dict[str, int] = {}
    slots: dict[str, int] = {}
    taken: dict[tuple[str, int], int] = {}
    for group in shown:
        component = group.first.component
        wanted.setdefault(component, 0)
        slot = taken.get((component, rows[group.id]), 0)
        taken[(component, rows[group.id])] = slot + 1
        slots[group.id] = slot
        wanted[component] = max(wanted[component], slot + 1)
    starts: dict[str, int] = {}
    for component in wanted:
        starts[component] = sum(wanted[other] for other in starts)
    return {
        group.id: Box(
            MARGIN + (starts[group.first.component] + slots[group.id]) * (WIDTH + GAP_X),
            HEAD + rows[group.id] * (HEIGHT + GAP_Y),
            rows[group.id],
        )
        for group in shown
    }


def _line(start: Box, end: Box) -> str:
    """From the lower edge of one box to the upper edge of a later one, by the gaps between rows and columns."""
    x1, y1 = start.x + WIDTH // 2, start.y + HEIGHT
    x2, y2 = end.x + WIDTH // 2, end.y
    above = y2 - GAP_Y // 2
    if x1 == x2 and end.row == start.row + 1:
        points = [(x1, y1), (x2, y2)]
    elif end.row == start.row + 1:
        points = [(x1, y1), (x1, above), (x2, above), (x2, y2)]
    else:
        lane = end.x - GAP_X // 2 if end.x > start.x else end.x + WIDTH + GAP_X // 2
        below = y1 + GAP_Y // 2
        points = [(x1, y1), (x1, below), (lane, below), (lane, above), (x2, above), (x2, y2)]
    drawn = " ".join(f"{x},{y}" for x, y in points)
    tip = f"{x2 - 5},{y2 - 8} {x2 + 5},{y2 - 8} {x2},{y2}"
    return f'<polyline class="line" points="{drawn}"/><polygon class="tip" points="{tip}"/>'


def _box(plan: Plan, group: Group, box: Box) -> list[str]:
    text = label(plan, group)
    classes = " ".join(["box", *kinds(group)])
    lines = [
        f"<g><title>{_xml('; '.join(text))}</title>",
        f'<rect class="{classes}" x="{box.x}" y="{box.y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
    ]
    for number, line in enumerate(text):
        kind = ' class="name"' if not number else ""
        lines.append(f'<text{kind} x="{box.x + 10}" y="{box.y + 20 + 18 * number}">{_xml(_cut(line))}</text>')
    return [*lines, "</g>"]


def _described(plan: Plan, shown: list[Group]) -> str:
    """The picture in words, for those who do not see it."""
    said = [
        f"{'; '.join(label(plan, g))}" + (f"; after {', '.join(g.needs)}" if g.needs else "") for g in shown
    ]
    return ". ".join(["A graph of batches, each after those it needs", *said]) + "."


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"


def _xml(text: str) -> str:
    """Escaped, and without the characters that XML does not allow."""
    return escape("".join(char if char >= " " or char in "\t\n" else "?" for char in text))
