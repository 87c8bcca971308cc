"""How nodes are cut into batches."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bumpless.common.model.strategy import Strategy, share_of
from bumpless.planner.strategies import Cut, by_priority, cut, in_waves
from support.worlds import ZONES, strategies

NODES = ["n3", "n1", "n2", "n5", "n4"]
LABELS = {
    "n1": {"zone": "a", "rank": "1"},
    "n2": {"zone": "a", "rank": "10"},
    "n3": {"zone": "b", "rank": "2"},
    "n4": {"zone": "b", "rank": "10"},
    "n5": {"zone": "c"},
}


def nodes_of(parts: list[Cut]) -> list[list[str]]:
    return [list(part.nodes) for part in parts]


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
        (Strategy(kind="all-at-once"), 9, [5]),
        (Strategy(kind="all-at-once"), 2, [2, 2, 1]),
        (Strategy(kind="blue-green", blue=["n1"], green=["n2"]), 9, [5]),
    ],
)
def test_sizes(strategy: Strategy, budget: int, sizes: list[int]) -> None:
    found = cut(strategy, NODES, budget)
    assert [len(part.nodes) for part in found] == sizes
    assert [node for part in found for node in part.nodes] == sorted(NODES)
    assert [part.canary for part in found] == [strategy.kind == "canary"] + [False] * (len(found) - 1)


@pytest.mark.parametrize("strategy", [Strategy(), Strategy(kind="canary"), Strategy(kind="all-at-once")])
def test_no_nodes_give_no_work(strategy: Strategy) -> None:
    assert cut(strategy, [], 1) == []


@pytest.mark.parametrize(
    ("share", "total", "count"),
    [(1, 10, 1), (20, 10, 10), ("25%", 10, 2), ("1%", 10, 1), ("100%", 10, 10), ("0%", 10, 1), (3, 0, 0)],
)
def test_share_of(share: int | str, total: int, count: int) -> None:
    assert share_of(share, total) == count


# canary


def test_a_canary_may_be_named_or_labelled_and_is_watched() -> None:
    named = Strategy(kind="canary", canary=["n4", "n2"], batch_size=2, observe_s=300, interval_s=5)
    assert cut(named, NODES, 9) == [
        Cut(("n2", "n4"), canary=True),
        Cut(("n1", "n3"), wait_s=300),
        Cut(("n5",), wait_s=5),
    ]
    labelled = Strategy(kind="canary", canary={"labels": {"zone": "b"}}, batch_size="100%")
    assert nodes_of(cut(labelled, NODES, 9, LABELS)) == [["n3", "n4"], ["n1", "n2", "n5"]]
    within = cut(labelled, NODES, 1, LABELS)
    assert [(part.nodes, part.canary) for part in within[:3]] == [
        (("n3",), True),
        (("n4",), True),
        (("n1",), False),
    ]


def test_a_named_canary_that_has_nothing_to_do_holds_nobody_up() -> None:
    parts = cut(Strategy(kind="canary", canary=["n9"], batch_size=9, observe_s=60), NODES, 9)
    assert parts == [Cut(tuple(sorted(NODES)))]


# waves


def test_waves_take_by_name_then_labels_then_shares_then_the_rest() -> None:
    waves = Strategy(
        kind="waves",
        waves=[
            {"name": "first", "labels": {"zone": "a"}, "soak_s": 60, "batch_size": 2},
            {"name": "some", "share": "20%"},
            {"name": "named", "nodes": ["n2"], "approval": True, "apply_timeout_s": 9},
            {"name": "others", "rest": True, "batch_size": "50%", "interval_s": 7, "approval": True},
        ],
    )
    assert in_waves(waves.waves, NODES, LABELS) == {
        "first": ("n1",),
        "some": ("n3",),
        "named": ("n2",),
        "others": ("n4", "n5"),
    }
    found = cut(waves, NODES, 9, LABELS)
    shown = [(p.wave.name if p.wave else "", p.nodes, p.wait_s, p.approval) for p in found]
    assert shown == [
        ("first", ("n1",), 0, False),
        ("some", ("n3",), 60, False),
        ("named", ("n2",), 0, True),
        ("others", ("n4",), 0, True),
        ("others", ("n5",), 7, False),
    ]
    assert found[2].wave is not None
    assert found[2].wave.apply_timeout_s == 9


def test_the_soak_of_a_wave_holds_also_where_the_next_has_nothing_to_do() -> None:
    waves = Strategy(
        kind="waves",
        waves=[
            {"name": "one", "nodes": ["n1"], "soak_s": 60},
            {"name": "none", "nodes": ["n9"], "soak_s": 5},
            {"name": "two", "rest": True, "batch_size": 9},
        ],
    )
    assert [part.wait_s for part in cut(waves, NODES, 9)] == [0, 60]


# priority


def test_priority_goes_by_number_then_by_name() -> None:
    by_label = Strategy(kind="priority", priority="rank", batch_size=2, interval_s=3)
    parts = cut(by_label, NODES, 9, LABELS)
    assert nodes_of(parts) == [["n2", "n4"], ["n3"], ["n1"], ["n5"]]
    assert [part.wait_s for part in parts] == [0, 3, 3, 3]
    assert nodes_of(cut(by_label, NODES, 1, LABELS)) == [["n2"], ["n4"], ["n3"], ["n1"], ["n5"]]


def test_a_list_is_an_order_and_the_others_follow_by_name() -> None:
    listed = Strategy(kind="priority", priority=["n5", "n9", "n3"], batch_size=2)
    assert nodes_of(cut(listed, NODES, 9)) == [["n5", "n3"], ["n1", "n2"], ["n4"]]


@pytest.mark.parametrize("text", ["x", "nan", None])
def test_what_is_no_number_comes_last(text: str | None) -> None:
    labels = {"n1": {"rank": "-5"}, "n2": {} if text is None else {"rank": text}}
    priority = Strategy(kind="priority", priority="rank").priority
    assert priority is not None
    assert by_priority(priority, ["n2", "n1"], labels) == [("n1",), ("n2",)]


# spread


def test_batches_spread_over_zones() -> None:
    spread = Strategy(batch_size=2, spread="zone")
    assert nodes_of(cut(spread, NODES, 9, LABELS)) == [["n1", "n3"], ["n5", "n2"], ["n4"]]


def test_one_zone_at_a_time() -> None:
    zones = Strategy(batch_size=9, spread={"label": "zone", "mode": "one-at-a-time"})
    assert nodes_of(cut(zones, [*NODES, "n6"], 9, LABELS)) == [["n6"], ["n1", "n2"], ["n3", "n4"], ["n5"]]


def test_a_counted_canary_is_spread_too() -> None:
    spread = Strategy(kind="canary", canary=3, batch_size=9, spread="zone")
    assert nodes_of(cut(spread, NODES, 9, LABELS)) == [["n1", "n3", "n5"], ["n2", "n4"]]


# what must hold of every one

FLEETS = st.dictionaries(
    st.sampled_from([f"n{i}" for i in range(1, 13)]),
    st.fixed_dictionaries(
        {}, optional={"zone": st.sampled_from(ZONES), "rank": st.sampled_from(["1", "2", "2.5"])}
    ),
    min_size=1,
)


@given(strategies(), FLEETS, st.integers(1, 13), st.randoms())
def test_every_node_once_within_the_budget_whatever_the_order(
    strategy: Strategy, labels: dict[str, dict[str, str]], budget: int, random: object
) -> None:
    nodes = list(labels)
    parts = cut(strategy, nodes, budget, labels)
    assert sorted(node for part in parts for node in part.nodes) == sorted(nodes)
    assert all(1 <= len(part.nodes) <= budget for part in parts)
    assert cut(strategy, nodes[::-1], budget, dict(reversed(labels.items()))) == parts
    assert not parts or parts[0].wait_s == 0


@given(FLEETS, st.integers(1, 13), st.integers(1, 4))
def test_priority_keeps_its_order(labels: dict[str, dict[str, str]], budget: int, size: int) -> None:
    parts = cut(Strategy(kind="priority", priority="rank", batch_size=size), list(labels), budget, labels)
    ranks = [[float(labels[node].get("rank", "-inf")) for node in part.nodes] for part in parts]
    assert all(len(set(batch)) == 1 for batch in ranks)
    assert all(earlier[0] >= later[0] for earlier, later in pairwise(ranks))


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 20), st.sampled_from(["rolling", "canary"]))
def test_zones_of_one_size_differ_by_one_node_at_most(each: int, zones: int, size: int, kind: str) -> None:
    labels = {f"n{z}-{i}": {"zone": f"z{z}"} for z in range(zones) for i in range(each)}
    parts = cut(Strategy(kind=kind, batch_size=size, spread="zone"), list(labels), 99, labels)
    for part in parts[1:] if kind == "canary" else parts:
        counts = [sum(labels[node]["zone"] == f"z{z}" for node in part.nodes) for z in range(zones)]
        assert max(counts) - min(counts) <= (1 if kind == "rolling" else 2)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 12))
def test_a_batch_takes_of_every_zone_in_proportion(counts: list[int], size: int) -> None:
    labels = {f"n{z}-{i}": {"zone": f"z{z}"} for z, count in enumerate(counts) for i in range(count)}
    for part in cut(Strategy(batch_size=size, spread="zone"), list(labels), 99, labels):
        for zone, count in enumerate(counts):
            share = len(part.nodes) * count / len(labels)
            taken = sum(labels[node]["zone"] == f"z{zone}" for node in part.nodes)
            assert abs(taken - share) < 2


@given(FLEETS, st.integers(1, 13), st.sampled_from(["rolling", "priority"]))
def test_one_at_a_time_never_touches_two_zones(
    labels: dict[str, dict[str, str]], budget: int, kind: str
) -> None:
    more = {"priority": "rank"} if kind == "priority" else {}
    zones = Strategy(kind=kind, batch_size=9, spread={"label": "zone", "mode": "one-at-a-time"}, **more)
    for part in cut(zones, list(labels), budget, labels):
        assert len({labels[node].get("zone") for node in part.nodes}) == 1


# what contradicts itself


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"kind": "waves"}, "expected `waves`"),
        ({"kind": "priority"}, "expected `priority`"),
        ({"kind": "blue-green", "blue": ["n1"]}, "expected `green`"),
        (
            {"kind": "waves", "waves": [{"name": "a"}]},
            "expected one of nodes, labels, share and rest, found none",
        ),
        ({"kind": "waves", "waves": [{"name": "a", "nodes": ["n1"], "rest": True}]}, "found nodes and rest"),
        ({"kind": "waves", "waves": [{"name": "a", "nodes": ["n1", "n1"]}]}, "every node once"),
        (
            {"kind": "waves", "waves": [{"name": "a", "nodes": ["n1"]}, {"name": "b", "nodes": ["n1"]}]},
            "every node in the waves once, found n1",
        ),
        (
            {"kind": "waves", "waves": [{"name": "a", "nodes": ["n1"]}, {"name": "a", "rest": True}]},
            "every wave once",
        ),
        ({"kind": "waves", "waves": [{"name": n, "rest": True} for n in "ab"]}, "at most one wave with rest"),
        ({"kind": "waves", "waves": [{"name": n, "share": "60%"} for n in "ab"]}, "at most 100%, found 120%"),
        ({"kind": "blue-green", "blue": ["n1", "n2"], "green": ["n2"]}, "found n2 in both"),
        (
            {"kind": "blue-green", "blue": {"labels": {"a": "b"}}, "green": {"labels": {"a": "b"}}},
            "a=b in both",
        ),
        ({"kind": "canary", "canary": {}}, "expected nodes or labels, found neither"),
        ({"kind": "canary", "canary": 0}, "at least 1"),
        ({"kind": "priority", "priority": {"label": "x", "nodes": ["n1"]}}, "found both"),
        ({"kind": "rolling", "spread": {"label": ""}}, "at least 1 character"),
        ({"kind": "sideways"}, "all-at-once"),
    ],
)
def test_what_contradicts_itself_is_refused(written: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("(", r"\(")):
        Strategy.model_validate(written)


def test_what_a_kind_does_not_look_at_is_misplaced() -> None:
    assert list(Strategy(kind="rolling", canary=2, hold_s=9, interval_s=3).misplaced()) == [
        ("canary", "expected `canary` only with kind canary, found rolling"),
        ("hold_s", "expected `hold_s` only with kind blue-green, found rolling"),
    ]


def test_a_strategy_survives_its_signed_form() -> None:
    written = Strategy(kind="canary", canary={"labels": {"zone": "a"}}, spread="zone")
    assert Strategy.model_validate_json(written.model_dump_json()) == written


def test_a_drained_node_is_a_counted_canary_only_at_need() -> None:
    strategy = Strategy(kind="canary", canary=1, batch_size=2)
    nodes = ["n1", "n2", "n3"]
    assert [part.nodes for part in cut(strategy, nodes, 3, drained={"n1"})] == [("n2",), ("n1", "n3")]
    assert cut(strategy, nodes, 3, drained=set(nodes))[0].nodes == ("n1",)
    named = Strategy(kind="canary", canary=["n1"], batch_size=2)
    assert cut(named, nodes, 3, drained={"n1"})[0].nodes == ("n1",)
