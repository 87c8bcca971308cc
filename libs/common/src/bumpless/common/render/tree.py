"""A plan as a tree: components in their order, their batches, what happens where. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bumpless.common.model.plan import Plan
from bumpless.common.render.capacity import Capacity
from bumpless.common.render.groups import Group, changes, groups, marks
from bumpless.common.render.words import names, natural, nodes

Branch = tuple[str, Sequence["Branch"]]
"""A line, and the lines below it."""


def tree(plan: Plan, room: Sequence[Capacity] = ()) -> list[str]:
    """The tree as lines, without indentation of its own; with `room`, what each batch leaves serving."""
    found: dict[str, list[Group]] = {}
    shown = groups(plan)
    for group in shown:
        found.setdefault(group.first.component, []).append(group)
    left = _left(room)
    ends: dict[str, str] = {group.id: group.batches[-1].id for group in shown}
    unchanged = _unchanged(plan)
    branches: list[Branch] = [
        (
            component,
            [_branch(plan, group, ends, left) for group in parts] + _kept(unchanged.pop(component, [])),
        )
        for component, parts in found.items()
    ]
    branches += [(component, _kept(where)) for component, where in sorted(unchanged.items())]
    return drawn(branches)


def _branch(plan: Plan, group: Group, ends: dict[str, str], left: dict[str, tuple[int, int]]) -> Branch:
    needed = [ends[need] for need in group.needs]
    after = f"after {names(needed)}" if needed else "from the start"
    serving = min((left[batch.id] for batch in group.batches if batch.id in left), default=None)
    kept = [] if serving is None else [f"leaves {serving[0]:,} of {serving[1]:,} alone"]
    line = f"{group.name}: " + ", ".join([after, *marks(group), *kept])
    below: list[Branch] = [(f"{what}: {nodes(where)}", ()) for what, where in changes(plan, group)]
    return line, below


def _left(room: Sequence[Capacity]) -> dict[str, tuple[int, int]]:
    """By batch: the nodes that serve its component while it is switched, and those that do before the plan."""
    found: dict[str, tuple[int, int]] = {}
    for component in room:
        for moment in component.over_time:
            if component.before:
                found.setdefault(moment.batch, (moment.serving, component.before))
    return found


def _unchanged(plan: Plan) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key in plan.unchanged:
        node, _, component = key.split("#")[0].rpartition("/")
        found.setdefault(component, []).append(node)
    return found


def _kept(where: list[str]) -> list[Branch]:
    return [(f"unchanged: {nodes(where)}", ())] if where else []


def drawn(branches: Sequence[Branch]) -> list[str]:
    """Branches with their lines."""
    lines: list[str] = []
    for number, (text, below) in enumerate(branches):
        last = number == len(branches) - 1
        lines.append(("└── " if last else "├── ") + text)
        lines += [("    " if last else "│   ") + line for line in drawn(below)]
    return lines


def components(plan: Plan) -> list[str]:
    """Every component of the plan in the order of its batches; those without any last, by name."""
    ordered = list(dict.fromkeys(group.first.component for group in groups(plan)))
    return ordered + sorted(set(_unchanged(plan)) - set(ordered), key=natural)
