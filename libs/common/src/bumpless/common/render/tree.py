"""A plan as a tree: components in their order, their batches, what happens where. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bumpless.common.model.plan import Plan
from bumpless.common.render.groups import Group, changes, groups, marks
from bumpless.common.render.words import names, natural, nodes

Branch = tuple[str, Sequence["Branch"]]
"""A line, and the lines below it."""


def tree(plan: Plan) -> list[str]:
    """The tree as lines, without indentation of its own."""
    found: dict[str, list[Group]] = {}
    shown = groups(plan)
    for group in shown:
        found.setdefault(group.first.component, []).append(group)
    ends: dict[str, str] = {group.id: group.batches[-1].id for group in shown}
    unchanged = _unchanged(plan)
    branches: list[Branch] = [
        (component, [_branch(plan, group, ends) for group in parts] + _kept(unchanged.pop(component, [])))
        for component, parts in found.items()
    ]
    branches += [(component, _kept(where)) for component, where in sorted(unchanged.items())]
    return drawn(branches)


def _branch(plan: Plan, group: Group, ends: dict[str, str]) -> Branch:
    needed = [ends[need] for need in group.needs]
    after = f"after {names(needed)}" if needed else "from the start"
    line = f"{group.name}: " + ", ".join([after, *marks(group)])
    below: list[Branch] = [(f"{what}: {nodes(where)}", ()) for what, where in changes(plan, group)]
    return line, below


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
