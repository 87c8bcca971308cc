"""Batches that bake: who is judged against whom, what each verdict leads to, when a gate is closed."""

from __future__ import annotations

import pytest

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import MessageId
from bumpless.common.contract.events import StepOutcome
from bumpless.common.engine.batch import GATE_GRACE_S
from bumpless.common.engine.rollout import MAX_EXTENSIONS
from bumpless.common.engine.transitions import TABLE
from bumpless.common.model.gate import ErrorRateRule, GateSpec, OnInconclusive
from bumpless.common.model.rollout import RolloutStatus as S
from bumpless.common.model.verdict import CarriedEvidence, Reason, Verdict
from support.plans import GATE, batch, plan, target
from support.rollouts import Course, deadline_name, rolling


def spec(policy: OnInconclusive) -> GateSpec:
    return GATE.model_copy(update={"on_inconclusive": policy})


CANARY = plan(
    batch("api-1", ["n1", "n2"], gate=GATE, canary=True),
    batch("api-2", ["n3"], needs=["api-1"], gate=GATE),
    batch("api-3", ["n4"], needs=["api-2"]),
    batch("db-1", ["n5"], component="db", needs=["api-3"]),
)
SIDE_BY_SIDE = plan(
    batch("api-1", ["n1"], gate=GATE),
    batch("db-1", ["n2"], component="db", gate=GATE),
    batch("db-2", ["n3"], component="db", needs=["db-1"], gate=GATE),
)


def baking(policy: OnInconclusive = OnInconclusive.PAUSE) -> Course:
    course = rolling(plan(batch("api-1", ["n1"], gate=spec(policy)), batch("api-2", ["n2"], needs=["api-1"])))
    course.finish("api-1")
    assert course.batch("api-1") == "baking"
    return course


def side_by_side() -> Course:
    course = rolling(SIDE_BY_SIDE)
    course.finish("api-1")
    course.finish("db-1")
    return course


def test_the_gate_opens_when_every_step_is_done() -> None:
    course = rolling(CANARY)
    first, second = CANARY.batches[0].steps
    course.feed(course.finished("api-1", first))
    assert course.sent(c.OpenGate) == []
    switched = course.now
    course.feed(course.finished("api-1", second))
    [gate] = course.sent(c.OpenGate)
    assert (gate.batch, gate.spec) == ("api-1", GATE)
    assert [(m.node, m.version, m.root) for m in gate.canary] == [
        ("n1", "v2", target("api", "v2").root),
        ("n2", "v2", target("api", "v2").root),
    ]
    assert [(m.node, m.component, m.version) for m in gate.control] == [
        ("n3", "api", "v1"),
        ("n4", "api", "v1"),
    ]
    assert gate.switched_at < switched
    assert (gate.deadline - course.now).total_seconds() == GATE.timeout_s
    assert course.batch("api-1") == "baking"


def test_the_control_shrinks_as_batches_pass() -> None:
    course = rolling(CANARY)
    course.finish("api-1")
    course.feed(course.verdict("api-1"))
    course.finish("api-2")
    [gate] = course.sent(c.OpenGate)
    assert [m.node for m in gate.canary] == ["n3"]
    assert [m.node for m in gate.control] == ["n4"]


def test_a_first_installation_has_no_control() -> None:
    course = rolling(
        plan(
            batch("api-1", ["n1"], before=None, gate=GATE),
            batch("api-2", ["n2"], before=None, needs=["api-1"]),
        )
    )
    course.finish("api-1")
    [gate] = course.sent(c.OpenGate)
    assert gate.control == ()


def test_a_batch_that_waits_for_approval_still_serves_as_control() -> None:
    course = rolling(plan(batch("api-1", ["n1"], gate=GATE), batch("api-2", ["n2"], approval=True)))
    assert course.batch("api-2") == "awaiting-approval"
    course.finish("api-1")
    [gate] = course.sent(c.OpenGate)
    assert [m.node for m in gate.control] == ["n2"]


def test_a_tolerated_failure_is_not_judged() -> None:
    course = rolling(plan(batch("api-1", ["n1", "n2"], gate=GATE, tolerance=1)))
    first, second = course.plan.batches[0].steps
    course.feed(course.finished("api-1", first, StepOutcome.FAILED))
    course.feed(course.finished("api-1", second))
    [gate] = course.sent(c.OpenGate)
    assert [m.node for m in gate.canary] == ["n2"]


def test_a_pass_moves_on() -> None:
    course = baking()
    course.feed(course.verdict("api-1"))
    assert (course.batch("api-1"), course.applied()) == ("passed", ["api-2"])


def test_a_fail_fails_the_rollout_and_says_why() -> None:
    course = baking()
    course.feed(course.verdict("api-1", Verdict.FAIL, reason="regression", detail="4 % errors"))
    assert (course.status, course.batch("api-1")) == (S.FAILED, "failed")
    assert "regression: 4 % errors" in course.state.reason
    assert course.sent(c.CloseGate) == []


def test_a_fail_closes_every_other_gate_once() -> None:
    course = side_by_side()
    other = course.state.batches[SIDE_BY_SIDE.batches[1].id].gate
    course.feed(course.verdict("api-1", Verdict.FAIL))
    assert [close.gate for close in course.sent(c.CloseGate)] == [other]


def test_abort_closes_every_gate() -> None:
    course = side_by_side()
    course.feed(course.order(c.Abort))
    assert [close.batch for close in course.sent(c.CloseGate)] == ["api-1", "db-1"]
    assert len({close.id for close in course.sent(c.CloseGate)}) == 2


def test_a_gate_without_an_answer_fails_its_batch_and_is_closed_once() -> None:
    course = side_by_side()
    assert deadline_name(course) == "bake:api-1"
    opened = course.state.batches[SIDE_BY_SIDE.batches[0].id].since
    course.fire()
    assert course.status is S.FAILED
    assert (course.now - opened).total_seconds() == GATE.timeout_s + GATE_GRACE_S
    assert [close.batch for close in course.sent(c.CloseGate)] == ["api-1", "db-1"]


def test_verdicts_nobody_waits_for_change_nothing() -> None:
    course = baking()
    known = course.state
    course.feed(course.verdict("api-1", gate=MessageId("another")))
    course.feed(course.verdict("api-1").model_copy(update={"batch": "api-2"}))
    course.feed(course.verdict("api-1").model_copy(update={"batch": "no-such-batch"}))
    assert course.state is known
    passed = course.verdict("api-1")
    course.feed(passed)
    known = course.state
    course.feed(passed)
    course.feed(passed.model_copy(update={"verdict": Verdict.FAIL}))
    assert (course.state is known, course.out) == (True, ())


@pytest.mark.parametrize(
    ("policy", "status", "batch_status"),
    [
        (OnInconclusive.PAUSE, S.PAUSED, "baking"),
        (OnInconclusive.EXTEND, S.ROLLING, "baking"),
        (OnInconclusive.FAIL, S.FAILED, "failed"),
        (OnInconclusive.PASS, S.ROLLING, "passed"),
    ],
)
def test_inconclusive(policy: OnInconclusive, status: S, batch_status: str) -> None:
    course = baking(policy)
    course.feed(course.verdict("api-1", Verdict.INCONCLUSIVE))
    assert (course.status, course.batch("api-1")) == (status, batch_status)
    assert len(course.sent(c.OpenGate)) == int(policy is OnInconclusive.EXTEND)


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        (OnInconclusive.PAUSE, S.PAUSED),
        (OnInconclusive.EXTEND, S.PAUSED),
        (OnInconclusive.PASS, S.PAUSED),
        (OnInconclusive.FAIL, S.FAILED),
    ],
)
def test_a_limit_that_pauses_is_passed_over_by_no_policy(policy: OnInconclusive, status: S) -> None:
    course = baking(policy)
    course.feed(course.verdict("api-1", Verdict.INCONCLUSIVE, reason=Reason.LIMIT_CROSSED))
    assert course.status is status


RATIO = GateSpec(warm_up_s=0, window_s=10, timeout_s=100, rules=(ErrorRateRule(),))
SEQUENTIAL = GateSpec(warm_up_s=0, window_s=10, timeout_s=100)
ADDED_UP = plan(
    batch("api-1", ["n1", "n2"], gate=SEQUENTIAL),
    batch("api-2", ["n3"], needs=["api-1"], gate=SEQUENTIAL),
    batch("api-3", ["n4"], needs=["api-2"], gate=SEQUENTIAL),
    batch("db-1", ["n5"], component="db", needs=["api-3"], gate=SEQUENTIAL),
    batch("web-1", ["n6"], component="web", needs=["db-1"], gate=RATIO),
)
LEFT = CarriedEvidence(batches=(0.5,), kinds=())


def test_a_batch_goes_on_from_the_evidence_of_those_before_it() -> None:
    course = rolling(ADDED_UP)
    course.finish("api-1")
    [first] = course.sent(c.OpenGate)
    assert (first.batches, first.share, first.earlier, first.carried) == (3, 0.75, (), None)
    course.feed(course.verdict("api-1", carried=LEFT))
    course.finish("api-2")
    [second] = course.sent(c.OpenGate)
    assert [member.node for member in second.earlier] == ["n1", "n2"]
    assert second.carried == LEFT
    course.feed(course.verdict("api-2"))
    course.finish("api-3")
    [third] = course.sent(c.OpenGate)
    assert [member.node for member in third.earlier] == ["n1", "n2", "n3"]
    assert third.carried == LEFT, "a batch that left nothing does not hide what was there before"
    course.feed(course.verdict("api-3"))
    course.finish("db-1")
    [other] = course.sent(c.OpenGate)
    assert (other.batches, other.share, other.earlier, other.carried) == (1, 0.25, (), None)
    course.feed(course.verdict("db-1"))
    course.finish("web-1")
    [ratio] = course.sent(c.OpenGate)
    assert (ratio.batches, ratio.share, ratio.earlier) == (1, 1, ())


def test_a_node_that_is_out_is_no_peer() -> None:
    course = rolling(CANARY)
    course.state = course.state.model_copy(update={"out": {"n3": "drained"}})
    course.finish("api-1")
    [gate] = course.sent(c.OpenGate)
    assert [member.node for member in gate.control] == ["n4"]


def test_extending_ends_in_a_pause() -> None:
    course = baking(OnInconclusive.EXTEND)
    gates = set()
    for _ in range(MAX_EXTENSIONS):
        course.feed(course.verdict("api-1", Verdict.INCONCLUSIVE))
        assert course.status is S.ROLLING
        gates |= {gate.gate for gate in course.sent(c.OpenGate)}
    assert len(gates) == MAX_EXTENSIONS
    course.feed(course.verdict("api-1", Verdict.INCONCLUSIVE))
    assert (course.status, course.sent(c.OpenGate)) == (S.PAUSED, [])


def test_resume_bakes_an_inconclusive_batch_again_under_a_new_gate() -> None:
    course = baking()
    first = course.state.batches[course.plan.batches[0].id].gate
    course.feed(course.verdict("api-1", Verdict.INCONCLUSIVE))
    assert deadline_name(course) == "pause"
    course.feed(course.order(c.Resume))
    [gate] = course.sent(c.OpenGate)
    assert gate.gate != first
    assert course.status is S.ROLLING
    course.feed(course.verdict("api-1"))
    assert course.applied() == ["api-2"]


def test_promote_passes_an_inconclusive_batch_and_goes_on() -> None:
    course = baking()
    course.feed(course.verdict("api-1", Verdict.INCONCLUSIVE))
    course.feed(course.order(c.Promote))
    assert (course.status, course.batch("api-1"), course.applied()) == (S.ROLLING, "passed", ["api-2"])


def test_promote_of_one_leaves_another_undecided_batch_to_the_person() -> None:
    course = side_by_side()
    course.feed(course.verdict("api-1", Verdict.INCONCLUSIVE))
    course.feed(course.verdict("db-1", Verdict.INCONCLUSIVE))
    course.feed(course.order(c.Promote, batch="api-1"))
    assert (course.status, course.batch("db-1")) == (S.PAUSED, "baking")
    assert deadline_name(course) is not None
    course.feed(course.order(c.Promote, batch="db-1"))
    assert (course.status, course.applied()) == (S.ROLLING, ["db-2"])


def test_promote_closes_the_gate_of_its_batch_only() -> None:
    course = side_by_side()
    course.feed(course.order(c.Promote, batch="db-1"))
    assert [close.batch for close in course.sent(c.CloseGate)] == ["db-1"]
    assert (course.batch("api-1"), course.batch("db-1")) == ("baking", "passed")
    assert course.applied() == ["db-2"]


def test_promote_without_a_baking_batch_is_refused() -> None:
    course = rolling(SIDE_BY_SIDE)
    known = course.state
    course.feed(course.order(c.Promote, batch="db-1"))
    assert course.state is known
    assert [answer.accepted for answer in course.sent(e.CommandAnswered)] == [False]


def test_promote_fails_where_tolerated_failures_leave_no_room_for_what_follows() -> None:
    course = rolling(
        plan(
            batch("api-1", ["n1", "n2"], gate=GATE, tolerance=1),
            batch("api-2", ["n3", "n4"], needs=["api-1"]),
            max_unavailable=2,
        )
    )
    first, second = course.plan.batches[0].steps
    course.feed(course.finished("api-1", first, StepOutcome.FAILED))
    course.feed(course.finished("api-1", second))
    course.feed(course.order(c.Promote))
    assert course.status is S.FAILED
    assert course.status in TABLE[S.ROLLING][c.Promote]


def idle(course: Course, batch_id: str) -> None:
    """Every step of the batch was put in place on a drained node."""
    for step in next(b for b in course.plan.batches if b.id == batch_id).steps:
        course.feed(course.finished(batch_id, step, idle=True))


def out(course: Course, *nodes: str) -> None:
    course.feed(course.make(e.NodesOut, nodes=dict.fromkeys(nodes, "drained")))


def test_a_drained_node_is_neither_judged_nor_anybodys_peer() -> None:
    course = rolling(CANARY)
    out(course, "n2", "n4")
    first, second = CANARY.batches[0].steps
    course.feed(course.finished("api-1", first))
    course.feed(course.finished("api-1", second, idle=True))
    [gate] = course.sent(c.OpenGate)
    assert [member.node for member in gate.canary] == ["n1"]
    assert [member.node for member in gate.control] == ["n3"]


def test_a_node_that_came_back_meanwhile_is_judged() -> None:
    course = rolling(CANARY)
    first, second = CANARY.batches[0].steps
    course.feed(course.finished("api-1", first))
    course.feed(course.finished("api-1", second, idle=True))
    [gate] = course.sent(c.OpenGate)
    assert [member.node for member in gate.canary] == ["n1", "n2"]


def test_a_canary_of_drained_nodes_proves_nothing() -> None:
    course = rolling(CANARY)
    out(course, "n1", "n2")
    idle(course, "api-1")
    assert (course.sent(c.OpenGate), course.status, course.batch("api-1")) == ([], S.PAUSED, "baking")
    assert "drained" in course.state.reason
    before = course.state
    course.feed(course.order(c.Resume))
    [answer] = course.sent(e.CommandAnswered)
    assert (answer.accepted, "drained" in answer.text, course.state) == (False, True, before)
    out(course)
    course.feed(course.order(c.Resume))
    [gate] = course.sent(c.OpenGate)
    assert len(gate.canary) == 2, "the nodes are back, and can be judged now"


def test_drained_nodes_hold_nothing_up_once_the_version_is_proven() -> None:
    course = rolling(CANARY)
    out(course, "n3")
    course.finish("api-1")
    course.feed(course.verdict("api-1"))
    idle(course, "api-2")
    assert (course.sent(c.OpenGate), course.batch("api-2"), course.applied()) == ([], "passed", ["api-3"])


def test_a_failed_canary_policy_holds_for_drained_nodes_too() -> None:
    course = rolling(plan(batch("api-1", ["n1"], gate=spec(OnInconclusive.FAIL))))
    out(course, "n1")
    idle(course, "api-1")
    assert course.status is S.FAILED


def test_a_failure_that_is_tolerated_everywhere_is_not_taken_for_a_drain() -> None:
    course = rolling(plan(batch("api-1", ["n1"], gate=GATE, tolerance=1)))
    course.feed(course.finished("api-1", course.plan.batches[0].steps[0], StepOutcome.FAILED))
    [gate] = course.sent(c.OpenGate)
    assert gate.canary == ()
