"""What is stated about the versions of one component: the level between two of them, and the hops that follow.

A pair about which nothing is stated has the level none. A statement about one direction answers for the way back,
with the two booleans exchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bumpless.common.compat.hops import Hop, HopGraph
from bumpless.common.model.level import Level, weakest
from bumpless.common.model.version import Version, VersionRange

NEVER_BESIDE = "the two versions must not run side by side"
TIE = 0.001
"""Added to the cost of a hop that is not full, so that of two equally long ways the freer one is taken."""


@dataclass(frozen=True)
class Statement:
    """The level from `old` to `new`, and what says so."""

    old: Version
    new: Version
    level: Level
    evidence: str


@dataclass(frozen=True)
class Blocked:
    """No hop from a version in `source` to one in `target`, for the reason `why`."""

    source: VersionRange
    target: VersionRange
    why: str


@dataclass(frozen=True)
class Way:
    """The hops from one version to another; `level` is the weakest of theirs."""

    versions: tuple[Version, ...]
    statements: tuple[Statement, ...]

    @property
    def level(self) -> Level:
        return weakest(s.level for s in self.statements)


@dataclass(frozen=True)
class Matrix:
    """One component. A hop must not pass over a stop that lies between its ends.

    `brought`: the versions whose trees are at hand, so that a hop may lead to them; None: it is not asked.
    """

    component: str
    statements: tuple[Statement, ...] = ()
    stops: frozenset[Version] = frozenset()
    blocked: tuple[Blocked, ...] = ()
    brought: frozenset[Version] | None = None
    _stated: Mapping[tuple[Version, Version], Statement] = field(init=False, repr=False, compare=False)
    _graph: HopGraph = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        stated = dict(self._both_ways(self.statements))
        object.__setattr__(self, "_stated", stated)
        object.__setattr__(self, "_graph", HopGraph(map(self._hop, stated.values()), self.stops))

    @property
    def graph(self) -> HopGraph:
        return self._graph

    @property
    def versions(self) -> tuple[Version, ...]:
        return self._graph.versions

    def between(self, old: Version, new: Version) -> Statement:
        """What is stated of `old` and `new`, side by side, `new` being the one that comes."""
        if old == new:
            return Statement(old, new, Level.FULL, "the same version")
        found = self._stated.get((old, new))
        return found or Statement(old, new, Level.NONE, "nothing is stated about this pair")

    def against(self, old: Version, new: Version) -> str | None:
        """Why there is no hop from `old` to `new`; None where there is one."""
        found = self._stated.get((old, new))
        return f"no hop {old} > {new} is stated" if found is None else self._closed(found)

    def way(self, source: Version, target: Version) -> Way:
        """The shortest way of hops whose ends may run side by side. Raises: NoPath."""
        hops = self._graph.path(source, target)
        return Way(
            (source, *(hop.target for hop in hops)),
            tuple(self.between(hop.source, hop.target) for hop in hops),
        )

    @staticmethod
    def _both_ways(
        statements: Iterable[Statement],
    ) -> Iterable[tuple[tuple[Version, Version], Statement]]:
        stated = {(s.old, s.new): s for s in statements}
        for (old, new), s in stated.items():
            yield (old, new), s
            if (new, old) not in stated:
                yield (new, old), Statement(new, old, s.level.reversed, s.evidence)

    def _hop(self, statement: Statement) -> Hop:
        cost = 1.0 if statement.level is Level.FULL else 1.0 + TIE
        return Hop(statement.old, statement.new, cost, closed=self._closed(statement))

    def _closed(self, statement: Statement) -> str | None:
        old, new = statement.old, statement.new
        if not statement.level.mixes:
            return NEVER_BESIDE
        for block in self.blocked:
            if old in block.source and new in block.target:
                return block.why
        passed = sorted(stop for stop in self.stops if min(old, new) < stop < max(old, new))
        if passed:
            return f"it passes over the required stop {', '.join(map(str, passed))}"
        if self.brought is not None and new not in self.brought:
            return f"the release brings no tree of {self.component} {new}; name it under `through`"
        return None
