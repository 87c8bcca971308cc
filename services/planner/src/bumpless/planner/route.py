"""Observed fleet -> route: the stages in which every component comes to its target, and what waits for what. Pure.

A stage takes nodes of one component to one version. Two rules order the stages: what a stage brings must not meet a
version that does not fit it, so it waits for the stage that leaves that version; and a component waits for those it
depends on wherever the first rule allows it. As long as both hold, stages may run side by side in any way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import networkx as nx

from bumpless.common.compat.fleet_path import ABSENT, Move
from bumpless.common.model.compat import Horizon
from bumpless.common.model.finding import Finding
from bumpless.common.model.fleet import Fleet, Node
from bumpless.common.model.level import Level, weakest
from bumpless.common.model.plan import Hop, StepKey, Target, step_key
from bumpless.common.model.release import Component, Release
from bumpless.common.model.version import Version
from bumpless.planner.blue_green import Sides
from bumpless.planner.moves import NO_WAY, Moves, moves_of, version_of
from bumpless.planner.strategy_faults import impossible
from bumpless.planner.targets import serves


@dataclass(frozen=True)
class Visit:
    """A node of a stage, and what it runs when the stage begins; None: nothing."""

    node: str
    before: Target | None


@dataclass(frozen=True)
class Stage:
    """The `hop`-th stage of `component` (from 1): its `visits` go to `target`. None: it is taken off them.

    `after` are the places in the route, lower than its own, of the stages that must have passed before. `level` None:
    nothing is stated. `horizon`, `freeze` and `for_good` are those of its batches.
    """

    component: Component
    hop: int
    target: Target | None
    visits: tuple[Visit, ...]
    after: tuple[int, ...] = ()
    level: Level | None = None
    why: str = ""
    horizon: str = ""
    freeze: bool = False
    for_good: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """The versions it leaves."""
        return tuple(sorted({visit.before.version for visit in self.visits if visit.before is not None}))

    def as_hop(self) -> Hop:
        assert self.target is not None
        return Hop(
            component=self.component.name,
            number=self.hop,
            sources=self.sources,
            target=self.target.version,
            level=self.level,
            why=self.why,
        )


@dataclass(frozen=True)
class Route:
    """Every stage stands after those it waits for. `unchanged`: steps of nodes that have nothing to do."""

    stages: tuple[Stage, ...]
    unchanged: tuple[StepKey, ...]

    def hops(self) -> tuple[Hop, ...]:
        """The way as it is shown; a component about which nothing is stated takes one hop, which says nothing."""
        return tuple(stage.as_hop() for stage in self.stages if stage.level is not None)

    def most_changed(self, component: str) -> tuple[str, ...]:
        """The nodes of the largest stage of the component."""
        found = [
            tuple(v.node for v in stage.visits) for stage in self.stages if stage.component.name == component
        ]
        return max(found, key=len, default=())


def route_of(
    release: Release,
    components: Sequence[Component],
    sides: Mapping[str, Sides],
    brought: Mapping[str, Sequence[Target]],
    fleet: Fleet,
    findings: list[Finding],
) -> Route:
    """The way of the whole fleet. `components`: dependencies first; `brought`: their targets, the wanted one last.

    Without a way nothing is in the route, and `findings` say why. A set that is drained at the end serves until then, so
    it must fit what comes meanwhile like everything else.
    """
    places = {name: (*side.taking, *side.leaving) for name, side in sides.items()}
    moves = moves_of(release, components, places, brought, fleet, findings)
    stages: list[Stage] = []
    made: list[tuple[Move, ...]] = []
    unchanged: list[StepKey] = []
    for component in components:
        side = sides[component.name]
        own = list(_stages(component, side.taking, brought[component.name], moves, unchanged))
        stages += [_with_words(stage, moved, moves, release) for stage, moved in own]
        made += [moved for _, moved in own]
        if side.leaving:
            gone = tuple(Visit(n.name, n.components[component.name].target) for n in side.leaving)
            stages.append(Stage(component, max(2, len(own) + 1), None, gone))
            # What does not fit the version that these nodes run waits until it is gone.
            made.append(tuple(move for move in moves.moves if move.component == component.name))
            findings.extend(_over_versions(component, made[-1]))
        unchanged += [step_key(node.name, component.name) for node in side.idle]
    if len(moves.moves) == 0 and any(found.code in NO_WAY for found in findings):
        return Route((), ())
    graph, direct = _order(stages, made, moves, {c.name: c.depends_on for c in components})
    return Route(tuple(_in_order(stages, graph, direct)), tuple(unchanged))


def _stages(
    component: Component,
    nodes: Sequence[Node],
    brought: Sequence[Target],
    moves: Moves,
    unchanged: list[StepKey],
) -> Iterator[tuple[Stage, tuple[Move, ...]]]:
    """The stages of one component, each with the moves that it makes: moves in a row to one version are one."""
    wanted, name = brought[-1], component.name
    runs = {
        node.name: seen.target if (seen := node.components.get(name)) is not None else None for node in nodes
    }
    idle = {node.name for node in nodes if serves(node.components.get(name), wanted)}
    waiting = runs.keys() - idle
    targets = {version: target for target in brought if (version := version_of(target.version)) is not None}
    parts = _parts(move for move in moves.moves if move.component == name)
    for hop, part in enumerate(parts or [()], start=1):
        target = targets[part[-1].target] if part else wanted
        sources = {move.source for move in part}
        # With the last hop go those that run the wanted version in another way, or what cannot be compared.
        rest = waiting if hop >= len(parts) else set[str]()
        going = [node for node in runs if _version(runs[node]) in sources or node in rest]
        if going:
            yield Stage(component, hop, target, tuple(Visit(node, runs[node]) for node in going)), part
        runs |= dict.fromkeys(going, target)
        idle.difference_update(going)
        waiting = waiting - set(going)
    unchanged.extend(step_key(node.name, name) for node in nodes if node.name in idle)


def _over_versions(component: Component, made: Sequence[Move]) -> Iterator[Finding]:
    """Both sets serve until the switch, so from what serves to what is wanted it must be one hop."""
    over = {move.target for move in made if move.source != ABSENT} - {version_of(component.version)}
    if over:
        names = " and ".join(str(version) for version in sorted(v for v in over if v is not None))
        yield impossible(
            component.name,
            f"the way of the set that serves leads over {names}, and until the switch it runs beside "
            f"{component.version}",
            f"release {names} first, or use a strategy that goes hop by hop",
        )


def _parts(moves: Iterator[Move]) -> list[tuple[Move, ...]]:
    parts: list[tuple[Move, ...]] = []
    for move in moves:
        if parts and parts[-1][-1].target == move.target:
            parts[-1] = (*parts[-1], move)
        else:
            parts.append((move,))
    return parts


def _version(target: Target | None) -> Version | None:
    return ABSENT if target is None else version_of(target.version)


def _with_words(stage: Stage, made: Sequence[Move], moves: Moves, release: Release) -> Stage:
    """What is known about the stage: level, reasons, and whether there is a free way back."""
    if stage.target is None:
        return stage
    name = stage.component.name
    hops = [move for move in made if move.source != ABSENT]
    stated = bool(hops) and release.compat.states_hops_of(name)
    level = weakest(move.statement.level for move in hops) if stated else None
    kind = release.compat.horizon_of(name)
    # A set that is new here has none of its own; what the other set runs is what could be gone back to.
    versions = stage.sources or tuple(sorted({str(move.source) for move in hops}))
    sources, target = " and ".join(versions), stage.target.version
    horizon = ""
    if versions and kind is not Horizon.NONE:
        if level is not None and not level.forward:
            horizon = f"{name} {sources} does not read what {target} writes"
        elif level is None and kind is Horizon.FREEZE and versions != (target,):
            horizon = f"nothing is stated about whether {name} {sources} reads what {target} writes"
    return replace(
        stage,
        level=level,
        why=_why(stage, hops, moves) if stated else "",
        horizon=horizon,
        freeze=bool(horizon) and kind is Horizon.FREEZE,
        for_good=any(moves.leaves_for_good(move) for move in hops),
    )


def _why(stage: Stage, hops: Sequence[Move], moves: Moves) -> str:
    """What the hop rests on; and, of one that does not end the way, why it is not skipped."""
    evidence = "; ".join(dict.fromkeys(move.statement.evidence for move in hops))
    wanted = version_of(stage.component.version)
    if wanted is None or hops[-1].target == wanted:
        return evidence
    matrix = moves.matrices[stage.component.name]
    skipped = (matrix.against(move.source, wanted) for move in hops if move.source != wanted)
    against = dict.fromkeys(text for text in skipped if text is not None)
    return "; ".join([evidence, f"on the way to {wanted}", *against])


def _order(
    stages: Sequence[Stage],
    made: Sequence[Sequence[Move]],
    moves: Moves,
    depends_on: Mapping[str, Sequence[str]],
) -> tuple[nx.DiGraph[int], set[tuple[int, int]]]:
    """What waits for what, by the stages' places; and which waits are to be named though others imply them."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(stages)))
    position = {id(move): at for at, move in enumerate(moves.moves)}
    wished: list[tuple[int, int]] = []
    for one, other in combinations(range(len(stages)), 2):
        if stages[one].component.name == stages[other].component.name:
            graph.add_edge(one, other)
            continue
        for mine in made[one]:
            for theirs in made[other]:
                first, second = (one, mine), (other, theirs)
                if position[id(mine)] > position[id(theirs)]:
                    first, second = second, first
                if moves.must_follow(first[1], second[1]):
                    graph.add_edge(first[0], second[0])
                elif moves.should_follow(first[1], second[1]):
                    wished.append((first[0], second[0]))
    for before, after in wished:
        # A stage may make moves before and after another one's: then both cannot be had.
        if not nx.has_path(graph, after, before):
            graph.add_edge(before, after)
    of: dict[str, list[int]] = {}
    for at, stage in enumerate(stages):
        of.setdefault(stage.component.name, []).append(at)
    direct = set()
    for name, providers in _dependencies(depends_on, of).items():
        for provider, is_direct in providers.items():
            for at in of[name]:
                for before in of[provider]:
                    if not nx.has_path(graph, at, before):
                        graph.add_edge(before, at)
                        direct |= {(before, at)} if is_direct else set()
    return graph, direct


def _dependencies(
    depends_on: Mapping[str, Sequence[str]], of: Mapping[str, list[int]]
) -> dict[str, dict[str, bool]]:
    """For every component with stages, those with stages that it needs, nearest first; True: nothing lies between."""
    reached: dict[str, dict[str, bool]] = {}
    for name in depends_on:
        found: dict[str, bool] = {}
        for dep in depends_on[name]:
            if dep in of:
                found[dep] = True
            for further, near in reached[dep].items():
                found[further] = found.get(further, False) or (near and dep not in of)
        reached[name] = dict(sorted(found.items(), key=lambda item: not item[1]))
    return {name: reached[name] for name in of}


def _in_order(
    stages: Sequence[Stage], graph: nx.DiGraph[int], direct: set[tuple[int, int]]
) -> Iterator[Stage]:
    """The stages with what they wait for, each after those; as near to the order of the components as that allows."""
    needed = nx.transitive_reduction(graph)
    order = list(nx.lexicographical_topological_sort(graph))
    place = {at: number for number, at in enumerate(order)}
    for at in order:
        own = [
            before
            for before in needed.predecessors(at)
            if _component(stages, before) == _component(stages, at)
        ]
        implied = {*own, *(past for before in own for past in nx.ancestors(graph, before))}
        others: dict[str, int] = {}
        for before in sorted(graph.predecessors(at), key=lambda one: place[one]):
            if before in implied or not (needed.has_edge(before, at) or (before, at) in direct):
                continue
            others[_component(stages, before)] = before
        named = [dep for dep in stages[at].component.depends_on if dep in others]
        ordered = [*own, *(others.pop(dep) for dep in named), *others.values()]
        yield replace(stages[at], after=tuple(place[before] for before in ordered))


def _component(stages: Sequence[Stage], at: int) -> str:
    return stages[at].component.name
