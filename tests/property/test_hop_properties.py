"""Ways over stated hops: what the plans of small worlds allow to happen, in every order in which it may happen."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
from hypothesis import HealthCheck, assume, event, given, settings

from bumpless.common.model.plan import Plan
from bumpless.common.model.release import Component
from bumpless.common.model.version import Version
from bumpless.planner.proof import check
from bumpless.planner.unplannable import Unplannable
from support.hops import VERSIONS, clashes, hop_worlds, moments
from support.worlds import World

MANY = settings(max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])


def planned(world: World) -> Plan:
    try:
        plan = world.plan()
    except Unplannable:
        event("refused")
        assume(False)
        raise
    assume(len(plan.batches) <= 12)
    event(f"hops: {max((batch.hop for batch in plan.batches), default=0)}")
    return plan


@given(hop_worlds())
@MANY
def test_nothing_meets_what_it_does_not_fit_in_whatever_order_batches_run(world: World) -> None:
    plan = planned(world)
    at_first: set[str] | None = None
    for seen in moments(plan, world.fleet):
        found = clashes(seen, world.release) - _beside_what_stays(world)
        at_first = _before(world) if at_first is None else at_first
        assert found <= at_first, (seen, [(b.id, b.hop, b.needs) for b in plan.batches])


def _beside_what_stays(world: World) -> set[str]:
    """Levels are about nodes that the release moves: what stays elsewhere counts for clients and providers only."""
    stays = {
        (name, str(Version.parse(found.target.version)))
        for part in world.release.components
        for node in world.fleet.nodes
        for name, found in node.components.items()
        if name == part.name and found.target is not None and not _placed(part, node.name)
    }
    versions = list(map(str, map(Version.parse, VERSIONS)))
    return {
        f"{name} {old} beside {new}"
        for name, there in stays
        for old, new in combinations(versions, 2)
        if there in (old, new)
    }


def _placed(part: Component, node: str) -> bool:
    return not part.place.nodes or node in part.place.nodes


def _before(world: World) -> set[str]:
    """What did not fit before anything was done is nobody's fault."""
    seen: dict[str, set[Version]] = {}
    for node in world.fleet.nodes:
        for name, found in node.components.items():
            if found.target is not None:
                seen.setdefault(name, set()).add(Version.parse(found.target.version))
    return clashes({name: frozenset(versions) for name, versions in seen.items()}, world.release)


@given(hop_worlds())
@MANY
def test_every_node_goes_from_where_it_is_to_what_is_wanted_hop_by_hop(world: World) -> None:
    plan = planned(world)
    wanted = {part.name: part for part in world.release.components}
    courses = plan.courses()
    for node in world.fleet.nodes:
        for name, part in wanted.items():
            found = node.components[name].target
            course = courses.get(f"{node.name}/{name}", [])  # type: ignore[call-overload]
            if not _placed(part, node.name):
                assert course == []
                continue
            assert course or f"{node.name}/{name}" in plan.unchanged
            here = None if found is None else found.id
            for step in course:
                assert step.before == here
                here = step.after
            assert course == [] or plan.targets[here or ""].root == part.root
            hops = [step.hop for step in course]
            assert hops == sorted(set(hops))


@given(hop_worlds())
@MANY
def test_related_components_are_never_changed_at_the_same_time(world: World) -> None:
    plan = planned(world)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(batch.id for batch in plan.batches)
    graph.add_edges_from((need, batch.id) for batch in plan.batches for need in batch.needs)
    assert nx.is_directed_acyclic_graph(graph)
    places = {batch.id: at for at, batch in enumerate(plan.batches)}
    assert all(places[need] < places[batch.id] for batch in plan.batches for need in batch.needs)
    depends = {part.name: part.depends_on for part in world.release.components}
    for one in plan.batches:
        for other in plan.batches:
            related = one.component == other.component or one.component in depends[other.component]
            if one is not other and related:
                assert nx.has_path(graph, one.id, other.id) or nx.has_path(graph, other.id, one.id)


@given(hop_worlds())
@MANY
def test_the_hops_of_a_plan_are_those_of_its_batches(world: World) -> None:
    plan = planned(world)
    told = [(hop.component, hop.number) for hop in plan.hops]
    made = dict.fromkeys((batch.component, batch.hop) for batch in plan.batches)
    assert told == [hop for hop in made if hop in set(told)]
    for hop in plan.hops:
        batches = [b for b in plan.batches if (b.component, b.hop) == (hop.component, hop.number)]
        assert {plan.targets[s.after or ""].version for b in batches for s in b.steps} == {hop.target}
        left = {plan.targets[s.before].version for b in batches for s in b.steps if s.before is not None}
        assert tuple(sorted(left)) == hop.sources


@given(hop_worlds())
@MANY
def test_the_checker_finds_nothing(world: World) -> None:
    plan = planned(world)
    assert check(plan, world.release, world.fleet) == []
