"""Strategies: pure functions from the nodes of one component to batches of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from bumpless.common.model.strategy import Strategy, StrategyKind, share_of


@dataclass(frozen=True)
class Cut:
    """One batch of nodes; `canary` says that it goes first, to be watched."""

    nodes: tuple[str, ...]
    canary: bool = False


def cut(strategy: Strategy, nodes: Sequence[str], budget: int) -> list[Cut]:
    """Batches in their order, none larger than `budget` nodes; every node stands in exactly one."""
    ordered = sorted(nodes)
    match strategy.kind:
        case StrategyKind.ROLLING:
            return _chunks(ordered, share_of(strategy.batch_size, len(ordered)), budget)
        case StrategyKind.CANARY:
            first = min(share_of(strategy.canary, len(ordered)), budget)
            rest = ordered[first:]
            return [
                Cut(tuple(ordered[:first]), canary=True),
                *_chunks(rest, share_of(strategy.batch_size, len(ordered)), budget),
            ]
        case _:
            assert_never(strategy.kind)


def _chunks(nodes: Sequence[str], size: int, budget: int) -> list[Cut]:
    step = max(1, min(size, budget))
    return [Cut(tuple(nodes[i : i + step])) for i in range(0, len(nodes), step)]
