"""Chains of batches that are told as one."""

from __future__ import annotations

from typing import Any

from bumpless.common.render.groups import groups
from support.plans import GATE, batch, plan


def told(*sizes: int, change: dict[int, dict[str, Any]] | None = None) -> list[str]:
    """The names of the groups of a chain with batches of these sizes; `change` is by place, from 1."""
    batches, node = [], 0
    for place, size in enumerate(sizes, start=1):
        nodes = [f"n{number}" for number in range(node, node + size)]
        node += size
        needs = () if place == 1 else (f"api-{place - 1}",)
        batches.append(batch(f"api-{place}", nodes, needs=needs, **(change or {}).get(place, {})))
    return [group.name for group in groups(plan(*batches, max_unavailable=99))]


def test_four_in_a_row_are_one_and_three_are_not() -> None:
    assert told(2, 2, 2) == ["api-1", "api-2", "api-3"]
    assert told(2, 2, 2, 2) == ["api-1 … api-4"]


def test_the_last_takes_what_is_left_and_others_are_about_as_large() -> None:
    assert told(5, 5, 5, 5, 1) == ["api-1 … api-5"]
    assert told(5, 4, 5, 4) == ["api-1 … api-4"]
    assert told(1, 2, 2, 2, 2) == ["api-1", "api-2 … api-5"]
    assert told(5, 5, 5, 5, 1, 5, 5, 5, 5) == ["api-1 … api-4", "api-5", "api-6 … api-9"]


def test_what_sets_one_apart_is_told() -> None:
    for apart in ({"canary": True}, {"gate": GATE}, {"approval": True}, {"horizon": "why"}, {"tolerance": 1}):
        assert told(1, 1, 1, 1, 1, change={1: apart}) == ["api-1", "api-2 … api-5"]
    assert told(1, 1, 1, 1, 1, 1, change={3: {"wait_s": 60}}) == [f"api-{n}" for n in range(1, 7)]


def test_waits_between_all_of_them_do_not() -> None:
    assert told(1, 1, 1, 1, change={n: {"wait_s": 60} for n in (2, 3, 4)}) == ["api-1 … api-4"]


def test_a_chain_ends_where_another_component_hangs_on_it() -> None:
    chain = [batch(f"api-{n}", [f"n{n}"], needs=[f"api-{n - 1}"] if n > 1 else []) for n in range(1, 9)]
    other = batch("web-1", ["n1"], component="web", needs=["api-4"])
    found = groups(plan(*chain, other))
    assert [group.name for group in found] == ["api-1 … api-4", "api-5 … api-8", "web-1"]
    assert found[2].needs == ("api-1",)
    assert [len(group.batches) for group in groups(plan(*chain), collapse=False)] == [1] * 8
