"""The graph of batches drawn with lines, one batch a row, for terminals. Pure."""

from __future__ import annotations

from bumpless.common.model.plan import Plan
from bumpless.common.render.groups import Group, groups, marks, summary

LEFT, RIGHT, UP, DOWN = 1, 2, 4, 8
_LINES = {
    0: " ", UP | DOWN: "│", LEFT | RIGHT: "─", UP | RIGHT: "╰", UP | LEFT: "╯", DOWN | RIGHT: "╭", DOWN | LEFT: "╮",
    UP | DOWN | RIGHT: "├", UP | DOWN | LEFT: "┤", LEFT | RIGHT | DOWN: "┬", LEFT | RIGHT | UP: "┴",
    UP | DOWN | LEFT | RIGHT: "┼",
    UP: "│", DOWN: "│", LEFT: "─", RIGHT: "─",
}  # fmt: skip


def graph(plan: Plan) -> str:
    """Each row one batch, or a chain of like ones; a line leads to everything that waits for it."""
    shown = groups(plan)
    if not shown:
        return "nothing to change\n"
    children: dict[str, list[str]] = {}
    for group in shown:
        for need in group.needs:
            children.setdefault(need, []).append(group.id)
    lanes: list[str | None] = []
    """What the line in each column leads to; None: no line."""
    rows: list[tuple[str, str]] = []
    for group in shown:
        if group.id not in lanes:
            _take(lanes, group.id)
        here = lanes.index(group.id)
        drawn = " ".join("●" if at == here else " " if lane is None else "│" for at, lane in enumerate(lanes))
        rows.append((drawn, _text(plan, group)))
        before = list(lanes)
        joins = _move_on(lanes, here, children.get(group.id, []))
        if joins:
            rows.append((_joint(before, lanes, here, joins), ""))
        while lanes and lanes[-1] is None:
            lanes.pop()
    width = max(len(drawn) for drawn, _ in rows)
    return "\n".join(f"{drawn.ljust(width)} {text}".rstrip() for drawn, text in rows) + "\n"


def _text(plan: Plan, group: Group) -> str:
    held = marks(group)
    return f"{group.name}: {summary(plan, group)}" + (f" [{', '.join(held)}]" if held else "")


def _take(lanes: list[str | None], target: str) -> int:
    """The first free column, from now on leading to `target`."""
    at = lanes.index(None) if None in lanes else len(lanes)
    lanes[at : at + 1] = [target]
    return at


def _move_on(lanes: list[str | None], here: int, targets: list[str]) -> set[int]:
    """Let the line in column `here` lead to `targets`; the other columns that it is joined with."""
    lanes[here] = None
    fresh = [target for target in targets if target not in lanes]
    joins = {lanes.index(target) for target in targets if target in lanes}
    if fresh:
        lanes[here] = fresh[0]
        joins |= {_take(lanes, target) for target in fresh[1:]}
    return joins


def _joint(before: list[str | None], after: list[str | None], here: int, joins: set[int]) -> str:
    """The row below a batch in which its line branches, or runs into others."""
    left, right = min(here, *joins), max(here, *joins)
    cells = []
    for at in range(max(len(before), len(after))):
        up = at == here or (at < len(before) and before[at] is not None)
        down = at < len(after) and after[at] is not None
        touched = at == here or at in joins
        sides = (LEFT if left < at <= right else 0) | (RIGHT if left <= at < right else 0)
        if touched:
            cell = _LINES[sides | (UP if up else 0) | (DOWN if down else 0)]
        elif sides:
            cell = "│" if up or down else "─"
        else:
            cell = "│" if up and down else " "
        cells.append(cell + ("─" if left <= at < right else " "))
    return "".join(cells).rstrip()
