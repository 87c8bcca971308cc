"""A component of a drained node: it ends, nothing starts it, steps put versions in place, and it comes back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bumpless.common.contract.base import PlanHash
from bumpless.common.contract.events import StepOutcome
from bumpless.common.model.fleet import ComponentState as S
from bumpless.common.model.plan import Direction
from bumpless.executor import effects as do
from bumpless.executor import inputs as heard
from bumpless.executor.record import ComponentRecord, Instance
from bumpless.executor.retention import listening
from unit.executor.machine import Machine
from unit.executor.making import T0, apply, target

V1, V2 = target("v1"), target("v2")
DRAIN, BACK = heard.Availability(True), heard.Availability(False)


def serving() -> Machine:
    m = Machine()
    m.apply(apply((1, 1), V1))
    return m


def drained() -> Machine:
    m = serving()
    instance = m.record.serving
    assert instance is not None
    m.hear(DRAIN)
    m.hear(heard.StoodDown(instance))
    m.hear(heard.Died(instance, "exited with status 0"))
    return m


def test_what_serves_is_drained_then_stopped_and_its_ports_are_closed() -> None:
    m = serving()
    instance = m.record.serving
    assert instance is not None
    m.hear(DRAIN)
    assert m.names() == ["StopReviving", "StandDown"]
    assert (m.record.state, m.record.observed().instances) == (S.SERVING, 1)
    m.hear(heard.StoodDown(instance, ("1 requests in flight",)))
    assert m.names() == ["StopOld"]
    assert m.record.observed().instances == 1
    m.hear(heard.Died(instance, "exited with status 0"))
    assert (m.record.state, m.record.current, m.record.instances) == (S.SERVING, V1, ())
    assert listening(m.record) == []
    seen = m.record.observed()
    assert (seen.root, seen.instances, seen.restarts) == (V1.root, 0, 0)
    assert "1 requests in flight" in (seen.reason or "")


def test_what_is_being_started_again_during_a_step_is_not_any_more() -> None:
    """The machine came back in the middle of a switch: the old version is started again beside the new one."""
    m = serving()
    m.hear(heard.Commanded(apply((2, 1), V2, V1)))
    m.staged()
    m.hear(heard.Observed(()))
    assert "Revive" in m.names()
    m.hear(DRAIN)
    assert m.names() == ["StopReviving"]


def test_said_twice_it_changes_nothing() -> None:
    m = drained()
    before = m.record
    m.hear(DRAIN)
    assert m.record is before
    m.hear(BACK)
    m.hear(BACK)
    assert m.last == ()


def test_undrained_it_starts_what_is_current() -> None:
    m = drained()
    m.hear(BACK)
    (revive,) = (e for e in m.last if isinstance(e, do.Revive))
    assert revive.target == V1
    m.hear(heard.Revived(Instance(id=revive.standby, target=V1, pid=9)))
    assert (m.record.serving is not None, m.record.observed().instances) == (True, 1)


def test_each_time_it_comes_back_it_is_another_instance() -> None:
    names = []
    m = drained()
    for number in range(2):
        m.hear(BACK, number)
        (revive,) = (e for e in m.last if isinstance(e, do.Revive))
        names.append(revive.standby)
        m.hear(DRAIN, number)
    assert len(set(names)) == 2


def test_undrained_before_it_has_ended_it_goes_on() -> None:
    m = serving()
    instance = m.record.serving
    assert instance is not None
    m.hear(DRAIN)
    m.hear(BACK)
    assert m.names() == ["StayUp"]
    m.hear(heard.StoodDown(instance))  # was on its way already
    assert (m.record.serving, m.names()) == (instance, [])


def test_what_is_kept_warm_goes_too() -> None:
    m = serving()
    m.apply(apply((2, 1), V2, V1))
    warm = m.record.warm
    assert warm is not None
    m.hear(DRAIN)
    assert m.names() == ["StopReviving", "StopOld", "StandDown"]
    assert (m.record.warm, m.record.stopping) == (None, (warm,))


def test_what_dies_on_a_drained_node_is_no_crash() -> None:
    m = serving()
    instance = m.record.serving
    assert instance is not None
    m.hear(DRAIN)
    m.hear(heard.Died(instance, "killed"))
    assert (m.names(), m.record.restarts, m.record.crashed_at) == ([], 0, ())


def test_a_step_puts_the_version_in_place_and_starts_nothing() -> None:
    m = drained()
    m.hear(heard.Commanded(apply((2, 1), V2, V1)))
    m.staged()
    (install,) = (e for e in m.last if isinstance(e, do.Install))
    assert (install.current, install.previous) == (V2.root, V1.root)
    m.hear(heard.Switched(m.cause, T0))
    done = m.finished()
    assert (done.outcome, done.root, "drained" in (done.reason or "")) == (StepOutcome.DONE, V2.root, True)
    assert (m.record.state, m.record.current, m.record.previous, m.record.instances) == (
        S.SERVING,
        V2,
        V1,
        (),
    )
    m.hear(BACK)
    (revive,) = (e for e in m.last if isinstance(e, do.Revive))
    assert revive.target == V2
    assert m.record.may_return


def test_what_was_put_in_place_is_taken_back_the_same_way() -> None:
    m = drained()
    for number, (after, before, way) in enumerate(
        [(V2, V1, Direction.FORWARD), (V1, V2, Direction.REVERT)], start=2
    ):
        m.hear(heard.Commanded(apply((number, 1), after, before, direction=way)))
        m.staged()
        m.hear(heard.Switched(m.cause, T0))
        assert m.finished().outcome is StepOutcome.DONE
    assert (m.record.current, m.record.may_return, m.record.instances) == (V1, False, ())


def test_links_that_cannot_be_moved_fail_the_step_and_start_nothing() -> None:
    m = drained()
    m.hear(heard.Commanded(apply((2, 1), V2, V1)))
    m.staged()
    m.hear(heard.SwitchFailed(m.cause, "no"))
    (undo,) = (e for e in m.last if isinstance(e, do.Restore))
    assert (undo.idle, undo.target) == (True, V1)
    m.hear(heard.Restored(m.cause, None))
    assert (m.record.state, m.record.current, m.names()) == (S.SERVING, V1, [])
    assert m.finished().outcome is StepOutcome.FAILED


def test_back_while_a_version_is_put_in_place_it_starts_at_once() -> None:
    m = drained()
    m.hear(heard.Commanded(apply((2, 1), V2, V1)))
    m.staged()
    m.hear(BACK)
    assert m.names() == []
    m.hear(heard.Switched(m.cause, T0))
    (revive,) = (e for e in m.last if isinstance(e, do.Revive))
    assert revive.target == V2


def test_a_component_that_is_new_here_is_put_in_place_too() -> None:
    m = Machine()
    m.hear(DRAIN)
    m.hear(heard.Commanded(apply((1, 1), V1)))
    m.staged()
    m.hear(heard.Switched(m.cause, T0))
    assert (m.record.state, m.record.current, m.record.instances) == (S.SERVING, V1, ())


def test_what_is_removed_from_a_drained_node_is_gone() -> None:
    m = drained()
    m.hear(heard.Commanded(apply((2, 1), None, V1, hold_s=60)))
    m.hear(heard.Drained(m.cause, (), T0))
    assert (m.record.state, m.record.warm, m.finished().outcome) == (S.ABSENT, None, StepOutcome.DONE)


def test_a_switch_under_way_is_finished_first() -> None:
    m = serving()
    m.hear(heard.Commanded(apply((2, 1), V2, V1)))
    m.staged()
    start = m.last
    m.hear(DRAIN)
    assert m.names() == ["StopReviving"]
    m.last = start
    fresh = m.proven()
    m.hear(heard.Switched(m.cause, T0))
    m.hear(heard.Drained(m.cause))
    assert m.record.leaving == fresh.id
    assert "StandDown" in m.names()
    assert m.record.warm is None


def test_a_download_does_not_hold_the_drain_up() -> None:
    m = serving()
    m.hear(heard.Commanded(apply((2, 1), V2, V1)))
    instance = m.record.serving
    assert (m.record.state, instance is not None) == (S.STAGING, True)
    m.hear(DRAIN)
    assert "StandDown" in m.names()
    m.staged()  # before the old one has ended
    assert m.names() == ["StopReviving", "StopOld", "Install"]
    assert m.record.stopping == (instance,)


@pytest.mark.parametrize("alive", [True, False])
def test_a_restart_of_the_executor_goes_on_with_it(alive: bool) -> None:
    m = serving()
    m.hear(DRAIN)
    again = Machine(ComponentRecord.model_validate_json(m.record.model_dump_json()))
    again.hear(heard.Observed(m.record.instances if alive else ()))
    assert again.names() == (["StandDown"] if alive else [])


def test_a_restart_while_a_version_is_put_in_place_does_it_again() -> None:
    m = drained()
    m.hear(heard.Commanded(apply((2, 1), V2, V1)))
    m.staged()
    again = Machine(ComponentRecord.model_validate_json(m.record.model_dump_json()))
    again.hear(heard.Observed(()))
    assert again.names() == ["Install"]


def test_what_is_held_after_a_switch_of_sets_goes_too() -> None:
    m = serving()
    m.hear(heard.Commanded(apply((2, 1), None, V1, hold_s=60)))
    m.hear(heard.Drained(m.cause, (), T0))
    assert m.record.warm_until == T0 + timedelta(seconds=60)
    m.hear(DRAIN)
    assert (m.record.state, m.record.warm) == (S.ABSENT, None)


def test_a_stuck_component_is_tried_again_only_when_the_node_is_back() -> None:
    m = serving()
    m.hear(heard.Commanded(apply((2, 1), V2, V1)))
    m.staged()
    m.hear(heard.StartFailed(m.cause, "no"))
    m.hear(heard.RestoreFailed(m.cause, "nothing works"))
    m.hear(DRAIN)
    m.hear(heard.ReviveFailed("again"))
    assert m.names() == []
    m.hear(BACK)
    assert [e.target for e in m.last if isinstance(e, do.Revive)] == [V1]


def test_the_plan_that_brought_what_is_current_is_remembered() -> None:
    m = serving()
    assert m.record.observed().brought_by == "sha256:plan"
    m.hear(heard.Commanded(apply((2, 1), None, V1)))
    m.hear(heard.Drained(m.cause, (), T0))
    assert m.record.observed().brought_by is None
    m = drained()
    other = apply((2, 1), V2, V1).model_copy(update={"plan_hash": PlanHash("sha256:other")})
    m.hear(heard.Commanded(other))
    m.staged()
    assert m.record.observed().brought_by == "sha256:plan"
    m.hear(heard.Switched(m.cause, T0))
    assert m.record.observed().brought_by == "sha256:other"
