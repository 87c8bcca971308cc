"""Plans of random releases on random fleets, and what the checker makes of spoilt ones."""

from __future__ import annotations

import networkx as nx
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bumpless.common.model.plan import Plan
from bumpless.common.model.strategy import StrategyKind
from bumpless.planner.proof import check
from support.plans import digest
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
            assert marked == [True] + [False] * (len(mine) - 1)
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


@given(worlds(), st.data())
@settings(max_examples=60)
def test_a_dropped_need_is_found(world: World, data: st.DataObject) -> None:
    plan = world.plan()
    needed = [(i, need) for i, batch in enumerate(plan.batches) for need in batch.needs]
    assume(needed)
    index, need = data.draw(st.sampled_from(needed))
    batches = list(plan.batches)
    left = tuple(n for n in batches[index].needs if n != need)
    batches[index] = batches[index].model_copy(update={"needs": left})
    spoilt = plan.model_copy(update={"batches": tuple(batches)})
    assume(not nx.has_path(graph_of(spoilt), need, batches[index].id))
    assert check(spoilt, world.release, world.fleet)


@given(worlds(), st.data())
@settings(max_examples=60)
def test_a_doubled_step_is_found(world: World, data: st.DataObject) -> None:
    plan = world.plan()
    assume(plan.batches)
    into, start = (data.draw(st.sampled_from(range(len(plan.batches)))) for _ in range(2))
    batches = list(plan.batches)
    more = (*batches[into].steps, batches[start].steps[0])
    batches[into] = batches[into].model_copy(update={"steps": more})
    assert check(plan.model_copy(update={"batches": tuple(batches)}), world.release, world.fleet)


@given(worlds())
@settings(max_examples=60)
def test_an_oversized_batch_is_found(world: World) -> None:
    plan = world.plan()
    largest = max((len(batch.steps) for batch in plan.batches), default=0)
    assume(largest > 1)
    assert check(plan.model_copy(update={"max_unavailable": largest - 1}), world.release, world.fleet)


@given(worlds(), st.data())
@settings(max_examples=60)
def test_a_wrong_root_is_found(world: World, data: st.DataObject) -> None:
    plan = world.plan()
    used = sorted({step.after for step in plan.steps() if step.after is not None})
    assume(used)
    name = data.draw(st.sampled_from(used))
    swapped = plan.targets[name].model_copy(update={"root": digest("something else")})
    spoilt = plan.model_copy(update={"targets": {**plan.targets, name: swapped}})
    assert check(spoilt, world.release, world.fleet)
    renamed = plan.model_copy(
        update={
            "targets": {**plan.targets, swapped.id: swapped},
            "batches": tuple(
                batch.model_copy(
                    update={
                        "steps": tuple(
                            s.model_copy(update={"after": swapped.id}) if s.after == name else s
                            for s in batch.steps
                        )
                    }
                )
                for batch in plan.batches
            ),
        }
    )
    assert check(renamed, world.release, world.fleet)


@given(worlds(), st.integers(1, 3))
def test_an_old_generation_is_found(world: World, generation: int) -> None:
    assert check(world.plan(generation), world.release, world.fleet)


@given(worlds())
@settings(max_examples=60)
def test_a_cycle_and_an_unknown_need_are_found(world: World) -> None:
    plan = world.plan()
    assume(len(plan.batches) > 1)
    first = plan.batches[0]
    for need in (plan.batches[-1].id, first.id, "no-such-batch"):
        spoilt = plan.model_copy(
            update={"batches": (first.model_copy(update={"needs": (need,)}), *plan.batches[1:])}
        )
        assume(need == "no-such-batch" or not nx.is_directed_acyclic_graph(graph_of(spoilt)))
        assert check(spoilt, world.release, world.fleet)


@given(worlds(), st.data())
@settings(max_examples=50)
def test_a_forgotten_component_is_found(world: World, data: st.DataObject) -> None:
    plan = world.plan()
    names = sorted({batch.component for batch in plan.batches})
    assume(names)
    gone = data.draw(st.sampled_from(names))
    assume(not any(key.endswith("/" + gone) for key in plan.unchanged))
    kept = tuple(batch for batch in plan.batches if batch.component != gone)
    assert check(plan.model_copy(update={"batches": kept}), world.release, world.fleet)
