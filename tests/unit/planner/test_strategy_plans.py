"""Plans by strategy: waves with limits of their own, blue-green, and what a fleet does not allow."""

from __future__ import annotations

import pytest

from bumpless.common.contract.base import BatchId, RolloutId
from bumpless.common.contract.commands import OpenGate
from bumpless.common.model.compat import CompatFile
from bumpless.common.model.finding import Code
from bumpless.common.model.fleet import ComponentState, Fleet
from bumpless.common.model.plan import Plan, Target
from bumpless.common.model.release import Component, Release, Through
from bumpless.common.model.strategy import Strategy
from bumpless.common.model.verdict import Verdict
from bumpless.planner.plan import make_plan
from bumpless.planner.proof import check
from bumpless.planner.unplannable import Unplannable
from bumpless.rollback.reverse import reverse
from support.plans import GATE, T0, component, digest, fleet, node, release, target
from support.walk import Walk

V1 = {"api": target("api", "v1")}
V2 = {"api": target("api", "v2")}
NOTHING: dict[str, Target | None] = {"api": None}
SETS = {"kind": "blue-green", "blue": ["n1", "n2"], "green": ["n3", "n4"], "hold_s": 300}


def made(what: Release, where: Fleet) -> Plan:
    plan = make_plan(what, digest("r"), where, rollout=RolloutId("rollout-1"), generation=4, now=T0)
    assert check(plan, what, where) == []
    return plan


def refused(what: Release, where: Fleet) -> str:
    with pytest.raises(Unplannable) as caught:
        make_plan(what, digest("r"), where, rollout=RolloutId("rollout-1"), generation=4, now=T0)
    assert {found.code for found in caught.value.findings} == {Code.STRATEGY_IMPOSSIBLE}
    return "; ".join(caught.value.reasons)


def sets(blue: dict[str, Target | None], green: dict[str, Target | None]) -> Fleet:
    return fleet(node("n1", blue), node("n2", blue), node("n3", green), node("n4", green))


def api(**strategy: object) -> Component:
    return component("api", gate=GATE, strategy=Strategy.model_validate(strategy))


def shown(plan: Plan) -> list[tuple[list[str], str | None, str | None]]:
    """Nodes of every batch, and the versions before and after."""

    def version(found: object) -> str | None:
        return None if found is None else plan.targets[found].version  # type: ignore[index]

    return [
        ([step.node for step in b.steps], version(b.steps[0].before), version(b.steps[0].after))
        for b in plan.batches
    ]


# waves


def test_waves_have_gates_and_limits_of_their_own() -> None:
    own = GATE.model_copy(update={"window_s": 77})
    waves = [
        {"name": "first", "nodes": ["n3"], "gate": own, "apply_timeout_s": 11, "soak_s": 60},
        {"name": "others", "rest": True, "batch_size": 2, "approval": True},
    ]
    plan = made(release(api(kind="waves", waves=waves)), sets(V1, V1))
    assert shown(plan) == [(["n3"], "v1", "v2"), (["n1", "n2"], "v1", "v2"), (["n4"], "v1", "v2")]
    assert [(b.gate, b.wait_s, b.approval) for b in plan.batches] == [
        (own, 0, False),
        (GATE, 60, True),
        (GATE, 0, False),
    ]
    assert plan.batches[0].apply_timeout_s == 11 != plan.batches[1].apply_timeout_s


# blue-green


def test_the_first_release_goes_onto_blue() -> None:
    plan = made(release(api(**SETS)), sets(NOTHING, NOTHING))
    assert shown(plan) == [(["n1", "n2"], None, "v2")]
    assert plan.unchanged == ("n3/api", "n4/api")


def test_a_release_goes_onto_the_set_that_does_not_serve_and_the_other_is_drained_and_held() -> None:
    plan = made(release(api(**SETS, approval=True)), sets(V1, NOTHING))
    assert shown(plan) == [(["n3", "n4"], None, "v2"), (["n1", "n2"], "v1", None)]
    first, switch = plan.batches
    assert (first.gate, first.hold_s, first.approval) == (GATE, 0, False)
    assert (switch.gate, switch.hold_s, switch.approval, switch.needs) == (None, 300, True, (first.id,))
    back = made(release(api(**SETS)), sets(NOTHING, V1))
    assert shown(back) == [(["n1", "n2"], None, "v2"), (["n3", "n4"], "v1", None)]


def test_what_depends_on_it_waits_for_the_switch() -> None:
    web = component("web", depends_on=("api",))
    plan = made(release(api(**SETS), web), sets({**V1, "web": None}, {"api": None, "web": None}))
    assert next(b for b in plan.batches if b.component == "web").needs == ("api-2",)


@pytest.mark.parametrize(("level", "marked"), [("backward", True), ("full", False)])
def test_a_new_set_has_the_horizon_of_what_the_other_one_runs(level: str, marked: bool) -> None:
    running = sets({"api": target("api", "1.0.0")}, NOTHING)
    compat = CompatFile.model_validate(
        {"levels": {"api": {"1.0.0>2.0.0": level}}, "hops": {"api": {"horizon": "freeze"}}}
    )
    wanted = api(**SETS).model_copy(update={"version": "2.0.0"})
    plan = made(release(wanted, compat=compat), running)
    assert [(bool(b.horizon), b.freeze) for b in plan.batches] == [(marked, marked), (False, False)]


@pytest.mark.parametrize(
    ("blue", "green", "batches"),
    [
        pytest.param(V2, NOTHING, [], id="there already"),
        pytest.param(NOTHING, V2, [], id="there already, on green"),
        pytest.param(V1, V2, [(["n1", "n2"], "v1", None)], id="stopped before the switch"),
        pytest.param(V2, V1, [(["n3", "n4"], "v1", None)], id="stopped before the switch, on blue"),
        pytest.param(V1, V1, [(["n1", "n2"], "v1", "v2"), (["n3", "n4"], "v1", None)], id="both serve"),
    ],
)
def test_where_a_rollout_stopped_the_next_goes_on(
    blue: dict[str, Target | None], green: dict[str, Target | None], batches: list[object]
) -> None:
    assert shown(made(release(api(**SETS)), sets(blue, green))) == batches


def test_a_set_that_is_half_done_is_completed() -> None:
    where = fleet(node("n1", V1), node("n2", V1), node("n3", V2), node("n4", NOTHING))
    plan = made(release(api(**SETS)), where)
    assert shown(plan) == [(["n4"], None, "v2"), (["n1", "n2"], "v1", None)]


def test_no_switch_leaves_less_than_served_before() -> None:
    few = {**SETS, "green": ["n4"], "blue": ["n1", "n2"]}
    assert "has 1 nodes, and the 2 that serve now" in refused(
        release(api(**few)), fleet(node("n1", V1), node("n2", V1), node("n4", NOTHING))
    )


STATED = CompatFile.model_validate(
    {"levels": {"api": {"1.0.0>2.0.0": "full", "2.0.0>3.0.0": "full", "1.0.0>4.0.0": "none"}}}
)


def test_a_version_that_the_serving_set_reaches_only_over_another_is_refused() -> None:
    old = {"api": target("api", "1.0.0")}
    two = component("api", "2.0.0", strategy=Strategy.model_validate(SETS))
    assert shown(made(release(two, compat=STATED), sets(old, NOTHING))) == [
        (["n3", "n4"], None, "2.0.0"),
        (["n1", "n2"], "1.0.0", None),
    ]
    over = Through(version="2.0.0", root=two.root, artifact=two.artifact, artifact_size=1, run=two.run)
    three = component("api", "3.0.0", strategy=Strategy.model_validate(SETS), through=(over,))
    assert "leads over 2.0.0, and until the switch it runs beside 3.0.0; release 2.0.0 first" in refused(
        release(three, compat=STATED), sets(old, NOTHING)
    )


def test_a_set_that_is_just_changing_is_not_judged() -> None:
    starting = node("n1", NOTHING)
    seen = starting.components["api"].model_copy(update={"state": ComponentState.STARTING})
    where = fleet(starting.model_copy(update={"components": {"api": seen}}), *sets(V1, NOTHING).nodes[1:])
    assert "node n1 is starting" in refused(release(api(**SETS)), where)


def test_sets_must_not_meet() -> None:
    labels = {"kind": "blue-green", "blue": {"labels": {"a": "1"}}, "green": {"labels": {"b": "1"}}}
    where = fleet(node("n1", V1, a="1", b="1"), node("n2", NOTHING, b="1"))
    assert "node n1 is in blue (a=1) and in green (b=1)" in refused(release(api(**labels)), where)


def walked(plan: Plan, *batches: str) -> Walk:
    """The rollout of `plan` as far as these batches are done; gates pass."""
    walk = Walk(plan)
    walk.start()
    for name in batches:
        for step in plan.batch(BatchId(name)).steps:
            walk.feed(walk.finished(name, step))
        if walk.batch(name) == "baking":
            walk.feed(walk.verdict(name, Verdict.PASS))
    return walk


def test_the_new_set_is_judged_against_the_one_that_serves() -> None:
    plan = made(release(api(**SETS)), sets(V1, NOTHING))
    (gate,) = [m for m in walked(plan, "api-1").said if isinstance(m, OpenGate)]
    assert [m.node for m in gate.canary] == ["n3", "n4"]
    assert [(m.node, m.version) for m in gate.control] == [("n1", "v1"), ("n2", "v1")]


def test_the_way_back_brings_the_old_set_before_the_new_one_goes() -> None:
    plan = made(release(api(**SETS)), sets(V1, NOTHING))
    state = walked(plan, "api-1", "api-2").state
    back = reverse(state, revert=RolloutId("revert-1"), number=0)
    assert shown(back) == [(["n1", "n2"], None, "v1"), (["n3", "n4"], "v2", None)]
    assert [b.needs for b in back.batches] == [(), (back.batches[0].id,)]
    assert [b.hold_s for b in back.batches] == [0, 0]


def test_before_the_switch_the_way_back_only_takes_the_new_set_off() -> None:
    plan = made(release(api(**SETS, approval=True)), sets(V1, NOTHING))
    back = reverse(walked(plan, "api-1").state, revert=RolloutId("revert-1"), number=0)
    assert shown(back) == [(["n3", "n4"], "v2", None)]
    assert sorted(step.node for step in back.fence) == ["n1", "n2"]


# what a fleet does not allow


@pytest.mark.parametrize(
    ("strategy", "more", "said"),
    [
        ({"kind": "all-at-once"}, {"max_unavailable": 3}, "4 nodes in one batch, max_unavailable allows 3"),
        (SETS, {"max_unavailable": 1}, "2 nodes in one batch, max_unavailable allows 1"),
        (
            {
                "kind": "waves",
                "waves": [{"name": "a", "nodes": ["n1"]}, {"name": "b", "labels": {"zone": "a"}}],
            },
            {},
            "n3, n4 in no wave; add them to a wave, or add a last wave with rest: true",
        ),
        (
            {"kind": "waves", "waves": [{"name": "a", "nodes": ["n9"]}, {"name": "b", "rest": True}]},
            {},
            "wave a names n9, which no executor speaks for",
        ),
        (
            {"kind": "waves", "waves": [{"name": "a", "labels": {"x": "y"}}, {"name": "b", "rest": True}]},
            {},
            "no node of the fleet has the labels of wave a (x=y)",
        ),
        (
            {"kind": "canary", "canary": {"labels": {"x": "y"}}},
            {},
            "none of its nodes is in the canary (x=y)",
        ),
        ({"kind": "canary", "canary": ["n9"]}, {}, "the canary names n9"),
        ({"kind": "priority", "priority": "zone"}, {}, "node n1 has zone='a', which is no number"),
        ({"kind": "priority", "priority": "rank"}, {}, "none of its nodes has the label rank"),
        ({"kind": "priority", "priority": ["n9"]}, {}, "the priority names n9"),
        ({"kind": "rolling", "spread": "rack"}, {}, "none of its nodes has the label rack"),
    ],
)
def test_what_cannot_be_done_is_a_finding(
    strategy: dict[str, object], more: dict[str, object], said: str
) -> None:
    where = fleet(
        node("n1", V1, zone="a"), node("n2", V1, zone="a"), node("n3", NOTHING, zone="b"), node("n4", NOTHING)
    )
    assert said in refused(release(api(**strategy), **more), where)


def test_all_at_once_counts_what_changes() -> None:
    plan = made(release(api(kind="all-at-once"), max_unavailable=2), sets(V1, V2))
    assert shown(plan) == [(["n1", "n2"], "v1", "v2")]
