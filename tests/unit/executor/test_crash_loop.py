"""Crashes of the serving process: when they are a loop, what is said, and the node's own way back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bumpless.common.contract.events import ComponentCrashLooping, ReturnedToPrevious
from bumpless.common.model.fleet import ComponentState as S
from bumpless.common.model.plan import Direction, Target
from bumpless.executor import effects as do
from bumpless.executor import inputs as heard
from bumpless.executor.component import decide
from bumpless.executor.record import ComponentRecord, Instance
from bumpless.executor.transition import Decision
from unit.executor.making import T0, apply, target
from unit.executor.test_component import Machine

BACK = {"on_crash_loop": "previous", "crash_loop": {"crashes": 3, "window_s": 60}}
V1, V2 = target("v1", **BACK), target("v2", **BACK)


def on_v2(new: Target = V2, *, warm: bool = False) -> Machine:
    m = Machine()
    m.apply(apply((1, 1), V1))
    m.apply(apply((2, 1), new, V1))
    assert m.record.state is S.SERVING
    if not warm and m.record.warm is not None:
        m.hear(heard.Died(m.record.warm, "x"))
    return m


def crash(m: Machine, at_s: float) -> Decision:
    """The serving process dies, or its restart fails where there is none."""
    serving = m.record.serving
    died = heard.ReviveFailed("no luck") if serving is None else heard.Died(serving, "exited with status 3")
    return m.hear(died, at_s)


def said(m: Machine, kind: type) -> list[object]:
    return [message for message in m.record.outbox if isinstance(message, kind)]


def test_fewer_crashes_than_a_loop_only_restart() -> None:
    m = on_v2()
    crash(m, 1)
    crash(m, 2)
    assert said(m, ComponentCrashLooping) == []
    assert m.record.current == V2
    assert "Revive" in m.names()


def test_what_is_started_again_after_a_switch_is_another_instance_than_what_was_started_again_before() -> (
    None
):
    m = Machine()
    m.apply(apply((1, 1), V1))
    m.hear(heard.Commanded(apply((2, 1), V2, V1)))
    m.staged()
    (start,) = (effect for effect in m.last if isinstance(effect, do.Start))
    crash(m, 1)
    (before,) = (effect for effect in m.last if isinstance(effect, do.Revive))
    m.hear(heard.Revived(Instance(id=before.standby, target=V1, pid=7)))
    m.hear(heard.Proven(m.cause, start.instance.model_copy(update={"pid": 8})))
    m.hear(heard.Switched(m.cause, T0))
    m.hear(heard.Drained(m.cause))
    assert m.record.warm is not None
    assert m.record.warm.id == before.standby
    crash(m, 2)
    (after,) = (effect for effect in m.last if isinstance(effect, do.Revive))
    assert after.standby != before.standby


def test_crashes_that_are_far_apart_are_no_loop() -> None:
    m = on_v2()
    for at in (0, 50, 100, 150, 200):
        crash(m, at)
    assert said(m, ComponentCrashLooping) == []


def test_a_loop_is_said_and_the_node_returns_to_the_version_before() -> None:
    m = on_v2()
    for at in (1, 2, 3):
        crash(m, at)
    [loop], [back] = said(m, ComponentCrashLooping), said(m, ReturnedToPrevious)
    assert isinstance(loop, ComponentCrashLooping)
    assert isinstance(back, ReturnedToPrevious)
    assert (loop.root, loop.crashes, loop.returning, loop.rollout) == (V2.root, 3, True, "r1")
    assert (back.version, back.left_version, back.warm) == ("v1", "v2", False)
    assert (m.record.current, m.record.previous, m.record.state) == (V1, V2, S.SERVING)
    [moved] = [e for e in m.last if isinstance(e, do.CommitSwitch)]
    assert (moved.current, moved.previous) == (V1.root, V2.root)
    [revive] = [e for e in m.last if isinstance(e, do.Revive)]
    assert (revive.target, revive.attempt) == (V1, 0)
    shown = m.record.observed()
    assert (shown.root, shown.returned_from) == (V1.root, "v2")
    assert "returned to v1: v2 crashed 3 times within 60 s" in (shown.reason or "")


def test_the_warm_process_serves_at_once() -> None:
    m = on_v2(warm=True)
    warm = m.record.warm
    for at in (1, 2, 3):
        crash(m, at)
    assert m.record.serving == warm
    assert m.record.warm is None
    assert "Revive" not in m.names()
    assert do.ResumeOld(warm) in m.last  # type: ignore[arg-type]
    [back] = said(m, ReturnedToPrevious)
    assert isinstance(back, ReturnedToPrevious)
    assert back.warm


def test_the_warm_process_serves_although_the_executor_crashed_before_it_could_say_so() -> None:
    m = on_v2(warm=True)
    warm = m.record.warm
    assert warm is not None
    for at in (1, 2, 3):
        crash(m, at)
    m.hear(heard.Observed((warm,)))
    assert do.ResumeOld(warm) in m.last


def test_it_never_flaps_back() -> None:
    m = on_v2()
    for at in range(1, 20):
        crash(m, at)
    assert m.record.current == V1
    assert len(said(m, ReturnedToPrevious)) == 1
    assert len(said(m, ComponentCrashLooping)) == 6


def test_after_a_revert_nothing_goes_back_to_what_was_taken_back() -> None:
    m = on_v2()
    m.apply(apply((2, 2), V1, V2, direction=Direction.REVERT))
    for at in (1, 2, 3):
        crash(m, at)
    assert m.record.current == V1
    assert said(m, ReturnedToPrevious) == []


def test_the_policy_restart_stays() -> None:
    stay = target("v2", crash_loop=BACK["crash_loop"])
    m = on_v2(stay)
    for at in (1, 2, 3):
        crash(m, at)
    [loop] = said(m, ComponentCrashLooping)
    assert isinstance(loop, ComponentCrashLooping)
    assert not loop.returning
    assert m.record.current == stay
    assert "Revive" in m.names()


@pytest.mark.parametrize("state", [S.STAGING, S.STARTING])
def test_during_a_step_the_step_decides_what_serves(state: S) -> None:
    m = on_v2()
    m.hear(heard.Commanded(apply((3, 1), target("v3"), V2)))
    if state is S.STARTING:
        m.staged()
    assert m.record.state is state
    for at in (1, 2, 3):
        crash(m, at)
    assert m.record.current == V2
    assert len(said(m, ComponentCrashLooping)) == 1


def test_the_next_forward_step_ends_it() -> None:
    m = on_v2()
    for at in (1, 2, 3):
        crash(m, at)
    m.hear(heard.Revived(Instance(id="again", target=V1, pid=9)))
    m.apply(apply((4, 1), target("v3"), V1))
    assert m.record.returned_from is None
    assert m.record.may_return


def test_deciding_again_says_the_same() -> None:
    m = on_v2()
    crash(m, 1)
    crash(m, 2)
    before: ComponentRecord = m.record
    given, now = heard.ReviveFailed("no luck"), T0 + timedelta(seconds=3)
    assert decide(before, given, now) == decide(before, given, now)
