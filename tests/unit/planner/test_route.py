"""Ways over stated hops: which stages, what waits for what, what is refused and with which help."""

from __future__ import annotations

from typing import Any

import pytest

from bumpless.common.contract.base import RolloutId
from bumpless.common.model.compat import CompatFile
from bumpless.common.model.finding import Code
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.plan import Plan
from bumpless.common.model.release import Component, Placement
from bumpless.planner.plan import make_plan
from bumpless.planner.proof import check
from bumpless.planner.unplannable import Unplannable
from support.hops import over
from support.plans import T0, component, digest, fleet, node, release, target

MATRIX_A = {
    "1.0.0>1.1.0": "full",
    "1.1.0>2.0.0": "backward",
    "2.0.0>2.1.0": "full",
    "2.1.0>3.0.0": "backward",
}
MATRIX_B = {"1.0.0>1.1.0": "full", "1.1.0>1.2.0": "full", "1.0.0>1.2.0": "backward", "2.0.0>2.1.0": "full"}
FULL_A = over("api", "3.0.0", "1.1.0", "2.0.0", "2.1.0")


def planned(parts: list[Component], running: Fleet, **compat: Any) -> Plan:
    found = release(*parts, version="9", compat=CompatFile.model_validate(compat))
    plan = make_plan(found, digest("release"), running, rollout=RolloutId("rollout-1"), generation=9, now=T0)
    assert check(plan, found, running) == []
    return plan


def refused(parts: list[Component], running: Fleet, **compat: Any) -> list[tuple[Code, str]]:
    with pytest.raises(Unplannable) as caught:
        planned(parts, running, **compat)
    assert caught.value.findings
    return [(found.code, str(found)) for found in caught.value.findings]


def runs(**versions: str) -> Fleet:
    """One node for every version of api: `n1="1.0.0"`."""
    return fleet(*(node(name, {"api": target("api", version)}) for name, version in versions.items()))


def hops(plan: Plan) -> list[str]:
    return [f"{h.component} {h.number}: {'+'.join(h.sources)}>{h.target}" for h in plan.hops]


def test_matrix_a_takes_four_hops_and_says_which_have_a_horizon() -> None:
    plan = planned([FULL_A], runs(n1="1.0.0"), levels={"api": MATRIX_A})
    assert [h.target for h in plan.hops] == ["1.1.0", "2.0.0", "2.1.0", "3.0.0"]
    assert [str(h.level) for h in plan.hops] == ["full", "backward", "full", "backward"]
    assert [bool(b.horizon) for b in plan.batches] == [False, True, False, True]
    assert not any(b.freeze for b in plan.batches)
    assert plan.hops[0].why.startswith("stated in the release file; on the way to 3.0.0")
    assert [b.needs for b in plan.batches[1:]] == [(b.id,) for b in plan.batches[:-1]]
    assert [b.for_good for b in plan.batches] == [True, True, True, False]


def test_nodes_of_a_mixed_fleet_join_where_they_are() -> None:
    plan = planned([FULL_A], runs(n1="2.0.0", n2="2.1.0", n3="3.0.0"), levels={"api": MATRIX_A, "x": {}} | {})
    assert hops(plan) == ["api 1: 2.0.0>2.1.0", "api 2: 2.1.0>3.0.0"]
    assert {place: [s.hop for s in steps] for place, steps in plan.courses().items()} == {
        "n1/api": [1, 2],
        "n2/api": [2],
    }
    assert plan.unchanged == ("n3/api",)


def test_the_way_down_has_no_horizon_over_what_was_backward() -> None:
    plan = planned([over("api", "2.0.0", "2.1.0")], runs(n1="3.0.0"), levels={"api": MATRIX_A})
    assert hops(plan) == ["api 1: 3.0.0>2.1.0", "api 2: 2.1.0>2.0.0"]
    assert not any(b.horizon for b in plan.batches)


@pytest.mark.parametrize(("horizon", "marked", "freezes"), [("freeze", True, True), ("none", False, False)])
def test_a_release_says_what_a_horizon_means(horizon: str, marked: bool, freezes: bool) -> None:
    plan = planned(
        [over("api", "3.0.0")],
        runs(n1="2.1.0"),
        levels={"api": MATRIX_A},
        hops={"api": {"horizon": horizon}},
    )
    [batch] = plan.batches
    assert (bool(batch.horizon), batch.freeze) == (marked, freezes)


def test_a_new_node_goes_to_the_wanted_version_at_once() -> None:
    running = fleet(node("n1", {"api": target("api", "2.0.0")}), node("n2", {}))
    plan = planned([FULL_A], running, levels={"api": MATRIX_A})
    assert [(s.key, s.before is None) for s in plan.steps() if s.node == "n2"] == [("n2/api#2", True)]


def test_matrix_b_has_no_way_and_the_missing_hop_is_named() -> None:
    [(code, text)] = refused(
        [over("api", "2.0.0", "1.1.0", "1.2.0")], runs(n1="1.0.0"), levels={"api": MATRIX_B}
    )
    assert code is Code.PATH_NONE
    assert "reachable from 1.0.0: 1.1.0, 1.2.0; missing is the hop 1.2.0 > 2.0.0" in text


def test_a_version_without_a_tree_is_named() -> None:
    [(code, text)] = refused([over("api", "3.0.0")], runs(n1="2.0.0"), levels={"api": MATRIX_A})
    assert code is Code.PATH_NONE
    assert "the release brings no tree of api 2.1.0; name it under `through`" in text


def test_a_hop_that_does_not_mix_needs_another_strategy() -> None:
    [(code, text)] = refused(
        [over("api", "2.0.0")], runs(n1="1.0.0"), levels={"api": {"1.0.0>2.0.0": "none"}}
    )
    assert code is Code.SELF_MIX_BAD
    assert "strategy" in text


def test_a_node_that_runs_what_nobody_speaks_of_is_named() -> None:
    found = refused([FULL_A], runs(n1="1.0.0", n2="nightly"), levels={"api": MATRIX_A})
    assert [code for code, _ in found] == [Code.PATH_NONE]
    assert "n2 run 'nightly', which is no version" in found[0][1]
    [(_, text)] = refused([FULL_A], runs(n1="0.9.0"), levels={"api": MATRIX_A})
    assert "which n1 run, to 3.0.0" in text


def test_without_statements_anything_goes_in_one_hop() -> None:
    parts = [component("db", "nightly"), component("api", "2", depends_on=("db",))]
    running = fleet(node("n1", {"api": target("api", "weekly"), "db": target("db", "9.9")}))
    plan = planned(parts, running)
    assert [(b.id, b.hop, b.needs) for b in plan.batches] == [("db-1", 1, ()), ("api-1", 1, ("db-1",))]
    assert plan.hops == ()


def test_a_provider_waits_for_clients_that_it_would_not_fit() -> None:
    parts = [over("db", "2.0.0"), over("api", "2.0.0", depends_on=("db",))]
    running = fleet(node("n1", {"db": target("db", "1.0.0"), "api": target("api", "1.0.0")}))
    pairs = [
        {"client": "api", "versions": "1.x", "provider": "db", "accepts": "1.x"},
        {"client": "api", "versions": "2.x", "provider": "db", "accepts": "*"},
    ]
    plan = planned(parts, running, pairs=pairs)
    assert {b.id: b.needs for b in plan.batches} == {"api-1": (), "db-1": ("api-1",)}
    assert plan.batches[0].for_good
    found = refused(parts, running, pairs=[pairs[0], {**pairs[1], "accepts": "2.x"}])
    assert {code for code, _ in found} == {Code.PAIR_BAD}
    assert "the fleet gets as far as db 1.0.0, api 1.0.0" in found[0][1]
    assert any("api 1.0.0 accepts db 1.x, not 2.0.0" in text for _, text in found)


STAYS = fleet(
    node("n1", {"db": target("db", "1.0.0"), "api": target("api", "1.0.0")}),
    node("n9", {"api": target("api", "1.0.0")}),
)
HERE = Placement(nodes=("n1",))


def test_what_runs_outside_of_its_placement_stays_and_counts_for_pairs() -> None:
    """api goes on at n1, and n9 calls the new db with the old one."""
    parts = [over("db", "2.0.0", place=HERE), over("api", "2.0.0", depends_on=("db",), place=HERE)]
    old = {"client": "api", "versions": "1.x", "provider": "db", "accepts": "1.x"}
    new = {"client": "api", "versions": "2.x", "provider": "db", "accepts": "*"}
    found = refused(parts, STAYS, pairs=[old, new])
    assert {code for code, _ in found} == {Code.PAIR_BAD}
    assert any("api 1.0.0 accepts db 1.x, not 2.0.0" in text for _, text in found)
    assert any("api 1.0.0 stays on n9, where the release does not place it" in text for _, text in found)
    plan = planned(parts, STAYS, pairs=[{**old, "accepts": "*"}, new])
    assert {step.node for batch in plan.batches for step in batch.steps} == {"n1"}


def test_what_stays_and_did_not_fit_before_is_no_doing_of_the_plan() -> None:
    parts = [over("db", "2.0.0", place=HERE), over("api", "2.0.0", depends_on=("db",), place=HERE)]
    running = fleet(
        node("n1", {"db": target("db", "1.0.0"), "api": target("api", "2.0.0")}),
        node("n9", {"db": target("db", "2.0.0"), "api": target("api", "1.0.0")}),
    )
    pairs = [
        {"client": "api", "versions": "1.x", "provider": "db", "accepts": "1.x"},
        {"client": "api", "versions": "2.x", "provider": "db", "accepts": "*"},
    ]
    assert [b.component for b in planned(parts, running, pairs=pairs).batches] == ["db"]


def test_a_name_that_stays_is_no_version_where_pairs_are_stated() -> None:
    parts = [component("db", "2.0.0", place=HERE), component("api", "2.0.0", depends_on=("db",), place=HERE)]
    running = fleet(
        node("n1", {"db": target("db", "1.0.0"), "api": target("api", "2.0.0")}),
        node("n9", {"api": target("api", "nightly")}),
    )
    stated = [{"client": "api", "provider": "db", "accepts": "*"}]
    ((code, text),) = refused(parts, running, pairs=stated)
    assert code is Code.PATH_NONE
    assert "n9 run 'nightly', which is no version" in text
    assert planned(parts, running).batches
