"""How long, how many, and until when there is a way back: worked out of a plan."""

from __future__ import annotations

import pytest

from bumpless.common import render
from bumpless.common.contract.plan_answer import Earlier, PlanAnswer, Took
from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.level import Level
from bumpless.common.model.plan import Hop, Plan
from bumpless.common.render.capacity import Capacity
from bumpless.common.render.expected import Expected, remaining
from bumpless.common.render.view import view
from support.plans import GATE, batch, plan

CHAIN = plan(
    batch("db-1", ["n1"], component="db"),
    batch("api-1", ["n1", "n2", "n3"], needs=["db-1"], gate=GATE, wait_s=30),
)
TOOK = Earlier(
    steps=(
        Took(component="db", rollouts=1, seconds=(4.0,)),
        Took(component="api", rollouts=2, seconds=(1.0, 2.0, 3.0, 4.0, 5.0)),
    ),
    staging_s=(2.0, 4.0, 12.0),
)


def timed(shown: Plan, earlier: Earlier = Earlier()) -> Expected:  # noqa: B008
    found = view(PlanAnswer(plan=shown, earlier=earlier)).duration
    assert found is not None
    return found


def room(shown: Plan, component: str) -> Capacity:
    return next(c for c in view(PlanAnswer(plan=shown)).capacity if c.component == component)


def test_from_history_with_the_slowest_of_a_batch_the_gate_and_the_wait() -> None:
    found = timed(CHAIN, TOOK)
    slowest_of_three = 4.0
    assert found.expected_s == pytest.approx(4 + 4 + 30 + slowest_of_three + GATE.window_s)
    assert found.history
    assert [(step.component, step.source, step.median_s, step.rollouts) for step in found.steps] == [
        ("db", "history", 4.0, 1),
        ("api", "history", 3.0, 2),
    ]


def test_without_history_it_is_the_least_that_it_can_take() -> None:
    found = timed(CHAIN)
    least = 1 + 5  # soak of the new version, lame duck of the old one
    assert found.expected_s == pytest.approx(least + 30 + least + GATE.window_s)
    assert not found.history
    assert found.at_most_s == pytest.approx(600 + 60 + 30 + 60 + GATE.timeout_s)
    assert {step.source for step in found.steps} == {"limits"}


def test_branches_go_side_by_side_as_far_as_the_budget_allows() -> None:
    two = (batch("a-1", ["n1"], component="a"), batch("b-1", ["n2"], component="b"))
    assert timed(plan(*two)).expected_s == 6
    assert timed(plan(*two, max_unavailable=1)).expected_s == 12
    same = (batch("a-1", ["n1"], component="a"), batch("b-1", ["n1"], component="b"))
    assert timed(plan(*same, max_unavailable=1)).expected_s == 6


def test_a_plan_that_can_never_run_has_an_end_too() -> None:
    assert timed(plan(batch("a-1", ["n1", "n2"]), max_unavailable=1)).expected_s == 0
    assert (
        timed(plan(batch("a-1", ["n1"], needs=["b-1"]), batch("b-1", ["n1"], needs=["a-1"]))).expected_s == 0
    )


def test_capacity_at_every_stage() -> None:
    shown = plan(
        batch("api-1", ["n1"]),
        batch("api-2", ["n2", "n3"], needs=["api-1"]),
        batch("api-3", ["n4"], before=None, needs=["api-2"]),
        batch("api-4", ["n1"], after=None, needs=["api-3"]),
    )
    found = room(shown, "api")
    assert (found.before, found.lowest, found.lowest_in, found.after) == (3, 1, "api-2", 3)
    assert [(m.serving, m.batch) for m in found.over_time] == [
        (2, "api-1"), (3, "api-1"), (1, "api-2"), (3, "api-2"), (3, "api-3"), (4, "api-3"), (3, "api-4"), (3, "api-4"),
    ]  # fmt: skip


def test_capacity_of_a_component_that_comes_or_goes() -> None:
    coming = room(
        plan(batch("api-1", ["n1"], before=None), batch("api-2", ["n2"], before=None, needs=["api-1"])), "api"
    )
    assert (coming.before, coming.lowest, coming.after) == (0, 1, 2)
    going = room(
        plan(batch("api-1", ["n1"], after=None), batch("api-2", ["n2"], after=None, needs=["api-1"])), "api"
    )
    assert (going.before, going.lowest, going.after) == (2, 1, 0)


def test_the_way_back_ends_where_the_first_batch_says_so() -> None:
    found = view(
        PlanAnswer(
            plan=plan(batch("a-1", ["n1"]), batch("a-2", ["n2"], needs=["a-1"], horizon="a new format"))
        )
    )
    assert found.horizon is not None
    assert (found.horizon.batch, found.horizon.text) == ("a-2", "free until a-2 is applied: a new format")
    first = view(PlanAnswer(plan=plan(batch("a-1", ["n1"], horizon="a new format"))))
    assert first.horizon is not None
    assert first.horizon.text == "not free from the first batch on, a-1: a new format"


def test_what_blocks_comes_first_and_leaves_no_command() -> None:
    def finding(severity: Severity) -> Finding:
        return Finding(
            code=Code.LIFECYCLE_INVALID, severity=severity, subject="a", evidence="e", recommendation="r"
        )

    shown = plan(batch("a-1", ["n1"]))
    found = view(
        PlanAnswer(
            plan=shown, findings=(finding(Severity.INFO), finding(Severity.WARN), finding(Severity.BLOCK))
        ),
        "go",
    )
    assert [one.severity for one in found.findings] == ["block", "warn", "info"]
    assert (found.runs, found.next) == (False, "")
    assert view(PlanAnswer(plan=shown), "go").next == f"go {shown.hash}"
    assert view(PlanAnswer(plan=plan()), "go").next == ""


def test_a_finding_is_told_once_although_the_reasons_name_it_too() -> None:
    one = Finding(
        code=Code.LIFECYCLE_INVALID, severity=Severity.BLOCK, subject="a", evidence="e", recommendation="r"
    )
    found = view(PlanAnswer(reasons=("no node", str(one)), findings=(one,)))
    assert (found.reasons, found.findings, found.runs) == (("no node",), (one,), False)


def test_what_is_left_of_a_rollout_by_the_state_of_its_batches() -> None:
    gate = GATE.window_s
    api = 30 + 4.0 + gate
    for batches, left in (
        ({}, 4.0 + api),
        ({"db-1": "applying"}, 4.0 + api),
        ({"db-1": "passed", "api-1": "pending"}, api),
        ({"db-1": "passed", "api-1": "applying"}, api - 30),
        ({"db-1": "passed", "api-1": "baking (inconclusive)"}, gate),
        ({"db-1": "passed", "api-1": "passed"}, 0),
    ):
        assert remaining(CHAIN, TOOK, batches) == pytest.approx(left)


def test_the_way_is_told_where_it_says_more_than_the_changes() -> None:
    hops = (
        Hop(component="a", number=1, sources=("v1",), target="v2"),
        Hop(component="b", number=1, sources=("v1",), target="v2"),
        Hop(component="b", number=2, sources=("v2",), target="v3", why="the release brings v3"),
        Hop(component="c", number=1, sources=(), target="v2", level=Level.FULL),
    )
    shown = plan(batch("a-1", ["n1"], component="a"), hops=hops)
    page = render.plan(shown)
    assert "\nWay\n  1. b v1 -> v2 (nothing is stated about the two)\n  2. b v2 -> v3" in page
    assert "  3. c new, v2\n" in page
    assert "Way\n" not in render.plan(shown.model_copy(update={"hops": hops[:1]}))
