"""Plans of particular releases on particular fleets, and everything that is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bumpless.common.contract.base import RolloutId
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.gate import GateSpec, GaugeRule
from bumpless.common.model.plan import Plan
from bumpless.common.model.release import Component, Placement, Release, Run
from bumpless.common.model.strategy import Strategy, Wave
from bumpless.planner.placement import SEEN_WITHIN_S
from bumpless.planner.plan import make_plan
from bumpless.planner.targets import STANDARD_METRICS
from bumpless.planner.unplannable import Unplannable
from support.plans import GATE, T0, component, digest, fleet, node, release, target

V1 = {"api": target("api", "v1"), "db": target("db", "v1")}
TWO = fleet(node("n1", V1), node("n2", V1))


def made(what: Release, where: Fleet, *, late_s: float = 0) -> Plan:
    return make_plan(
        what,
        digest("release"),
        where,
        rollout=RolloutId("rollout-1"),
        generation=4,
        now=T0 + timedelta(seconds=late_s),
    )


def refused(what: Release, where: Fleet = TWO, *, late_s: float = 0) -> tuple[str, ...]:
    with pytest.raises(Unplannable) as caught:
        made(what, where, late_s=late_s)
    return caught.value.reasons


def needs(plan: Plan) -> dict[str, list[str]]:
    return {str(batch.id): [str(need) for need in batch.needs] for batch in plan.batches}


def test_dependencies_first_and_batches_of_a_component_in_a_row() -> None:
    plan = made(release(component("api", depends_on=("db",)), component("db")), TWO)
    assert needs(plan) == {"db-1": [], "db-2": ["db-1"], "api-1": ["db-2"], "api-2": ["api-1"]}


def test_branches_stand_side_by_side() -> None:
    parts = [component("db"), component("cache"), component("api", depends_on=("db", "cache"))]
    plan = made(release(*parts), fleet(node("n1", {})))
    assert needs(plan) == {"cache-1": [], "db-1": [], "api-1": ["db-1", "cache-1"]}


def test_an_unchanged_component_hands_its_order_on() -> None:
    parts = [component("db"), component("mid", depends_on=("db",)), component("api", depends_on=("mid",))]
    where = fleet(node("n1", {"db": target("db", "v1"), "mid": target("mid", "v2")}))
    plan = made(release(*parts), where)
    assert plan.unchanged == ("n1/mid",)
    assert needs(plan) == {"db-1": [], "api-1": ["db-1"]}


def test_steps_name_what_was_seen_and_what_is_wanted() -> None:
    plan = made(release(component("api")), fleet(node("n1", V1), node("n2", {})))
    first, second = plan.steps()
    assert (first.before, first.after) == (target("api", "v1").id, target("api", "v2").id)
    assert (second.before, second.after) == (None, target("api", "v2").id)
    assert set(plan.targets) == {target("api", "v1").id, target("api", "v2").id}


def test_what_runs_already_is_left_alone_unless_it_does_not_serve() -> None:
    serving = node("n1", {"api": target("api", "v2")})
    ill = node("n2", {"api": target("api", "v2")})
    stuck = ill.components["api"].model_copy(update={"state": "stuck"})
    plan = made(
        release(component("api")), fleet(serving, ill.model_copy(update={"components": {"api": stuck}}))
    )
    assert plan.unchanged == ("n1/api",)
    assert [step.key for step in plan.steps()] == ["n2/api"]


def test_the_budget_is_a_share_of_the_nodes_in_use() -> None:
    where = fleet(*(node(f"n{i}", {}) for i in range(1, 9)))
    part = component("api", strategy=Strategy(batch_size="100%"))
    assert made(release(part, max_unavailable="25%"), where).max_unavailable == 2
    assert [len(b.steps) for b in made(release(part, max_unavailable="25%"), where).batches] == [2, 2, 2, 2]
    few = component("api", place=Placement(nodes=("n1", "n2")))
    assert made(release(few, max_unavailable="50%"), where).max_unavailable == 1


def test_approval_and_interval_count_from_the_second_batch() -> None:
    part = component("api", strategy=Strategy(kind="canary", approval=True, interval_s=9), gate=GATE)
    first, second = made(release(part), TWO).batches
    assert (first.canary, first.approval, first.wait_s) == (True, False, 0)
    assert (second.canary, second.approval, second.wait_s) == (False, True, 9)
    assert (first.gate, second.gate) == (GATE, GATE)


def test_a_gate_tells_the_nodes_which_metrics_to_ship() -> None:
    plan = made(release(component("api", gate=GATE)), TWO)
    wanted = next(plan.targets[step.after] for step in plan.steps() if step.after is not None)
    assert wanted.keep_metrics == tuple(sorted(GATE.metric_names() | STANDARD_METRICS))


def test_what_the_gate_of_a_wave_reads_is_shipped_too() -> None:
    own = GateSpec(rules=(GaugeRule(metric="orders_waiting", max_value=3),))
    waves = Strategy(kind="waves", waves=(Wave(name="all", rest=True, gate=own),))
    plan = made(release(component("api", strategy=waves)), TWO)
    wanted = next(plan.targets[step.after] for step in plan.steps() if step.after is not None)
    assert wanted.keep_metrics == tuple(sorted({"orders_waiting", *STANDARD_METRICS}))


def test_labels_place_a_component() -> None:
    where = fleet(node("web1", {}), node("web2", {}), node("db1", {}))
    plan = made(release(component("api", place=Placement(labels={"role": "web"}))), where)
    assert [step.node for step in plan.steps()] == ["web1", "web2"]


def with_env(value: str) -> Component:
    run = Run(command=("bin/api",), env={"DB": value})
    return component("api", run=run)


def test_peers_are_filled_in() -> None:
    listening = Run(command=("bin/db",), listen={"main": "tcp://{node.address}:5432"})
    parts = [with_env("{peers.db}"), component("db", run=listening, place=Placement(nodes=("n2", "n1")))]
    plan = made(release(*parts), TWO)
    api = next(t for t in plan.targets.values() if t.component == "api" and t.version == "v2")
    addresses = [TWO.node(name).address for name in ("n2", "n1")]  # type: ignore[union-attr]
    assert api.run.env["DB"] == ",".join(f"{address}:5432" for address in addresses)


def test_everything_wrong_is_said_at_once() -> None:
    parts = [
        component("cache", place=Placement(nodes=("n9",))),
        component("queue", place=Placement(labels={"zone": "b"})),
        with_env("{peers.nobody}"),
    ]
    reasons = refused(release(*parts))
    assert any("NODE_UNKNOWN n9" in reason for reason in reasons)
    assert any("zone=b" in reason for reason in reasons)
    assert any("{peers.nobody}" in reason for reason in reasons)


def test_a_silent_node_is_refused() -> None:
    assert refused(release(component("api")), late_s=SEEN_WITHIN_S + 1)
    assert made(release(component("api")), TWO, late_s=SEEN_WITHIN_S).batches


def test_a_cycle_names_its_components() -> None:
    parts = [component("api", depends_on=("db",)), component("db", depends_on=("api",))]
    [reason] = refused(release(*parts))
    assert "api" in reason
    assert "db" in reason


def test_an_unknown_dependency_is_named() -> None:
    [reason] = refused(release(component("api", depends_on=("nothing",))))
    assert "api: it depends on nothing" in reason


def test_a_batch_of_a_component_that_cannot_run_twice_has_time_for_a_second_drain_and_the_activation() -> (
    None
):
    beside = component("api")
    alone = component("api", run=beside.run.model_copy(update={"overlap": False}))
    times = [made(release(one), TWO).batches[0].apply_timeout_s for one in (beside, alone)]
    timing = beside.run.timing
    assert times[1] - times[0] == timing.drain_timeout_s + timing.ready_timeout_s
