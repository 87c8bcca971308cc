"""Strategies: pure functions from the nodes of one component to batches of nodes.

Whether a strategy fits the fleet is asked before, in `strategy_faults`. Whatever the answer, here no batch is larger
than the budget, every node stands in exactly one batch unless no wave takes it, and the order in which nodes are
given changes nothing.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from bumpless.common.model.strategy import (
    NodeSet,
    Priority,
    Spread,
    SpreadMode,
    Strategy,
    StrategyKind,
    Wave,
    share_of,
)

Labels = Mapping[str, Mapping[str, str]]
"""Node -> its labels."""


@dataclass(frozen=True)
class Cut:
    """One batch of nodes; `canary` says that it goes first, to be watched.

    `wait_s` is waited before it, after the batch before it; with `approval` it waits for a person. `wave` is what it
    belongs to, and may have limits and a gate of its own.
    """

    nodes: tuple[str, ...]
    canary: bool = False
    wait_s: float = 0
    approval: bool = False
    wave: Wave | None = None


def cut(
    strategy: Strategy,
    nodes: Sequence[str],
    budget: int,
    labels: Labels | None = None,
    drained: Container[str] = (),
) -> list[Cut]:
    """Batches in their order, none larger than `budget` nodes. `drained` nodes are counted canaries only at need."""
    knife = _Knife(strategy, tuple(sorted(nodes)), budget, labels or {}, drained)
    match strategy.kind:
        case StrategyKind.ALL_AT_ONCE | StrategyKind.BLUE_GREEN:
            return knife.batches(knife.nodes, len(knife.nodes))
        case StrategyKind.ROLLING:
            return knife.batches(knife.nodes, knife.size)
        case StrategyKind.CANARY:
            return _canary(knife)
        case StrategyKind.WAVES:
            return _waves(knife)
        case StrategyKind.PRIORITY:
            assert strategy.priority is not None
            levels = by_priority(strategy.priority, knife.nodes, knife.labels)
            return knife.spaced([part for level in levels for part in knife.batches(level, knife.size)])
        case _:
            assert_never(strategy.kind)


def selected(wanted: NodeSet | Wave, nodes: Iterable[str], labels: Labels) -> tuple[str, ...]:
    """Those of `nodes` that are named, or that carry every label asked for."""
    if wanted.nodes:
        named = frozenset(wanted.nodes)
        return tuple(node for node in nodes if node in named)
    asked = wanted.labels.items()
    return tuple(node for node in nodes if all(labels.get(node, {}).get(k) == v for k, v in asked))


def in_waves(waves: Sequence[Wave], nodes: Sequence[str], labels: Labels) -> dict[str, tuple[str, ...]]:
    """Wave -> its nodes, in the order of the waves. Names come before labels, labels before shares and the rest."""
    left = sorted(nodes)
    total = len(left)
    taken: dict[str, tuple[str, ...]] = {wave.name: () for wave in waves}

    def take(wave: Wave, found: tuple[str, ...]) -> None:
        taken[wave.name] = found
        gone = frozenset(found)
        left[:] = [node for node in left if node not in gone]

    for wave in (wave for wave in waves if wave.nodes):
        take(wave, selected(wave, left, labels))
    for wave in (wave for wave in waves if wave.labels):
        take(wave, selected(wave, left, labels))
    for wave in (wave for wave in waves if wave.share is not None):
        assert wave.share is not None
        take(wave, tuple(left[: share_of(wave.share, total)]))
    for wave in (wave for wave in waves if wave.rest):
        take(wave, tuple(left))
    return taken


def by_priority(priority: Priority, nodes: Sequence[str], labels: Labels) -> list[tuple[str, ...]]:
    """The levels in their order, ties by name. A list is one level, of which batches are cut as it stands."""
    if priority.nodes:
        place = {node: number for number, node in enumerate(priority.nodes)}
        return [tuple(sorted(nodes, key=lambda node: (place.get(node, len(place)), node)))]
    levels: dict[float, list[str]] = {}
    for node in sorted(nodes):
        levels.setdefault(rank_of(labels.get(node, {}).get(priority.label or "")), []).append(node)
    return [tuple(levels[rank]) for rank in sorted(levels, reverse=True)]


def rank_of(text: str | None) -> float:
    """The number that a label says; without a number, after all others."""
    try:
        rank = float(text) if text is not None else float("-inf")
    except ValueError:
        return float("-inf")
    return rank if rank == rank else float("-inf")


@dataclass(frozen=True)
class _Knife:
    """What every strategy cuts with. `nodes` are sorted."""

    strategy: Strategy
    nodes: tuple[str, ...]
    budget: int
    labels: Labels
    drained: Container[str] = ()

    @property
    def size(self) -> int:
        return share_of(self.strategy.batch_size, len(self.nodes))

    def batches(self, nodes: Sequence[str], size: int) -> list[Cut]:
        """`nodes` in batches of at most `size`, which are spread as the strategy says."""
        step = max(1, min(size, self.budget))
        return self.spaced(
            [
                Cut(group[start : start + step])
                for group in _groups(nodes, self.strategy.spread, self.labels)
                for start in range(0, len(group), step)
            ]
        )

    def spaced(self, parts: list[Cut]) -> list[Cut]:
        """`parts` with the waits and approvals of the strategy between them."""
        wait_s, approval = self.strategy.interval_s, self.strategy.approval
        return parts[:1] + [replace(part, wait_s=wait_s, approval=approval) for part in parts[1:]]


def _groups(nodes: Sequence[str], spread: Spread | None, labels: Labels) -> list[tuple[str, ...]]:
    """What batches are cut of: everything, in an order in which each slice is even; or every value for itself.

    Nodes without the label are a value of their own. Where there is nothing to spread the order is kept.
    """
    if spread is None:
        return [tuple(nodes)]
    values: dict[str, list[str]] = {}
    for node in nodes:
        values.setdefault(labels.get(node, {}).get(spread.label, ""), []).append(node)
    if spread.mode is SpreadMode.ONE_AT_A_TIME:
        return [tuple(values[value]) for value in sorted(values)]
    # The r-th of c nodes of a value belongs at (r + 1/2) / c of the whole.
    placed = [
        ((2 * r + 1) / (2 * len(found)), value, node)
        for value, found in values.items()
        for r, node in enumerate(found)
    ]
    return [tuple(node for _, _, node in sorted(placed, key=lambda item: item[:2]))]


def _canary(knife: _Knife) -> list[Cut]:
    strategy, nodes = knife.strategy, knife.nodes
    if isinstance(strategy.canary, NodeSet):
        first = selected(strategy.canary, nodes, knife.labels)
    else:
        order = [node for group in _groups(nodes, strategy.spread, knife.labels) for node in group]
        order.sort(key=lambda node: node in knife.drained)  # nothing runs there that could be watched
        first = tuple(order[: min(share_of(strategy.canary, len(nodes)), knife.budget)])
    watched = knife.batches(first, len(first))
    gone = frozenset(first)
    rest = knife.batches([node for node in nodes if node not in gone], knife.size)
    parts = knife.spaced([*(replace(part, canary=True) for part in watched), *rest])
    begins = len(watched)
    if watched and rest:
        parts[begins] = replace(parts[begins], wait_s=max(strategy.observe_s, strategy.interval_s))
    return parts


def _waves(knife: _Knife) -> list[Cut]:
    parts: list[Cut] = []
    soak_s = 0.0
    taken = in_waves(knife.strategy.waves, knife.nodes, knife.labels)
    for wave in knife.strategy.waves:
        mine = knife.batches(taken[wave.name], share_of(wave.batch_size, len(taken[wave.name])))
        for number, part in enumerate(mine):
            wait_s = wave.interval_s if number else soak_s
            parts.append(replace(part, wait_s=wait_s, approval=wave.approval and not number, wave=wave))
        soak_s = wave.soak_s if mine else soak_s
    return parts
