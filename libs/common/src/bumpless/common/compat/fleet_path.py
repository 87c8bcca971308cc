"""The way of a whole fleet to wanted versions, such that everything fits together at every moment.

A moment is which versions of each component run. One move takes the instances of one version of one component one
hop on; old and new run side by side meanwhile. Every moment on the way must pass the one predicate of `pairs`, and
the versions of one component that run side by side must mix. The search is A* over moments, by the sum of the hops
that are left if nothing stood in the way, so a fleet without conflicts costs one look per move. Where the pairs are
lenient, each one that is unproven costs more than any number of moves.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bumpless.common.compat.hops import NoPath
from bumpless.common.compat.matrix import Matrix, Statement
from bumpless.common.compat.pairs import Pairs, Verdict
from bumpless.common.model.level import Level
from bumpless.common.model.version import Version

MAX_MOMENTS = 200_000
"""Looked at before the search gives up: some ten seconds, and far more than a way through real constraints needs."""

UNPROVEN = 10_000
"""What one pair that nobody has verified costs, in moves: somebody has to look at each."""

ABSENT = Version.parse("0.0.0-absent")
"""What a node runs on which a component is still to come: it fits everything, and goes to what is wanted in one hop."""

Moment = tuple[frozenset[Version], ...]


@dataclass(frozen=True)
class Move:
    """The instances of `component` that run `source` go on to `target`."""

    component: str
    source: Version
    target: Version
    statement: Statement

    def __str__(self) -> str:
        return f"{self.component} {self.source} > {self.target}"


@dataclass(frozen=True)
class Against:
    """Why a move is refused. `mixing`: because of other versions of the same component, not because of another one."""

    reason: str
    mixing: bool


class NoFleetPath(Exception):
    """The fleet cannot get there; `reasons` say what stands in the way and what would help, one sentence each.

    `gaps`: the components that could not get there even alone. `refused`: the moves that would lead on from `nearest`, as
    far as the fleet gets.
    """

    def __init__(
        self,
        reasons: Iterable[str],
        gaps: Mapping[str, NoPath] | None = None,
        nearest: str = "",
        refused: Mapping[str, Against] | None = None,
    ) -> None:
        self.reasons = tuple(reasons)
        self.gaps = gaps or {}
        self.nearest, self.refused = nearest, refused or {}
        super().__init__("; ".join(self.reasons))


def fleet_path(
    matrices: Mapping[str, Matrix],
    pairs: Pairs,
    fleet: Mapping[str, Iterable[Version]],
    wanted: Mapping[str, Version],
    *,
    stays: Mapping[str, Iterable[Version]] | None = None,
    max_moments: int = MAX_MOMENTS,
) -> tuple[Move, ...]:
    """The fewest moves from `fleet` to `wanted`; of equally long ways the one that moves earlier components first.

    If `pairs` are lenient: of all ways those on which the fewest unproven pairs meet.

    `fleet` has the versions that run of each component, in the order in which components should move where it does
    not matter: providers first. A component that is not in `wanted` stays. One without a matrix cannot move. `stays` has versions of
    its components that run on where nothing moves them: clients and providers meet them at every moment.

    Raises:
        NoFleetPath.
    """
    return _Search(matrices, pairs, fleet, wanted, stays or {}).run(max_moments)


class _Search:
    def __init__(
        self,
        matrices: Mapping[str, Matrix],
        pairs: Pairs,
        fleet: Mapping[str, Iterable[Version]],
        wanted: Mapping[str, Version],
        stays: Mapping[str, Iterable[Version]],
    ) -> None:
        self._names = tuple(fleet)
        self._stays = [frozenset(stays.get(name, ())) for name in self._names]
        self._at = {name: at for at, name in enumerate(self._names)}
        self._matrices = [matrices.get(name, Matrix(name)) for name in self._names]
        self._pairs = pairs
        self._start: Moment = tuple(frozenset(fleet[name]) for name in self._names)
        self._wanted = [wanted.get(name) for name in self._names]
        self._neighbours = self._edges()
        self._left = [
            {} if target is None else {**matrix.graph.distances(target), ABSENT: 1}
            for matrix, target in zip(self._matrices, self._wanted, strict=True)
        ]
        self._refused: dict[str, Against] = {}

    def run(self, max_moments: int) -> tuple[Move, ...]:
        self._check_each_alone()
        came: dict[Moment, tuple[Moment, Move] | None] = {self._start: None}
        cost = {self._start: 0}
        # The negative count prefers the moment that is further on, the number keeps the order of expansion.
        queue: list[tuple[int, int, int, Moment]] = [(self._estimate(self._start), 0, 0, self._start)]
        number = 0
        done: set[Moment] = set()
        best = self._start
        while queue:
            _, _, _, here = heapq.heappop(queue)
            if here in done:
                continue
            done.add(here)
            left = self._estimate(here)
            if left == 0:
                return self._moves(here, came)
            if left < self._estimate(best):
                best = here
            if len(done) >= max_moments:
                raise self._no_path(best, f"no way was found after {max_moments} moments")
            for move, there, price in self._onward(here):
                if cost[here] + price < cost.get(there, 1 << 60):
                    cost[there] = cost[here] + price
                    came[there] = here, move
                    number += 1
                    entry = (cost[there] + self._estimate(there), -cost[there], number, there)
                    heapq.heappush(queue, entry)
        raise self._no_path(best)

    def _check_each_alone(self) -> None:
        gaps: dict[str, NoPath] = {}
        for name, matrix, running, target in zip(
            self._names, self._matrices, self._start, self._wanted, strict=True
        ):
            for version in sorted(running):
                try:
                    if target is not None and version != ABSENT:
                        matrix.way(version, target)
                except NoPath as error:
                    gaps.setdefault(name, error)
        if gaps:
            raise NoFleetPath([f"{name}: {gap}" for name, gap in gaps.items()], gaps)

    def _estimate(self, moment: Moment) -> int:
        """At least this many moves are left."""
        total = 0
        for running, left, target in zip(moment, self._left, self._wanted, strict=True):
            if target is not None and running:
                # Every version has to be left by a move of its own, and the farthest has its whole way to go.
                farthest = max(left.get(version, 1 << 20) for version in running)
                total += max(farthest, len(running - {target}))
        return total

    def _onward(self, here: Moment) -> Iterable[tuple[Move, Moment, int]]:
        """The moves that may be made, what runs then, and what each costs."""
        for at, name in enumerate(self._names):
            if self._wanted[at] is None:
                continue
            for version in sorted(here[at]):
                for move in self._from(name, version, at):
                    if (why := self._against(here, at, move)) is not None:
                        self._refused[str(move)] = why
                        continue
                    moved = here[at] - {version} | {move.target}
                    price = 1 + UNPROVEN * self._unproven(here, at, move)
                    yield move, (*here[:at], moved, *here[at + 1 :]), price

    def _from(self, name: str, version: Version, at: int) -> Iterable[Move]:
        matrix, wanted = self._matrices[at], self._wanted[at]
        if version == ABSENT and wanted is not None:
            yield Move(name, ABSENT, wanted, Statement(ABSENT, wanted, Level.FULL, "it is new there"))
            return
        for hop in matrix.graph.onward(version):
            if hop.target in self._left[at]:
                yield Move(name, version, hop.target, matrix.between(version, hop.target))

    def _against(self, here: Moment, at: int, move: Move) -> Against | None:
        """Why the new version must not come now. That what runs already fits was looked at when it came."""
        matrix = self._matrices[at]
        for other in sorted(here[at] - {move.target, ABSENT}):
            beside = matrix.between(min(other, move.target), max(other, move.target))
            if not beside.level.mixes:
                text = (
                    f"{move.component} {other} and {move.target} must not run side by side: {beside.evidence}"
                )
                return Against(text, mixing=True)
        for verdict in self._met(here, at, move):
            if not verdict.fits:
                return Against("; ".join(verdict.reasons), mixing=False)
        return None

    def _unproven(self, here: Moment, at: int, move: Move) -> int:
        """How many pairs that nobody has verified meet when the new version comes; none, if it runs already."""
        if move.target in here[at] | self._stays[at]:
            return 0
        return sum(verdict.unproven for verdict in self._met(here, at, move))

    def _met(self, here: Moment, at: int, move: Move) -> Iterable[Verdict]:
        """Of the new version with everything that calls it, and that it calls."""
        # What stays met it already, if it ran somewhere from the beginning: that is no doing of this way.
        is_new = move.target not in self._start[at] | self._stays[at]
        for client, provider in self._neighbours[at]:
            mine_is_client = client == move.component
            there = self._at[provider if mine_is_client else client]
            others = here[there] | self._stays[there] if is_new else here[there]
            for other in sorted(others - {ABSENT}):
                used, offered = (move.target, other) if mine_is_client else (other, move.target)
                yield self._pairs.judge(client, used, provider, offered)

    def _edges(self) -> list[list[tuple[str, str]]]:
        found: list[list[tuple[str, str]]] = [[] for _ in self._names]
        for client, provider in self._pairs.edges:
            if client in self._at and provider in self._at:
                found[self._at[client]].append((client, provider))
                found[self._at[provider]].append((client, provider))
        return found

    def _moves(self, here: Moment, came: Mapping[Moment, tuple[Moment, Move] | None]) -> tuple[Move, ...]:
        moves = []
        while (step := came[here]) is not None:
            here, move = step
            moves.append(move)
        return tuple(reversed(moves))

    def _no_path(self, best: Moment, *before: str) -> NoFleetPath:
        """What is refused in the moment that came closest."""
        self._refused.clear()
        for _ in self._onward(best):
            pass
        runs = ", ".join(
            f"{name} {'+'.join(map(str, sorted(running - {ABSENT})))}"
            for name, running in zip(self._names, best, strict=True)
            if running - {ABSENT}
        )
        refused = dict(sorted(self._refused.items()))
        stuck = [f"{move} is refused there: {why.reason}" for move, why in refused.items()]
        return NoFleetPath([*before, f"the fleet gets as far as {runs}", *stuck], None, runs, refused)
