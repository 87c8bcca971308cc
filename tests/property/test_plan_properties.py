"""Plans of random releases on random fleets."""

from __future__ import annotations

import networkx as nx
from hypothesis import given, settings

from bumpless.common.contract.base import canonical_json
from bumpless.common.model.plan import Plan
from bumpless.common.model.strategy import StrategyKind
from bumpless.planner.proof import check
from support.worlds import World, worlds


def graph_of(plan: Plan) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(batch.id for batch in plan.batches)
    graph.add_edges_from((need, batch.id) for batch in plan.batches for need in batch.needs)
    return graph


def components_of(world: World) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(c.name for c in world.release.components)
    graph.add_edges_from((dep, c.name) for c in world.release.components for dep in c.depends_on)
    return graph


@given(worlds())
@settings(max_examples=60)
def test_every_plan_passes_the_checker(world: World) -> None:
    assert check(world.plan(), world.release, world.fleet) == []


@given(worlds())
@settings(max_examples=60)
def test_a_plan_covers_exactly_what_differs(world: World) -> None:
    plan = world.plan()
    wanted = set()
    for part in world.release.components:
        nodes = part.place.nodes or tuple(n.name for n in world.fleet.nodes)
        wanted |= {f"{node}/{part.name}" for node in nodes}
    steps = [step.key.partition("#")[0] for step in plan.steps()]
    assert len(steps) == len(set(steps))
    assert set(steps) | set(plan.unchanged) == wanted
    assert not set(steps) & set(plan.unchanged)
    for step in plan.steps():
        node = world.fleet.node(step.node)
        assert node is not None
        found = node.components[step.component].target
        assert step.before == (None if found is None else found.id)


@given(worlds())
@settings(max_examples=60)
def test_no_batch_is_larger_than_the_budget_and_canaries_go_first(world: World) -> None:
    plan = world.plan()
    for batch in plan.batches:
        assert 1 <= len({step.node for step in batch.steps}) <= plan.max_unavailable
    for part in world.release.components:
        mine = [batch for batch in plan.batches if batch.component == part.name]
        marked = [batch.canary for batch in mine]
        if part.strategy.kind is StrategyKind.CANARY and mine:
            assert marked[0]
            assert marked == sorted(marked, reverse=True)
        else:
            assert not any(marked)


@given(worlds())
@settings(max_examples=60)
def test_dependencies_and_batches_of_a_component_go_one_after_the_other(world: World) -> None:
    plan, graph = world.plan(), graph_of(world.plan())
    of: dict[str, list[str]] = {}
    for batch in plan.batches:
        of.setdefault(batch.component, []).append(batch.id)
    for earlier, later in nx.transitive_closure(components_of(world)).edges:
        for first in of.get(earlier, []):
            assert all(nx.has_path(graph, first, then) for then in of.get(later, []))
    for mine in of.values():
        assert all(nx.has_path(graph, mine[i], mine[i + 1]) for i in range(len(mine) - 1))


@given(worlds())
@settings(max_examples=60)
def test_the_same_world_gives_the_same_plan(world: World) -> None:
    assert world.plan().hash == world.plan().hash
    assert Plan.model_validate_json(world.plan().canonical()).hash == world.plan().hash
    assert world.plan().canonical() == canonical_json(world.plan().model_dump(mode="json"))
    assert Plan.model_validate(world.plan().model_dump()) == world.plan(), (
        "steps are made without being checked"
    )
