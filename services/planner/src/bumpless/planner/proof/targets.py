"""That what is commanded is what the release brings, from what the fleet runs."""

from __future__ import annotations

from collections.abc import Iterator

from bumpless.common.model.plan import Target
from bumpless.common.model.release import Component
from bumpless.common.model.strategy import StrategyKind
from bumpless.planner.proof.case import Case


def targets_are_named_by_their_content(case: Case) -> Iterator[str]:
    """A target's id is the digest of what it says."""
    for name, target in case.plan.targets.items():
        if target.id != name:
            yield f"target {name} has another content than its name says"


def targets_are_the_releases(case: Case) -> Iterator[str]:
    """What a step leads to is a version that the release brings of that component, run as the release says."""
    known: dict[tuple[str, str | None], str | None] = {}
    for batch in case.plan.batches:
        for step in batch.steps:
            about = step.component, step.after
            if about not in known:
                known[about] = _fault(case, *about)
            if (fault := known[about]) is not None:
                yield f"step {step.key}: {fault}"


def _fault(case: Case, name: str, after: str | None) -> str | None:
    component = case.components.get(name)
    if component is None:
        return None
    if after is None:
        leaves = component.strategy.kind is StrategyKind.BLUE_GREEN
        return None if leaves else "it leads to nothing, and nothing of the release is to leave"
    target = next((t for key, t in case.plan.targets.items() if key == after), None)
    if target is None:
        return "its target is not in the plan"
    if target.component != name:
        return f"its target is one of {target.component}"
    if not any(_is(target, version, root) for version, root in _brought(component)):
        return f"{target.version} with {target.root} is not what the release names"
    if target.version == component.version:
        artifact = target.artifact, target.artifact_size, target.hooks
        if artifact != (component.artifact, component.artifact_size, component.hooks):
            return "its package or hooks are not those of the release"
        if target.run.model_copy(update={"env": {}}) != component.run.model_copy(update={"env": {}}):
            return "it is not run as the release says"
    return None


def _is(target: Target, version: str, root: str) -> bool:
    return (target.version, target.root) == (version, root)


def _brought(component: Component) -> list[tuple[str, str]]:
    """By version and tree, the versions on the way too."""
    return [(component.version, component.root), *((way.version, way.root) for way in component.through)]


def steps_begin_where_the_fleet_is(case: Case) -> Iterator[str]:
    """The first hop of a node begins with what that node said it runs."""
    for (component, node), steps in case.ways.items():
        first = steps[0]
        if first.before is not None and first.before not in case.plan.targets:
            yield f"step {first.key}: what it comes from is not in the plan"
            continue
        seen = case.observed(node, component)
        if case.target(first.before) != seen:
            runs = "nothing" if seen is None else seen.version
            yield f"step {first.key}: {node} runs {runs}, which is not what it comes from"


def nothing_is_carried_that_no_step_uses(case: Case) -> Iterator[str]:
    """Every target of the plan is what some step comes from or leads to."""
    used = {name for step in case.plan.steps() for name in (step.before, step.after)}
    yield from (f"target {name} is used by no step" for name in case.plan.targets if name not in used)
