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

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN, HEAD, TIP = 250, 66, 46, 48, 24, 64, 8
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
    lines += _lines([Edge(need, boxes[need], boxes[group.id]) for group in shown for need in group.needs])
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


@dataclass(frozen=True)
class Edge:
    """From the lower edge of one box to the upper edge of a later one, by the gaps between rows and columns."""

    source: str
    start: Box
    end: Box

    @property
    def straight(self) -> bool:
        return self.start.x == self.end.x and self.end.row == self.start.row + 1

    @property
    def long(self) -> bool:
        return self.end.row > self.start.row + 1

    @property
    def lane(self) -> int:
        """Where the gap between columns begins in which a long edge goes down: the one beside its end."""
        return self.end.x - GAP_X if self.end.x > self.start.x else self.end.x + WIDTH

    @property
    def gaps(self) -> list[tuple[str, int]]:
        """The gaps that it goes along: below rows, and beside columns."""
        if self.straight:
            return []
        rows = [("below", self.start.row)]
        return rows if not self.long else [*rows, ("below", self.end.row - 1), ("beside", self.lane)]


def _lines(edges: list[Edge]) -> list[str]:
    """Lines of one box share a track in each gap, those of different boxes do not: what looks joined is joined."""
    sources: dict[tuple[str, int], list[str]] = {}
    for edge in edges:
        for gap in edge.gaps:
            known = sources.setdefault(gap, [])
            if edge.source not in known:
                known.append(edge.source)

    def track(edge: Edge, kind: str, place: int) -> int:
        known = sources[kind, place]
        room = GAP_Y - TIP if kind == "below" else GAP_X
        return room * (known.index(edge.source) + 1) // (len(known) + 1)

    found = []
    for edge in edges:
        start, end = edge.start, edge.end
        x1, y1, x2, y2 = start.x + WIDTH // 2, start.y + HEIGHT, end.x + WIDTH // 2, end.y
        points = [(x1, y1)]
        if not edge.straight:
            below = y1 + track(edge, "below", start.row)
            points.append((x1, below))
            if edge.long:
                above = y2 - GAP_Y + track(edge, "below", end.row - 1)
                lane = edge.lane + track(edge, "beside", edge.lane)
                points += [(lane, below), (lane, above), (x2, above)]
            else:
                points.append((x2, below))
        drawn = " ".join(f"{x},{y}" for x, y in [*points, (x2, y2)])
        tip = f"{x2 - 5},{y2 - TIP} {x2 + 5},{y2 - TIP} {x2},{y2}"
        found.append(f'<polyline class="line" points="{drawn}"/><polygon class="tip" points="{tip}"/>')
    return found


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
