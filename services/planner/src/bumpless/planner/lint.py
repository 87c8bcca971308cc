"""The independent checker: proves a plan's invariants without knowing how it was made.

It reads the release and the plan, nothing of `plan.py`. A finding means a fault of the planner, and the plan does
not run.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import networkx as nx

from bumpless.common.model.fleet import Fleet
from bumpless.common.model.plan import Plan, step_key
from bumpless.common.model.release import Release
from bumpless.common.model.strategy import NodeSet, StrategyKind


def check(plan: Plan, release: Release, fleet: Fleet) -> list[str]:
    """Everything that is wrong with `plan`; empty when it holds."""
    return [
        *_graph(plan),
        *_steps(plan, release),
        *_order(plan, release),
        *_budget(plan),
        *_fencing(plan, fleet),
        *_canaries(plan, release),
    ]


def _dag(plan: Plan) -> nx.DiGraph[str]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(batch.id for batch in plan.batches)
    graph.add_edges_from((need, batch.id) for batch in plan.batches for need in batch.needs)
    return graph


def _graph(plan: Plan) -> list[str]:
    known = Counter(batch.id for batch in plan.batches)
    found = [f"batch {name} stands {count} times" for name, count in known.items() if count > 1]
    found += [
        f"{b.id} needs {n}, which does not exist" for b in plan.batches for n in b.needs if n not in known
    ]
    if not nx.is_directed_acyclic_graph(_dag(plan)):
        found.append("the batches form a cycle")
    return found


def _steps(plan: Plan, release: Release) -> list[str]:
    found = []
    roots = {component.name: component.root for component in release.components}
    removed = {c.name for c in release.components if c.strategy.kind is StrategyKind.BLUE_GREEN}
    keys = Counter(step.key for step in plan.steps())
    found += [f"step {key} stands {count} times" for key, count in keys.items() if count > 1]
    found += [f"step {key} is also listed as unchanged" for key in plan.unchanged if key in keys]
    for batch in plan.batches:
        for step in batch.steps:
            after = plan.targets.get(step.after) if step.after is not None else None
            if step.component != batch.component:
                found.append(f"step {step.key} is not about {batch.component}")
            if step.after is None and step.component in removed:
                continue
            if after is None or after.id != step.after:
                found.append(f"step {step.key}: its target is not in the plan")
            elif after.root != roots.get(step.component):
                found.append(f"step {step.key}: {after.root} is not what the release names")
            if step.before is not None and step.before not in plan.targets:
                found.append(f"step {step.key}: what it comes from is not in the plan")
    return found


def _order(plan: Plan, release: Release) -> list[str]:
    graph = _dag(plan)
    of: dict[str, list[str]] = {}
    for batch in plan.batches:
        of.setdefault(batch.component, []).append(batch.id)
    components: nx.DiGraph[str] = nx.DiGraph()
    components.add_nodes_from(c.name for c in release.components)
    components.add_edges_from((dep, c.name) for c in release.components for dep in c.depends_on)
    found = []
    for component in release.components:
        for dep in nx.ancestors(components, component.name):
            for mine in of.get(component.name, []):
                late = [b for b in of.get(dep, []) if not nx.has_path(graph, b, mine)]
                found += [f"{mine} may start before {b}, on which it depends" for b in late]
    for chain in of.values():
        found += [
            f"{later} does not wait for {earlier}, the batch before it"
            for earlier, later in pairwise(chain)
            if not nx.has_path(graph, earlier, later)
        ]
    return found


def _budget(plan: Plan) -> list[str]:
    return [
        f"batch {b.id} takes {len({s.node for s in b.steps})} nodes out, allowed are {plan.max_unavailable}"
        for b in plan.batches
        if len({s.node for s in b.steps}) > plan.max_unavailable
    ]


def _fencing(plan: Plan, fleet: Fleet) -> list[str]:
    highest = max((node.generation for node in fleet.nodes), default=0)
    if plan.generation <= highest:
        return [f"generation {plan.generation} is not above {highest}, which a node has taken"]
    return []


def _canaries(plan: Plan, release: Release) -> list[str]:
    found = []
    for component in release.components:
        mine = [b for b in plan.batches if b.component == component.name]
        chosen = isinstance(component.strategy.canary, NodeSet)  # They may have nothing to do.
        if component.strategy.kind is StrategyKind.CANARY and mine and not (mine[0].canary or chosen):
            found.append(f"{component.name}: its first batch is no canary")
        placed = {step_key(s.node, s.component) for b in mine for s in b.steps}
        if not placed and not any(key.endswith("/" + component.name) for key in plan.unchanged):
            found.append(f"{component.name}: stands on no node")
    return found
