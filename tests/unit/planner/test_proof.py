"""Each rule of the independent checker, on a plan that breaks just that rule."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bumpless.common.contract.base import BatchId, RolloutId
from bumpless.common.model.plan import Batch, Plan, TargetId
from bumpless.common.model.strategy import Strategy
from bumpless.planner.plan import make_plan
from bumpless.planner.proof import check
from support.plans import T0, component, digest, fleet, node, release, target

RELEASE = release(component("db", strategy=Strategy(kind="canary")), component("api", depends_on=("db",)))
V1 = {"api": target("api", "v1"), "db": target("db", "v1")}
FLEET = fleet(node("n1", V1), node("n2", V1))


def good() -> Plan:
    return make_plan(RELEASE, digest("release"), FLEET, rollout=RolloutId("rollout-1"), generation=4, now=T0)


def changed(name: str, **updates: object) -> Plan:
    plan = good()
    batches = tuple(b.model_copy(update=updates) if b.id == name else b for b in plan.batches)
    return plan.model_copy(update={"batches": batches})


def first_step(**updates: object) -> Plan:
    plan = good()
    step = plan.batches[0].steps[0].model_copy(update=updates)
    return changed(plan.batches[0].id, steps=(step,))


def more(batch: Callable[[Plan], Batch]) -> Plan:
    plan = good()
    return plan.model_copy(update={"batches": (*plan.batches, batch(plan))})


FAULTS: dict[str, tuple[Callable[[], Plan], str]] = {
    "a batch twice": (lambda: more(lambda plan: plan.batches[0]), "stands 2 times"),
    "an unknown need": (lambda: changed("db-1", needs=(BatchId("x"),)), "does not exist"),
    "a cycle": (lambda: changed("db-1", needs=(BatchId("api-2"),)), "cycle"),
    "a dropped dependency": (lambda: changed("api-1", needs=()), "on which it depends"),
    "a dropped order within a component": (lambda: changed("db-2", needs=()), "does not wait for"),
    "a step of another component": (lambda: first_step(component="cache"), "is not about db"),
    "an unknown target": (lambda: first_step(after=TargetId("x")), "its target is not in the plan"),
    "no target": (lambda: first_step(after=None), "its target is not in the plan"),
    "the old version": (lambda: first_step(after=target("db", "v1").id), "not what the release names"),
    "an unknown origin": (lambda: first_step(before=TargetId("x")), "what it comes from"),
    "too many nodes": (
        lambda: changed("api-2", steps=good().batches[2].steps + good().batches[3].steps).model_copy(
            update={"max_unavailable": 1}
        ),
        "nodes out, allowed are 1",
    ),
    "an old generation": (lambda: good().model_copy(update={"generation": 3}), "is not above 3"),
    "no canary": (lambda: changed("db-1", canary=False), "no canary"),
    "changed and unchanged": (lambda: good().model_copy(update={"unchanged": ("n1/db",)}), "also listed"),
    "a component on no node": (
        lambda: good().model_copy(update={"batches": good().batches[:2]}),
        "stands on no node",
    ),
}


def test_a_good_plan_has_no_fault() -> None:
    assert [str(batch.id) for batch in good().batches] == ["db-1", "db-2", "api-1", "api-2"]
    assert check(good(), RELEASE, FLEET) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(fault: str) -> None:
    plan, words = FAULTS[fault]
    assert any(words in finding for finding in check(plan(), RELEASE, FLEET)), check(plan(), RELEASE, FLEET)
