"""What a plan does to each component on each node: one action, however many hops it takes. Pure."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from bumpless.common.model.plan import Plan, Step, Target, TargetId
from bumpless.common.model.version import InvalidVersion, Version


class Action(StrEnum):
    """`restart`: the same tree with changed settings. `replace`: another tree whose version is neither newer nor older."""

    INSTALL = "install"
    UPGRADE = "upgrade"
    DOWNGRADE = "downgrade"
    REPLACE = "replace"
    RESTART = "restart"
    REMOVE = "remove"
    UNCHANGED = "unchanged"


def action_of(before: Target | None, after: Target | None) -> Action:
    if after is None:
        return Action.REMOVE
    if before is None:
        return Action.INSTALL
    if before.root == after.root and before.version == after.version:
        return Action.RESTART
    try:
        old, new = Version.parse(before.version), Version.parse(after.version)
    except InvalidVersion:
        return Action.REPLACE
    if old == new:
        return Action.REPLACE
    return Action.UPGRADE if old < new else Action.DOWNGRADE


def change(plan: Plan, before: TargetId | None, after: TargetId | None) -> str:
    """What a step does, without its node: `upgrade v1 -> v2`."""
    old, new = _target(plan, before), _target(plan, after)
    action = action_of(old, new)
    match action:
        case Action.REMOVE:
            return f"remove {old.version}" if old is not None else "remove"
        case Action.INSTALL:
            return f"install {new.version}" if new is not None else "install"
        case Action.RESTART:
            return f"restart {new.version} with changed settings" if new is not None else "restart"
        case _:
            assert old is not None
            assert new is not None
            return f"{action} {old.version} -> {new.version}"


def ways(plan: Plan) -> dict[tuple[str, str], tuple[TargetId | None, TargetId | None]]:
    """(component, node) -> where it comes from and where it ends, over all hops."""
    ends: dict[tuple[str, str], tuple[Step, Step]] = {}
    for step in plan.steps():
        key = (step.component, step.node)
        first, last = ends.get(key, (step, step))
        ends[key] = (step if step.hop < first.hop else first, step if step.hop > last.hop else last)
    return {key: (first.before, last.after) for key, (first, last) in ends.items()}


def counts(plan: Plan) -> dict[str, Counter[Action]]:
    """Component -> how many nodes see which action; unchanged ones too."""
    found: dict[str, Counter[Action]] = {}
    ends = Counter((component, way) for (component, _), way in ways(plan).items())
    for (component, (before, after)), number in ends.items():
        action = action_of(_target(plan, before), _target(plan, after))
        found.setdefault(component, Counter())[action] += number
    for key in plan.unchanged:
        component = key.split("#")[0].rpartition("/")[2]
        found.setdefault(component, Counter())[Action.UNCHANGED] += 1
    return found


def _target(plan: Plan, target: TargetId | None) -> Target | None:
    return None if target is None else plan.targets.get(target)
