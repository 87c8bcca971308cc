"""That every node that must arrive does, once, and no other is touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from bumpless.common.model.fleet import ComponentState
from bumpless.common.model.plan import step_key
from bumpless.common.model.strategy import StrategyKind
from bumpless.planner.proof.case import Case


def steps_stand_in_their_batch(case: Case) -> Iterator[str]:
    """A step is about the component of its batch and of the same hop."""
    for batch in case.plan.batches:
        for step in batch.steps:
            if step.component != batch.component:
                yield f"step {step.key} is not about {batch.component}, as its batch {batch.id} is"
            if step.hop != batch.hop:
                yield f"step {step.key} is of hop {step.hop}, its batch {batch.id} of hop {batch.hop}"


def every_step_once(case: Case) -> Iterator[str]:
    """No node is told twice to make the same hop, and none that is listed as unchanged is told anything."""
    counts = Counter(step.key for step in case.plan.steps())
    yield from (f"step {key} stands {count} times" for key, count in counts.items() if count > 1)
    doubled = [key for key, count in Counter(case.plan.unchanged).items() if count > 1]
    yield from (f"{key} is listed as unchanged more than once" for key in doubled)
    stepped = {step_key(node, component) for component, node in case.ways}
    yield from (f"step {key} is also listed as unchanged" for key in case.plan.unchanged if key in stepped)


def every_placed_node_arrives(case: Case) -> Iterator[str]:
    """Every node where a component is to stand comes to the release's version in the end, or has it already."""
    unchanged = set(case.plan.unchanged)
    for name, component in case.components.items():
        nodes = case.placed[name]
        if not nodes:
            yield f"{name}: stands on no node"
        arrived = 0
        for node in nodes:
            steps = case.ways.get((name, node.name))
            if steps:
                last = case.target(steps[-1].after)
                if last is not None and (last.version, last.root) == (component.version, component.root):
                    arrived += 1
                elif not (last is None and _may_leave(case, name)):
                    yield f"{name}: {node.name} ends with {_said(last)}, not with {component.version}"
            elif step_key(node.name, name) in unchanged:
                seen = node.components.get(name)
                runs = None if seen is None or seen.state is not ComponentState.SERVING else seen.target
                if runs is not None and (runs.version, runs.root) == (component.version, component.root):
                    arrived += 1
                elif not (_may_leave(case, name) and (seen is None or seen.target is None)):
                    yield f"{name}: {node.name} is listed as unchanged, and serves {_said(runs)}"
            elif not (_may_leave(case, name) and case.observed(node.name, name) is None):
                yield f"{name}: nothing is said about {node.name}, where it is to stand"
        if nodes and not arrived:
            yield f"{name}: comes to no node"


def nothing_else_is_touched(case: Case) -> Iterator[str]:
    """No step is about a node that the placement does not name, or that is not in the fleet."""
    for component, node in case.ways:
        if component not in case.components:
            yield f"step {step_key(node, component)}: the release has no component {component}"
        elif node not in case.nodes:
            yield f"step {step_key(node, component)}: the fleet has no node {node}"
    placed = {(name, node.name) for name, nodes in case.placed.items() for node in nodes}
    for component, node in case.ways:
        if component in case.components and node in case.nodes and (component, node) not in placed:
            yield f"step {step_key(node, component)}: {component} is not to stand on {node}"


def hops_are_chained(case: Case) -> Iterator[str]:
    """The hops of a node rise, and each begins with what the one before it brought."""
    for steps in case.ways.values():
        for earlier, later in pairwise(steps):
            if earlier.hop < later.hop and earlier.after != later.before:
                yield f"step {later.key} begins elsewhere than hop {earlier.hop} ends"


def _may_leave(case: Case, component: str) -> bool:
    return case.components[component].strategy.kind is StrategyKind.BLUE_GREEN


def _said(target: object) -> str:
    return str(getattr(target, "version", "nothing"))
