"""The answer that a version runs waits until nothing that was given up is at work beside it."""

from __future__ import annotations

from typing import Any

import pytest

from bumpless.common.contract.events import (
    ComponentCrashLooping,
    ReturnedToPrevious,
    StepFinished,
    StepOutcome,
    StepProgressed,
)
from bumpless.common.model.fleet import ComponentState as S
from bumpless.common.model.plan import Direction
from bumpless.common.model.release import CrashLoop, OnCrashLoop
from bumpless.executor import effects as do
from bumpless.executor import inputs as heard
from bumpless.executor.record import Command, ComponentRecord, Instance
from unit.executor.machine import Machine
from unit.executor.making import apply, target

V1, V2, V3 = target("v1"), target("v2"), target("v3")
BACK = {"direction": Direction.REVERT}


def starting(before: Any = V1, after: Any = V2) -> tuple[Machine, Instance]:
    """A machine whose new instance has work already and is not proven; that instance."""
    m = Machine()
    if before is not None:
        m.apply(apply((1, 1), before))
    return m, begin(m, apply((2, 1), after, before))


def begin(m: Machine, command: Command) -> Instance:
    m.hear(heard.Commanded(command))
    m.staged()
    assert m.record.fresh is not None
    born = m.record.fresh.model_copy(update={"pid": 7})
    m.hear(heard.Started(m.cause, born))
    return born


def answers(m: Machine) -> list[tuple[int, StepOutcome]]:
    said = [r for r in m.record.outbox if isinstance(r, StepFinished)]
    return [(r.sequence, r.outcome) for r in said if r.generation > 1]


def gone(m: Machine, instance: Instance) -> None:
    m.hear(heard.Died(instance, "exited with status 0"))


@pytest.mark.parametrize("before", [V1, None])
def test_already_is_said_once_the_new_instance_has_ended(before: Any) -> None:
    m, new = starting(before)
    m.hear(heard.Commanded(apply((2, 2), before, V2, **BACK)))
    assert m.names() == ["Abort"]
    assert m.record.state is (S.SERVING if before else S.ABSENT)
    assert answers(m) == [(1, StepOutcome.FAILED)]
    assert "v2" in m.notes[-1]
    (shown,) = (e.message for e in m.last if isinstance(e, do.Progress))
    assert isinstance(shown, StepProgressed)
    assert shown.share < 1
    m.hear(heard.Asked())
    assert answers(m) == [(1, StepOutcome.FAILED)]
    gone(m, new)
    assert answers(m) == [(1, StepOutcome.FAILED), (2, StepOutcome.ALREADY)]
    assert any(isinstance(e, do.Report) for e in m.last)


def test_the_answer_is_not_refused_where_the_end_takes_longer_than_the_command_was_valid() -> None:
    m, new = starting()
    m.hear(heard.Commanded(apply((2, 2), V1, V2, valid_s=5, **BACK)))
    m.hear(heard.Died(new, "was killed"), after_s=30)
    assert answers(m)[-1] == (2, StepOutcome.ALREADY)


def test_a_step_that_failed_says_so_at_once_and_only_the_way_back_waits() -> None:
    m, new = starting()
    m.hear(heard.StartFailed(m.cause, "the smoke test failed"))
    m.hear(heard.Restored(m.cause, m.record.serving))
    assert answers(m) == [(1, StepOutcome.FAILED)]
    m.hear(heard.Commanded(apply((2, 2), V1, V2, **BACK)))
    assert answers(m) == [(1, StepOutcome.FAILED)]
    gone(m, new)
    assert answers(m)[-1] == (2, StepOutcome.ALREADY)


def test_done_waits_too_where_the_step_was_quicker_than_the_end_of_what_was_given_up() -> None:
    m = Machine()
    m.apply(apply((1, 1), V1))
    m.apply(apply((1, 2), V2, V1))
    third = begin(m, apply((2, 1), V3, V2))
    m.apply(apply((2, 2), V1, V2, **BACK))
    assert (m.record.state, m.record.current) == (S.SERVING, V1)
    assert answers(m) == [(1, StepOutcome.FAILED)]
    gone(m, third)
    assert answers(m)[-1] == (2, StepOutcome.DONE)


def test_what_has_been_drained_holds_no_answer_up() -> None:
    m = Machine()
    m.apply(apply((1, 1), V1))
    m.apply(apply((2, 1), V2, V1))
    m.apply(apply((2, 2), V1, V2, **BACK))
    assert [i.target for i in m.record.stopping] == [V2]
    assert answers(m)[-1] == (2, StepOutcome.DONE)


@pytest.mark.parametrize("alive", [True, False])
def test_a_restart_of_the_executor_ends_it_and_says_what_was_unsaid(alive: bool) -> None:
    m, new = starting()
    m.hear(heard.Commanded(apply((2, 2), V1, V2, **BACK)))
    m.record = ComponentRecord.model_validate_json(m.record.model_dump_json())
    left = [i for i in m.record.instances if alive or i.id != new.id]
    m.hear(heard.Observed(tuple(left)))
    assert ("StopOld" in m.names()) is alive
    if alive:
        assert answers(m) == [(1, StepOutcome.FAILED)]
        gone(m, new)
    assert answers(m)[-1] == (2, StepOutcome.ALREADY)


def test_a_higher_command_ends_the_wait_and_does_not_find_it_answered_with_success() -> None:
    m, new = starting()
    m.hear(heard.Commanded(apply((2, 2), V1, V2, **BACK)))
    m.hear(heard.Commanded(apply((3, 1), V3, V1)))
    assert m.record.state is S.STAGING
    assert answers(m) == [(1, StepOutcome.FAILED), (2, StepOutcome.FAILED)]
    assert any(isinstance(e, do.Report) for e in m.last)
    gone(m, new)
    assert answers(m) == [(1, StepOutcome.FAILED), (2, StepOutcome.FAILED)]


def test_repeated_while_it_waits_the_command_is_not_answered_either() -> None:
    m, _ = starting()
    command = apply((2, 2), V1, V2, **BACK)
    m.hear(heard.Commanded(command))
    m.hear(heard.Commanded(command))
    assert answers(m) == [(1, StepOutcome.FAILED)]
    assert m.record.unsaid is not None


def test_a_crash_loop_meanwhile_makes_it_no_truer() -> None:
    loops = target("v1", crash_loop=CrashLoop(crashes=2, window_s=60))
    m, new = starting(loops)
    m.hear(heard.Commanded(apply((2, 2), loops, V2, **BACK)))
    crash(m, 2)
    assert isinstance(m.record.outbox[-1], ComponentCrashLooping)
    assert answers(m) == [(1, StepOutcome.FAILED)]
    gone(m, new)
    assert answers(m)[-1] == (2, StepOutcome.ALREADY)


def test_a_node_that_leaves_the_version_by_itself_meanwhile_answers_that_it_failed() -> None:
    loops = target("v2", crash_loop=CrashLoop(crashes=2, window_s=60), on_crash_loop=OnCrashLoop.PREVIOUS)
    m = Machine()
    m.apply(apply((1, 1), V1))
    third = begin(m, apply((2, 1), V3, V1))
    m.apply(apply((2, 2), loops, V1))
    assert m.record.unsaid is not None
    crash(m, 2)
    kinds = [type(r) for r in m.record.outbox[-3:]]
    assert kinds == [ComponentCrashLooping, StepFinished, ReturnedToPrevious]
    assert (m.finished().outcome, m.finished().version) == (StepOutcome.FAILED, "v1")
    gone(m, third)
    assert answers(m) == [(1, StepOutcome.FAILED), (2, StepOutcome.FAILED)]


def crash(m: Machine, times: int) -> None:
    for number in range(times):
        assert m.record.serving is not None
        m.hear(heard.Died(m.record.serving, "crashed", 1))
        if m.record.serving is None and m.record.current is not None:
            m.hear(heard.Revived(Instance(id=f"again {number}", target=m.record.current, pid=9)))


def test_a_standby_that_never_worked_holds_nothing_up() -> None:
    alone = target("v2", overlap=False)
    m, new = starting(V1, alone)
    assert new.standby
    m.hear(heard.Commanded(apply((2, 2), V1, alone, **BACK)))
    assert answers(m)[-1] == (2, StepOutcome.ALREADY)
