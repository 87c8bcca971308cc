"""How nodes are cut into batches."""

from __future__ import annotations

import pytest

from bumpless.common.model.strategy import Strategy, share_of
from bumpless.planner.strategies import cut

NODES = ["n3", "n1", "n2", "n5", "n4"]


@pytest.mark.parametrize(
    ("strategy", "budget", "sizes"),
    [
        (Strategy(), 9, [1, 1, 1, 1, 1]),
        (Strategy(batch_size=2), 9, [2, 2, 1]),
        (Strategy(batch_size="50%"), 9, [2, 2, 1]),
        (Strategy(batch_size="100%"), 9, [5]),
        (Strategy(batch_size="100%"), 2, [2, 2, 1]),
        (Strategy(batch_size="1%"), 9, [1, 1, 1, 1, 1]),
        (Strategy(kind="canary", batch_size=3), 9, [1, 3, 1]),
        (Strategy(kind="canary", canary=2, batch_size="100%"), 9, [2, 3]),
        (Strategy(kind="canary", canary="100%"), 9, [5]),
        (Strategy(kind="canary", canary=4, batch_size=4), 2, [2, 2, 1]),
    ],
)
def test_sizes(strategy: Strategy, budget: int, sizes: list[int]) -> None:
    found = cut(strategy, NODES, budget)
    assert [len(part.nodes) for part in found] == sizes
    assert [node for part in found for node in part.nodes] == sorted(NODES)
    assert [part.canary for part in found] == [strategy.kind == "canary"] + [False] * (len(found) - 1)


def test_no_nodes_give_no_work() -> None:
    assert all(part.nodes == () for part in cut(Strategy(kind="canary"), [], 1))
    assert cut(Strategy(), [], 1) == []


@pytest.mark.parametrize(
    ("share", "total", "count"),
    [(1, 10, 1), (20, 10, 10), ("25%", 10, 2), ("1%", 10, 1), ("100%", 10, 10), ("0%", 10, 1), (3, 0, 0)],
)
def test_share_of(share: int | str, total: int, count: int) -> None:
    assert share_of(share, total) == count
