"""Rollouts in hops: staged once, numbered upwards on every node, halted past a frozen horizon, taken back hop by hop."""

from __future__ import annotations

from typing import Any

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import BatchId, RolloutId
from bumpless.common.engine.expand import node_commands
from bumpless.common.model.plan import Batch, Plan, Step, StepKey
from bumpless.common.model.rollout import RolloutStatus
from bumpless.rollback.reverse import How, reverse
from support.plans import GATE, plan, target
from support.rollouts import Course, rolling

WAY = ("v1", "v2", "v3")
REVERT = RolloutId("revert-1")


def hop(number: int, nodes: list[str], **more: Any) -> Batch:
    ends = [target("api", version).id for version in WAY[number - 1 : number + 1]]
    steps = tuple(
        Step(node=node, component="api", before=ends[0], after=ends[1], hop=number) for node in nodes
    )
    return Batch.model_validate(
        {
            "id": BatchId(f"api-{number}"),
            "component": "api",
            "hop": number,
            "steps": steps,
            "needs": () if number == 1 else (f"api-{number - 1}",),
            "apply_timeout_s": 60,
            **more,
        }
    )


def over_v2(**last: Any) -> Plan:
    """n1 goes v1, v2, v3; n2 is at v2."""
    known = {found.id: found for found in (target("api", version) for version in WAY)}
    return plan(hop(1, ["n1"]), hop(2, ["n1", "n2"], **last), targets=known)


def commands(course: Course) -> list[c.NodeCommand]:
    return [
        one
        for sent in (*course.sent(c.StageArtifacts), *course.sent(c.ApplyBatch))
        for one in node_commands(course.plan, sent)
    ]


def test_a_node_is_told_once_to_stage_everything_and_each_hop_has_a_higher_number() -> None:
    course = Course(over_v2())
    first, second = commands(course)
    assert isinstance(first, c.StageComponent)
    assert isinstance(second, c.StageComponent)
    assert (first.node, [t.version for t in (first.target, *first.further) if t]) == ("n1", ["v2", "v3"])
    assert (second.node, [t.version for t in (second.target, *second.further) if t]) == ("n2", ["v3"])
    for node in ("n1", "n2"):
        step = next(s for s in course.plan.steps() if s.node == node)
        course.feed(course.staged(step))
    [one] = commands(course)
    course.finish("api-1")
    two = commands(course)
    assert (first.sequence, one.sequence, [m.sequence for m in two]) == (1, 2, [3, 3])
    assert one.keep == (target("api", "v3").root,)
    assert two[0].keep == (target("api", "v1").root,)
    course.finish("api-2")
    assert course.status is RolloutStatus.SUCCEEDED


def test_a_failure_past_a_frozen_horizon_halts_for_a_person() -> None:
    words = "api v2 does not read what v3 writes"
    course = rolling(over_v2(horizon=words, freeze=True))
    course.finish("api-1")
    batch = course.plan.batch(BatchId("api-2"))
    course.feed(course.finished("api-2", batch.steps[0]))
    course.feed(course.finished("api-2", batch.steps[1], e.StepOutcome.FAILED))
    assert course.status is RolloutStatus.HALTED
    [halted] = course.sent(e.RolloutHalted)
    assert words in halted.reason
    assert not course.sent(e.RolloutFailed)


def test_before_the_horizon_and_where_it_only_warns_a_failure_is_taken_back() -> None:
    frozen = rolling(over_v2(horizon="words", freeze=True))
    step = frozen.plan.batch(BatchId("api-1")).steps[0]
    frozen.feed(frozen.finished("api-1", step, e.StepOutcome.FAILED))
    assert frozen.status is RolloutStatus.FAILED
    warned = rolling(over_v2(horizon="words"))
    warned.finish("api-1")
    step = warned.plan.batch(BatchId("api-2")).steps[0]
    warned.feed(warned.finished("api-2", step, e.StepOutcome.FAILED))
    assert warned.status is RolloutStatus.FAILED


def test_a_crash_loop_is_that_of_the_hop_that_brought_the_version() -> None:
    course = rolling(over_v2())
    course.finish("api-1")
    course.feed(course.crash_looping(course.plan.batch(BatchId("api-1")).steps[0]))
    assert course.status is RolloutStatus.FAILED
    assert course.batch("api-1") == "failed"
    assert course.batch("api-2") == "applying"


def test_a_gate_compares_with_nodes_of_the_same_hop() -> None:
    known = {found.id: found for found in (target("api", version) for version in WAY)}
    one, other = hop(1, ["n1"], gate=GATE), hop(1, ["n3"], id=BatchId("api-1b"), needs=("api-1",))
    course = rolling(plan(one, other, hop(2, ["n1", "n2"], needs=("api-1b",)), targets=known))
    course.finish("api-1")
    [gate] = course.sent(c.OpenGate)
    assert [(m.node, m.version) for m in gate.control] == [("n3", "v1")]


def test_back_the_last_hop_is_first_and_numbers_rise_all_the_same() -> None:
    course = rolling(over_v2())
    course.finish("api-1")
    step = course.plan.batch(BatchId("api-2")).steps[0]
    course.feed(course.finished("api-2", step, e.StepOutcome.FAILED))
    back = reverse(course.state, revert=REVERT, number=0)
    assert {b.id: ([s.key for s in b.steps], b.needs) for b in back.batches} == {
        "api-back-1": (["n1/api#2", "n2/api#2"], ()),
        "api-back-2": (["n1/api"], ("api-back-1",)),
    }
    assert back.fence == ()
    returning = Course(back)
    first = commands(returning)
    returning.finish("api-back-1")
    [second] = commands(returning)
    assert second.sequence > first[0].sequence > back.sequence_base
    assert second.sequence < reverse(course.state, revert=REVERT, number=1).sequence_base
    returning.finish("api-back-2")
    assert returning.status is RolloutStatus.REVERTED


def test_with_a_hop_go_those_after_it() -> None:
    course = rolling(over_v2())
    course.finish("api-1")

    def chosen(*only: str) -> list[str]:
        found = reverse(course.state, revert=REVERT, number=0, how=How([StepKey(key) for key in only]))
        return [step.key for step in found.steps()]

    assert chosen("n1/api") == ["n1/api#2", "n1/api"]
    assert chosen("n1/api#2") == ["n1/api#2"]
    assert chosen("n2/api") == ["n2/api#2"]
