"""The way of the fleet over versions: which moves, in which order, or why there is none. Pure.

Components about which the release states hops move over these; every other one may go anywhere in one hop. All must
fit each other at every moment, which `fleet_path` sees to. A version that is none (`nightly`) can be neither compared
nor judged: its component is left out of the search if nothing is stated about it. What runs where the release does not
place it stays: clients and providers meet it at every moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations

import networkx as nx

from bumpless.common.compat import written
from bumpless.common.compat.fleet_path import ABSENT, Move, NoFleetPath, fleet_path
from bumpless.common.compat.hops import NoPath
from bumpless.common.compat.known import outside, sources
from bumpless.common.compat.matrix import NEVER_BESIDE, Matrix, Statement
from bumpless.common.compat.pairs import Pairs, Verdict
from bumpless.common.model.compat import CompatFile
from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.fleet import Fleet, Node
from bumpless.common.model.level import Level
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Component, Release
from bumpless.common.model.version import InvalidVersion, Version

NO_WAY = frozenset({Code.PATH_NONE, Code.PAIR_BAD, Code.SELF_MIX_BAD})


@lru_cache(maxsize=4096)
def version_of(text: str) -> Version | None:
    """None: it is no version, only a name."""
    try:
        return Version.parse(text)
    except InvalidVersion:
        return None


@dataclass(frozen=True)
class Moves:
    """`moves` in an order in which they may be made one after the other, over `matrices` and `pairs`.

    Where no other way is left, they lead through pairs that nobody has verified, which the plan is then asked about.
    `free` are the components that were left out: each goes to what is wanted as if nothing ran beside it.
    """

    moves: tuple[Move, ...]
    matrices: Mapping[str, Matrix]
    pairs: Pairs
    free: frozenset[str]

    @cached_property
    def neighbours(self) -> frozenset[tuple[str, str]]:
        """Who calls whom, both ways round."""
        return frozenset(pair for edge in self.pairs.edges for pair in (edge, edge[::-1]))

    def must_follow(self, earlier: Move, later: Move) -> bool:
        """Whether what `later` brings does not fit what `earlier` leaves; they are of two components."""
        return any(not verdict.unproven for verdict in self._against(earlier, later))

    def should_follow(self, earlier: Move, later: Move) -> bool:
        """Whether nobody has verified what `later` brings with what `earlier` leaves, though it may fit."""
        return any(verdict.unproven for verdict in self._against(earlier, later))

    def _against(self, earlier: Move, later: Move) -> Iterator[Verdict]:
        if (earlier.component, later.component) not in self.neighbours or earlier.source == ABSENT:
            return
        ends = ((earlier.component, earlier.source), (later.component, later.target))
        for client, provider in (ends, ends[::-1]):
            if (client[0], provider[0]) in self.pairs.edges:
                verdict = self.pairs.judge(*client, *provider)
                if not verdict.fits:
                    yield verdict

    def leaves_for_good(self, move: Move) -> bool:
        """Whether something that comes later does not fit the version that `move` leaves."""
        matrix = self.matrices[move.component]
        for later in self.moves[self.moves.index(move) + 1 :]:
            if later.component != move.component:
                gone = self.must_follow(move, later)
            else:
                ends = sorted((move.source, later.target))
                gone = not matrix.between(ends[0], ends[1]).level.mixes
            if gone:
                return True
        return False


def moves_of(
    release: Release,
    components: Sequence[Component],
    places: Mapping[str, Sequence[Node]],
    brought: Mapping[str, Sequence[Target]],
    fleet: Fleet,
    findings: list[Finding],
) -> Moves:
    """The moves from what runs at `places` to the last of what is `brought`; none where `findings` grew.

    `components` are in the order in which they move where it does not matter: providers first.
    """
    search = _Search(release, components, places, brought, fleet)
    moves: list[Move] = []
    found = list(search.unreadable())
    for group in search.groups() if not found else ():
        try:
            moves += search.run(group)
        except NoFleetPath as error:
            found.extend(search.findings(error))
    findings.extend(found)
    return search.found(() if found else tuple(moves))


class _Search:
    def __init__(
        self,
        release: Release,
        components: Sequence[Component],
        places: Mapping[str, Sequence[Node]],
        brought: Mapping[str, Sequence[Target]],
        fleet: Fleet,
    ) -> None:
        self._release = release
        self._compat: CompatFile = release.compat
        self._brought = brought
        self._pairs = written.pairs(
            release.compat, {c.name: c.depends_on for c in release.components}, sources(release, fleet)
        )
        self._told = {name for edge in self._pairs.told for name in edge}
        self._runs: dict[str, dict[str, list[str]]] = {}
        self._stays: dict[str, dict[str, list[str]]] = {}
        for component in components:
            self._runs[component.name] = _running(component.name, places[component.name])
            if component.name not in self._told:
                continue  # what stays is asked only about those
            placed = {node.name for node in places[component.name]}
            others = (node for node in fleet.nodes if node.name not in placed)
            self._stays[component.name] = _running(component.name, others)
            self._stays[component.name].pop("", None)
        for name, versions in outside(release, fleet).items():
            if versions:
                nodes = _running(name, fleet.nodes)
                self._runs[name] = {text: nodes.get(text, ["others"]) for text in versions}
        self._free = frozenset(
            name for name in self._runs if not self._is_stated(name) and None in self._versions(name)
        )
        self._stated = written.matrices(release.compat)
        self._matrices = {
            name: self._matrix(name, self._stated.get(name)) for name in self._runs if name not in self._free
        }

    def found(self, moves: tuple[Move, ...]) -> Moves:
        return Moves(moves, self._matrices, self._pairs, self._free)

    def unreadable(self) -> Iterable[Finding]:
        """Names that are no versions, of components about which something is stated."""
        for name in self._runs:
            if not self._is_stated(name):
                continue
            staying = self._stays.get(name, {}) if name in self._told else {}
            for text, nodes in (*self._runs[name].items(), *staying.items()):
                if text and version_of(text) is None:
                    yield _block(
                        Code.PATH_NONE,
                        name,
                        f"{_some(nodes)} run {text!r}, which is no version, so no hop and no pair that is stated covers it",
                        "bring these nodes to a version that can be compared first, by a release that states nothing of it",
                    )
            wanted = self._wanted_text(name)
            if wanted is not None and version_of(wanted) is None:
                yield _block(
                    Code.PATH_NONE,
                    name,
                    f"{wanted!r} is wanted, which is no version, so no hop and no pair that is stated covers it",
                    "give the component a version such as 2.1.0",
                )

    def groups(self) -> Iterable[list[str]]:
        """Components whose moves can stand in each other's way; what can never clash is looked at on its own."""
        graph: nx.Graph[str] = nx.Graph()
        graph.add_nodes_from(self._matrices)
        ends = {name: self._possible(name) for name in self._matrices}
        for client, provider in self._pairs.edges:
            if client in ends and provider in ends:
                meet = ((client, used, provider, found) for used in ends[client] for found in ends[provider])
                if not all(self._pairs.judge(*pair).fits for pair in meet):
                    graph.add_edge(client, provider)
        order = {name: at for at, name in enumerate(self._matrices)}
        for group in sorted(nx.connected_components(graph), key=lambda g: min(order[n] for n in g)):
            yield sorted(group, key=lambda name: order[name])

    def run(self, group: Iterable[str]) -> tuple[Move, ...]:
        """Raises: NoFleetPath."""
        fleet = {name: self._readable(name) for name in group}
        wanted = {name: found for name in fleet if (found := self._wanted(name)) is not None}
        stays = {name: self._staying(name) for name in fleet}
        return fleet_path(self._matrices, self._pairs.lenient(), fleet, wanted, stays=stays)

    def findings(self, error: NoFleetPath) -> Iterable[Finding]:
        for name, gap in error.gaps.items():
            yield self._gap(name, gap)
        if error.gaps:
            return
        if not error.refused:
            yield _block(
                Code.PATH_NONE, "fleet", "; ".join(error.reasons), "take the release in smaller steps"
            )
        for move, against in error.refused.items():
            code = Code.SELF_MIX_BAD if against.mixing else Code.PAIR_BAD
            help_ = (
                "state in `compat.levels` that they may, or bring the nodes of one of them on first"
                if against.mixing
                else "bring a version that fits both sides under `through`, or correct what is stated of the pair"
            )
            yield _block(
                code,
                move,
                f"the fleet gets as far as {error.nearest}; there {against.reason}{self._who_stays(move)}",
                help_,
            )

    def _who_stays(self, move: str) -> str:
        """The neighbours that no step reaches, which may be what is in the way."""
        mover = move.split()[0]
        told = [
            f"{name} {text} stays on {_some(nodes)}, where the release does not place it"
            for name in sorted(
                {other for edge in self._pairs.told for other in edge if mover in edge} - {mover}
            )
            for text, nodes in sorted(self._stays.get(name, {}).items())
        ]
        return "".join(f"; {text}" for text in told)

    def _gap(self, name: str, gap: NoPath) -> Finding:
        nodes = [
            node
            for text, found in self._runs[name].items()
            if version_of(text) == gap.source
            for node in found
        ]
        if gap.missing is not None:
            gap = self._whatever_is_brought(name, gap)
        evidence = f"no path from {gap.source}, which {_some(nodes)} run, to {gap.target}: {gap.advice}"
        if gap.missing is not None:
            old, new = gap.missing
            helps = f'state the hop, if it holds: compat.levels: {{{name}: {{"{old}>{new}": LEVEL}}}}'
            return _block(Code.PATH_NONE, name, evidence, helps)
        if any(hop.closed == NEVER_BESIDE for hop in gap.closed):
            helps = (
                "bring a version between the two under `through` and state both hops, or replace the component by a "
                "strategy that never runs both side by side"
            )
            return _block(Code.SELF_MIX_BAD, name, evidence, helps)
        return _block(Code.PATH_NONE, name, evidence, "open one of the closed hops, or go another way")

    def _whatever_is_brought(self, name: str, gap: NoPath) -> NoPath:
        """How far the stated hops lead by themselves: where one is missing, that is the one to state."""
        try:
            self._stated[name].graph.path(gap.source, gap.target)
        except NoPath as further:
            return further
        return gap

    def _is_stated(self, name: str) -> bool:
        return name in self._told or self._compat.states_hops_of(name)

    def _wanted_text(self, name: str) -> str | None:
        brought = self._brought.get(name)
        return brought[-1].version if brought else None

    def _wanted(self, name: str) -> Version | None:
        text = self._wanted_text(name)
        return None if text is None else version_of(text)

    def _versions(self, name: str) -> set[Version | None]:
        """What runs, and what is wanted."""
        wanted = self._wanted_text(name)
        return {*map(_version_or_absent, self._runs[name]), *([] if wanted is None else [version_of(wanted)])}

    def _readable(self, name: str) -> list[Version]:
        return sorted({found for text in self._runs[name] if (found := _version_or_absent(text)) is not None})

    def _staying(self, name: str) -> frozenset[Version]:
        """What runs where the release does not place it."""
        found = (version_of(text) for text in self._stays.get(name, {}))
        return frozenset(version for version in found if version is not None)

    def _possible(self, name: str) -> set[Version]:
        """What runs, and what the release can bring."""
        brought = (version_of(target.version) for target in self._brought.get(name, ()))
        known = *self._readable(name), *self._staying(name), *brought
        return {v for v in known if v is not None and v != ABSENT}

    def _matrix(self, name: str, stated: Matrix | None) -> Matrix:
        brought = frozenset(
            v for t in self._brought.get(name, ()) if (v := version_of(t.version)) is not None
        )
        if stated is not None and self._compat.states_hops_of(name):
            return Matrix(name, stated.statements, stated.stops, stated.blocked, brought)
        known = sorted(v for v in self._versions(name) if v is not None and v != ABSENT)
        anything = [
            Statement(old, new, Level.FULL, "nothing is stated") for old, new in combinations(known, 2)
        ]
        return Matrix(name, tuple(anything), brought=brought)


def _running(name: str, nodes: Iterable[Node]) -> dict[str, list[str]]:
    """The nodes by the version that they run, as it is written there; the empty one: none."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for node in nodes:
        seen = node.components.get(name)
        found[seen.target.version if seen is not None and seen.target is not None else ""].append(node.name)
    return found


def _version_or_absent(text: str) -> Version | None:
    return version_of(text) if text else ABSENT


def _block(code: Code, subject: str, evidence: str, recommendation: str) -> Finding:
    return Finding(
        code=code, severity=Severity.BLOCK, subject=subject, evidence=evidence, recommendation=recommendation
    )


def _some(nodes: Sequence[str]) -> str:
    """The first few by name."""
    shown = ", ".join(sorted(nodes)[:3])
    return shown if len(nodes) <= 3 else f"{shown} and {len(nodes) - 3} more"
