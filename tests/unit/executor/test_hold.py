"""What a removal holds: paused and warm, back in no time, and gone by itself."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bumpless.common.contract.events import StepOutcome
from bumpless.common.model.fleet import ComponentState as S
from bumpless.executor import effects as do
from bumpless.executor import inputs as heard
from bumpless.executor.record import ComponentRecord, Instance
from unit.executor.machine import Machine
from unit.executor.making import T0, apply, target

V1, V2 = target("v1"), target("v2")
HOLD_S = 600.0


def removing() -> Machine:
    m = Machine()
    m.apply(apply((1, 1), V1))
    m.hear(heard.Commanded(apply((2, 1), None, V1, hold_s=HOLD_S)))
    return m


def held() -> Machine:
    m = removing()
    m.hear(heard.Drained(m.cause, (), T0))
    return m


def started(m: Machine) -> do.Start:
    (found,) = (e for e in m.last if isinstance(e, do.Start))
    return found


def test_a_removed_instance_is_held_and_counts_as_absent() -> None:
    m = removing()
    serving = m.record.serving
    assert serving is not None
    (retire,) = (e for e in m.last if isinstance(e, do.Retire))
    assert retire.hold
    m.hear(heard.Drained(m.cause, (), T0))
    assert (m.record.state, m.record.current, m.record.serving) == (S.ABSENT, None, None)
    assert (m.record.warm, m.record.warm_until) == (serving, T0 + timedelta(seconds=HOLD_S))
    assert m.names() == ["KeepWarm"]
    assert m.finished().outcome is StepOutcome.DONE
    assert m.record.takes_traffic == ()
    seen = m.record.observed()
    assert (seen.target, seen.held, seen.held_until) == (None, "v1", m.record.warm_until)


def test_the_way_back_resumes_it() -> None:
    m = held()
    serving = m.record.warm
    m.hear(heard.Commanded(apply((2, 2), V1)))
    m.staged()
    assert started(m).reuse
    assert started(m).instance == serving
    m.proven()
    m.hear(heard.Switched(m.cause, T0))
    assert (m.record.state, m.record.serving, m.record.warm) == (S.SERVING, serving, None)
    assert m.finished().outcome is StepOutcome.DONE


def test_after_the_hold_it_is_stopped() -> None:
    m = held()
    assert m.record.warm is not None
    m.hear(heard.Cooled(m.record.warm), HOLD_S)
    assert (m.record.warm, m.names()) == (None, ["StopOld"])
    assert m.record.previous == V1
    assert m.record.observed().held is None


def test_one_that_dies_is_not_started_again() -> None:
    m = held()
    assert m.record.warm is not None
    m.hear(heard.Died(m.record.warm, "killed"))
    assert (m.record.warm, m.names()) == (None, [])
    m.hear(heard.Commanded(apply((2, 2), V1)))
    m.staged()
    assert not started(m).reuse


def test_a_new_version_takes_its_place() -> None:
    m = held()
    serving = m.record.warm
    m.apply(apply((3, 1), V2))
    assert (m.record.current, m.record.warm) == (V2, None)
    assert m.record.stopping == (serving,)


@pytest.mark.parametrize("coming", [False, True])
def test_a_restart_of_the_executor_leaves_it_paused(coming: bool) -> None:
    m = held()
    if coming:
        m.hear(heard.Commanded(apply((3, 1), V2)))
        assert m.record.state is S.STAGING
    again = Machine(ComponentRecord.model_validate_json(m.record.model_dump_json()))
    again.hear(heard.Observed(tuple(i for i in m.record.instances if i.pid)), 10)
    assert again.names()[:2] == ["PauseOld", "KeepWarm"]
    (warm,) = (e for e in again.last if isinstance(e, do.KeepWarm))
    assert warm.until == T0 + timedelta(seconds=HOLD_S)


def test_the_way_back_does_not_wait_for_the_drain() -> None:
    m = removing()
    serving = m.record.serving
    m.hear(heard.Commanded(apply((2, 2), V1)))
    (restore,) = (e for e in m.last if isinstance(e, do.Restore))
    assert restore.serving == serving
    m.hear(heard.Restored(m.cause, serving))
    assert (m.record.state, m.record.current, m.record.serving) == (S.SERVING, V1, serving)
    assert m.finished().outcome is StepOutcome.ALREADY


def test_another_version_waits_for_the_drain() -> None:
    m = removing()
    m.hear(heard.Commanded(apply((3, 1), V2)))
    assert m.record.waiting is not None
    m.hear(heard.Drained(m.cause, (), T0))
    assert m.record.state is S.STAGING


def test_nothing_is_held_that_must_not_run_beside_another() -> None:
    alone = V1.model_copy(update={"run": V1.run.model_copy(update={"overlap": False})})
    instance = Instance(id="one", target=alone, pid=7)
    m = Machine(
        ComponentRecord(node="node-a", component="api", state=S.SERVING, current=alone, serving=instance)
    )
    m.hear(heard.Commanded(apply((2, 1), None, alone, hold_s=HOLD_S)))
    (retire,) = (e for e in m.last if isinstance(e, do.Retire))
    assert not retire.hold
