"""The machine of a component: the whole product of states and inputs, the table, and what must never happen."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bumpless.common.contract.base import MessageId
from bumpless.common.contract.events import StepFinished, StepOutcome, StepStaged
from bumpless.common.errors import Broken
from bumpless.common.model.fleet import ComponentState as S
from bumpless.common.model.plan import Direction
from bumpless.executor import effects as do
from bumpless.executor import inputs as heard
from bumpless.executor import results
from bumpless.executor.component import PAIRS, Pair
from bumpless.executor.record import RESTING, Command, ComponentRecord, Instance
from unit.executor.machine import Machine
from unit.executor.making import T0, apply, stage, target

V1, V2, V3 = target("v1"), target("v2"), target("v3")
SERVES = (StepOutcome.DONE, StepOutcome.ALREADY)


def at(state: S) -> Machine:
    """A machine in `state`, on the way from v1 to v2 where that is a way."""
    m = Machine()
    if state is S.ABSENT:
        return m
    m.apply(apply((1, 1), V1))
    if state is S.SERVING:
        return m
    m.hear(heard.Commanded(apply((2, 1), V2, V1)))
    if state is S.STAGING:
        return m
    m.staged()
    if state is S.STARTING:
        return m
    if state is S.STUCK:
        m.hear(heard.StartFailed(m.cause, "no"))
        m.hear(heard.RestoreFailed(m.cause, "nothing works"))
        return m
    m.proven()
    if state is S.SWITCHING:
        return m
    m.hear(heard.Switched(m.cause, T0))
    assert m.record.state is S.DRAINING
    return m


SOMEBODY = Instance(id="somebody", target=V1, pid=5)


def sample(kind: type[heard.Input], cause: MessageId) -> heard.Input:
    samples: dict[type[heard.Input], heard.Input] = {
        heard.Commanded: heard.Commanded(apply((9, 9), V3, V1)),
        heard.Staged: heard.Staged(cause, "full", 1, 1),
        heard.StageFailed: heard.StageFailed(cause, "x"),
        heard.Started: heard.Started(cause, SOMEBODY),
        heard.Proven: heard.Proven(cause, SOMEBODY),
        heard.StartFailed: heard.StartFailed(cause, "x"),
        heard.Switched: heard.Switched(cause, T0),
        heard.SwitchFailed: heard.SwitchFailed(cause, "x"),
        heard.Drained: heard.Drained(cause),
        heard.Restored: heard.Restored(cause, SOMEBODY),
        heard.RestoreFailed: heard.RestoreFailed(cause, "x"),
        heard.Activated: heard.Activated(SOMEBODY),
        heard.ActivateFailed: heard.ActivateFailed(SOMEBODY, "x"),
        heard.Died: heard.Died(SOMEBODY, "x"),
        heard.Revived: heard.Revived(SOMEBODY),
        heard.ReviveFailed: heard.ReviveFailed("x"),
        heard.Cooled: heard.Cooled(SOMEBODY),
        heard.Availability: heard.Availability(True),
        heard.StoodDown: heard.StoodDown(SOMEBODY),
        heard.Acknowledged: heard.Acknowledged(cause),
        heard.Observed: heard.Observed(()),
        heard.Asked: heard.Asked(),
    }
    return samples[kind]


A, G, X = Pair.ACT, Pair.IGNORE, Pair.ILLEGAL
ORDER = (S.ABSENT, S.SERVING, S.STAGING, S.STARTING, S.SWITCHING, S.DRAINING, S.STUCK)
# fmt: off
EXPECTED: dict[type[heard.Input], tuple[Pair, ...]] = {
    #                     absent serving staging starting switching draining stuck
    heard.Commanded:     (A,     A,      A,      A,       A,        A,       A),
    heard.Staged:        (X,     X,      A,      X,       X,        X,       X),
    heard.StageFailed:   (X,     X,      A,      X,       X,        X,       X),
    heard.Started:       (G,     G,      X,      A,       X,        X,       G),
    heard.Proven:        (G,     G,      X,      A,       X,        X,       G),
    heard.StartFailed:   (G,     G,      X,      A,       X,        X,       G),
    heard.Switched:      (G,     G,      X,      X,       A,        X,       G),
    heard.SwitchFailed:  (G,     G,      X,      X,       A,        A,       G),
    heard.Drained:       (G,     G,      X,      X,       X,        A,       G),
    heard.Restored:      (X,     X,      X,      A,       A,        A,       X),
    heard.RestoreFailed: (X,     X,      X,      A,       A,        A,       X),
    heard.Activated:     (A,     A,      A,      A,       A,        A,       A),
    heard.ActivateFailed:(A,     A,      A,      A,       A,        A,       A),
    heard.Died:          (A,     A,      A,      A,       A,        A,       A),
    heard.Revived:       (A,     A,      A,      A,       A,        A,       A),
    heard.ReviveFailed:  (G,     A,      A,      A,       G,        G,       A),
    heard.Cooled:        (A,     A,      A,      A,       A,        A,       A),
    heard.Availability:  (A,     A,      A,      A,       A,        A,       A),
    heard.StoodDown:     (A,     A,      A,      A,       A,        A,       A),
    heard.Acknowledged:  (A,     A,      A,      A,       A,        A,       A),
    heard.Observed:      (A,     A,      A,      A,       A,        A,       A),
    heard.Asked:         (A,     A,      A,      A,       A,        A,       A),
}
# fmt: on


@pytest.mark.parametrize("state", ORDER)
@pytest.mark.parametrize("kind", heard.INPUTS)
def test_every_pair_of_state_and_input_does_what_the_table_says(state: S, kind: type[heard.Input]) -> None:
    expected = EXPECTED[kind][ORDER.index(state)]
    assert PAIRS[state, kind] is expected
    m = at(state)
    assert m.record.state is state
    if m.record.command is None and kind in heard.OfWork.__args__:
        return  # without a command there is no work that could answer
    before = m.record
    given_ = sample(kind, m.record.command.id if m.record.command else MessageId("none"))
    if expected is Pair.ILLEGAL:
        with pytest.raises(Broken, match=kind.__name__):
            m.hear(given_)
    else:
        m.hear(given_)
    if expected is Pair.IGNORE:
        assert m.record is before
        assert m.notes


@pytest.mark.parametrize("state", ORDER)
@pytest.mark.parametrize("kind", heard.OfWork.__args__)
def test_answers_of_work_that_was_given_up_change_nothing(state: S, kind: type[heard.Input]) -> None:
    m = at(state)
    before = m.record
    m.hear(sample(kind, MessageId("another command")))
    assert m.record is before
    assert "given up" in m.notes[0]


def test_a_first_install_goes_through_every_state() -> None:
    m = Machine()
    m.hear(heard.Commanded(apply((1, 1), V1)))
    assert (m.record.state, m.names()) == (S.STAGING, ["Stage"])
    m.staged()
    assert (m.record.state, m.names()) == (S.STARTING, ["Start"])
    m.proven()
    assert (m.record.state, m.names()) == (S.SWITCHING, ["StopReviving", "CommitSwitch"])
    m.hear(heard.Switched(m.cause, T0))
    assert m.record.state is S.SERVING
    done = m.finished()
    assert (done.outcome, done.root, done.switched_at) == (StepOutcome.DONE, V1.root, T0)


def test_an_upgrade_pauses_drains_and_keeps_the_old_one_warm() -> None:
    m = at(S.DRAINING)
    assert m.names() == ["DrainOld"]
    old = m.record.serving
    m.hear(heard.Drained(m.cause, ("2 requests in flight",)))
    assert m.names() == ["KeepWarm"]
    assert (m.record.current, m.record.previous, m.record.warm) == (V2, V1, old)
    assert m.finished().cut == ("2 requests in flight",)
    assert set(m.finished().seconds) == {"staging", "starting", "switching", "draining"}


def test_a_revert_resumes_the_warm_one_and_stops_the_bad_one() -> None:
    m = at(S.DRAINING)
    m.hear(heard.Drained(m.cause))
    warm = m.record.warm
    m.hear(heard.Commanded(apply((2, 2), V1, V2, direction=Direction.REVERT)))
    m.staged()
    (start,) = (e for e in m.last if isinstance(e, do.Start))
    assert (start.reuse, start.instance) == (True, warm)
    m.proven()
    m.hear(heard.Switched(m.cause, T0))
    m.hear(heard.Drained(m.cause))
    assert "StopOld" in m.names()
    assert (m.record.current, m.record.warm, m.record.serving) == (V1, None, warm)


def test_a_revert_during_the_drain_does_not_wait_for_it() -> None:
    m = at(S.DRAINING)
    old = m.record.serving
    m.hear(heard.Commanded(apply((2, 2), V1, V2, direction=Direction.REVERT)))
    assert m.record.state is S.STAGING
    assert m.names() == ["Abort", "KeepWarm", "Stage"]
    assert (m.record.current, m.record.warm) == (V2, old)
    m.staged()
    (start,) = (e for e in m.last if isinstance(e, do.Start))
    assert start.reuse


@pytest.mark.parametrize("state", [S.STAGING, S.STARTING])
def test_before_the_switch_a_newer_command_aborts_at_once(state: S) -> None:
    m = at(state)
    m.hear(heard.Commanded(apply((3, 1), V1, V2, direction=Direction.REVERT)))
    assert m.names() == ["Abort"]
    assert m.record.state is S.SERVING
    outcomes = [r.outcome for r in m.record.outbox if isinstance(r, StepFinished)]
    assert outcomes[-2:] == [StepOutcome.FAILED, StepOutcome.ALREADY]


def test_after_the_switch_a_newer_command_waits_and_is_taken_at_the_end() -> None:
    m = at(S.SWITCHING)
    m.hear(heard.Commanded(apply((3, 1), V3, V2)))
    m.hear(heard.Commanded(apply((3, 2), V3, V2)))
    assert m.record.state is S.SWITCHING
    m.hear(heard.Commanded(apply((3, 1), V3, V2)))
    assert "expected a command above" in m.notes[0]
    m.hear(heard.Switched(m.cause, T0))
    m.hear(heard.Drained(m.cause))
    assert (m.record.state, m.record.number, m.record.waiting) == (S.STAGING, (3, 2), None)


@pytest.mark.parametrize("state", [S.STARTING, S.SWITCHING, S.DRAINING])
def test_the_death_of_the_new_one_brings_the_old_one_back(state: S) -> None:
    m = at(state)
    if m.record.fresh is not None and not m.record.fresh.pid:
        m.hear(heard.Started(m.cause, m.record.fresh.model_copy(update={"pid": 7})))
    old, fresh = m.record.serving, m.record.fresh
    assert fresh is not None
    m.hear(heard.Died(fresh, "was killed by SIGSEGV; its last words: oh no"))
    (undo,) = (e for e in m.last if isinstance(e, do.Restore))
    assert (undo.serving, undo.target) == (old, V1)
    m.hear(heard.Restored(m.cause, old))
    assert (m.record.state, m.record.current, m.record.serving) == (S.SERVING, V1, old)
    assert m.finished().outcome is StepOutcome.FAILED
    assert "oh no" in (m.finished().reason or "")


def test_the_death_of_the_old_one_after_the_switch_changes_nothing() -> None:
    m = at(S.SWITCHING)
    assert m.record.serving is not None
    m.hear(heard.Died(m.record.serving, "x"))
    m.hear(heard.Switched(m.cause, T0))
    assert (m.record.state, m.finished().outcome) == (S.SERVING, StepOutcome.DONE)


def test_when_nothing_works_it_is_stuck_says_so_and_a_command_gets_it_out() -> None:
    m = at(S.STUCK)
    assert m.finished().outcome is StepOutcome.STUCK
    assert (m.finished().root, m.record.observed().target) == (None, None)
    assert "Revive" in m.names()
    m.apply(apply((3, 1), V1, V2, direction=Direction.REVERT))
    assert (m.record.state, m.finished().outcome, m.record.current) == (S.SERVING, StepOutcome.DONE, V1)


def test_a_stuck_component_that_comes_up_by_itself_serves() -> None:
    m = at(S.STUCK)
    m.hear(heard.Revived(SOMEBODY))
    assert (m.record.state, m.record.serving) == (S.SERVING, SOMEBODY)


def test_a_crash_is_answered_by_a_restart_and_the_warm_one_stands_in() -> None:
    m = at(S.DRAINING)
    m.hear(heard.Drained(m.cause))
    assert m.record.serving is not None
    m.hear(heard.Died(m.record.serving, "was killed by SIGSEGV", 3))
    assert m.names() == ["ResumeOld", "Revive"]
    assert (m.record.current, m.record.restarts) == (V2, 1)
    m.hear(heard.ReviveFailed("port"))
    m.hear(heard.Cooled(m.record.warm or SOMEBODY))
    assert m.names() == ["KeepWarm"], "without the stand-in nothing would answer"
    m.hear(heard.Revived(SOMEBODY))
    assert m.names() == ["PauseOld"]


def test_a_removal_that_cannot_be_done_is_undone_also_after_a_restart() -> None:
    m = at(S.SERVING)
    m.hear(heard.Commanded(apply((2, 1), None, V1)))
    m.hear(heard.SwitchFailed(m.cause, "the link does not go"))
    assert (m.record.state, m.names()) == (S.DRAINING, ["Abort", "StopReviving", "Restore"])
    m.hear(heard.Observed(()))
    assert m.names() == ["Abort", "StopReviving", "Restore"]
    m.hear(heard.Restored(m.cause, SOMEBODY))
    assert (m.record.state, m.record.current, m.finished().outcome) == (S.SERVING, V1, StepOutcome.FAILED)


def test_removal_retires_and_leaves_nothing_current() -> None:
    m = at(S.SERVING)
    m.hear(heard.Commanded(apply((2, 1), None, V1)))
    assert (m.record.state, m.names()) == (S.DRAINING, ["StopReviving", "Retire"])
    m.hear(heard.Drained(m.cause, (), T0))
    assert (m.record.state, m.record.current, m.record.previous) == (S.ABSENT, None, V1)
    assert m.finished().outcome is StepOutcome.DONE


REFUSALS = [
    pytest.param(
        apply((2, 1), V3, V2), S.SERVING, "expected sha256:.* to run here, found sha256:", id="before"
    ),
    pytest.param(apply((2, 1), V3, V2), S.ABSENT, "found nothing", id="before, nothing there"),
    pytest.param(apply((2, 1), V2, V1, valid_s=-1), S.SERVING, "expired at", id="expired"),
]


@pytest.mark.parametrize(("command", "state", "reason"), REFUSALS)
def test_what_is_not_as_expected_is_refused_and_nothing_touched(
    command: Command, state: S, reason: str
) -> None:
    m = at(state)
    current = m.record.current
    m.hear(heard.Commanded(command))
    assert (m.record.state, m.record.current, m.names()) == (state, current, [])
    assert m.finished().outcome is StepOutcome.REFUSED
    assert re.search(reason, m.finished().reason or "")


FOREIGN = [
    pytest.param(apply((9, 9), V2, V1, node="node-b"), id="node"),
    pytest.param(apply((9, 9), V2, V1, component="web"), id="component"),
    pytest.param(apply((9, 9), target("v2", "web"), V1), id="target"),
    pytest.param(
        apply((1, 1), V2, V1).model_copy(update={"id": MessageId("other")}), id="same number, other content"
    ),
]


@pytest.mark.parametrize("command", FOREIGN)
def test_what_is_not_ours_is_parked_and_leaves_no_trace(command: Command) -> None:
    m = at(S.SERVING)
    before = m.record
    m.hear(heard.Commanded(command))
    assert (m.record, m.names()) == (before, ["Park"])


def test_a_lower_number_is_ignored_and_the_same_one_is_answered_again() -> None:
    m = at(S.SERVING)
    done = m.finished()
    m.hear(heard.Acknowledged(done.id))
    assert not m.record.outbox
    m.hear(heard.Commanded(apply((0, 9), V2, V1)))
    assert m.last == ()
    m.hear(heard.Commanded(apply((1, 1), V1), live=False))
    assert not m.record.outbox
    m.hear(heard.Commanded(apply((1, 1), V1)))
    assert m.record.outbox == (done,)


def test_already_means_the_same_tree_run_in_the_same_way() -> None:
    m = at(S.SERVING)
    m.hear(heard.Commanded(apply((2, 1), V1, V2)))
    assert m.finished().outcome is StepOutcome.ALREADY
    other = V1.model_copy(update={"run": V1.run.model_copy(update={"env": {"A": "B"}})})
    m.hear(heard.Commanded(apply((2, 2), other, V1)))
    assert m.record.state is S.STAGING


def test_staging_changes_nothing_that_runs() -> None:
    m = at(S.SERVING)
    serving = m.record.serving
    m.hear(heard.Commanded(stage((2, 1), V2)))
    m.staged()
    assert (m.record.state, m.record.serving, m.record.current) == (S.SERVING, serving, V1)
    assert isinstance(m.record.result, StepStaged)
    assert (m.record.result.ok, m.record.result.used) == (True, "delta")
    m.hear(heard.Commanded(stage((2, 2), V3)))
    m.hear(heard.StageFailed(m.cause, "expected room, found none"))
    assert isinstance(m.record.result, StepStaged)
    assert (m.record.state, m.record.result.ok) == (S.SERVING, False)


RESUMED = {
    S.ABSENT: [],
    S.SERVING: ["ResumeOld"],
    S.STAGING: ["ResumeOld", "Stage"],
    S.STARTING: ["ResumeOld", "Start"],
    S.SWITCHING: ["CommitSwitch"],
    S.DRAINING: ["DrainOld"],
    S.STUCK: ["Revive"],
}


@pytest.mark.parametrize("state", ORDER)
def test_after_a_restart_with_everything_alive_the_state_goes_on(state: S) -> None:
    m = at(state)
    m.hear(heard.Observed(m.record.instances))
    assert m.names() == RESUMED[state]
    assert m.record.state is state


@pytest.mark.parametrize("state", [S.SERVING, S.STAGING, S.STARTING])
def test_after_a_reboot_the_current_version_is_started_again(state: S) -> None:
    m = at(state)
    m.hear(heard.Observed(()))
    assert "Revive" in m.names()
    assert m.record.serving is None


@pytest.mark.parametrize("state", [S.SWITCHING, S.DRAINING])
def test_after_a_reboot_in_the_switch_the_old_version_is_restored(state: S) -> None:
    m = at(state)
    m.hear(heard.Observed(()))
    (undo,) = (e for e in m.last if isinstance(e, do.Restore))
    assert (undo.serving, undo.target) == (None, V1)


COMMANDS = st.builds(
    apply,
    st.tuples(st.integers(1, 4), st.integers(0, 3)),
    st.sampled_from([V1, V2, V3, None]),
    st.sampled_from([V1, V2, V3, None]),
    direction=st.sampled_from(list(Direction)),
    valid_s=st.sampled_from([600.0, -1.0]),
    hold_s=st.sampled_from([0.0, 60.0]),
)
MOVES = st.one_of(
    st.builds(heard.Commanded, COMMANDS),
    st.sampled_from(
        [
            "answer",
            "fail",
            "die fresh",
            "die serving",
            "die warm",
            "cool",
            "restart",
            "reboot",
            "revive",
            "drain",
            "undrain",
            "stood down",
            "gone",
        ]
    ),
)


def answer(m: Machine, works: bool) -> None:
    """What the outside would answer to the work under way."""
    record = m.record
    if record.command is None or record.state in (S.ABSENT, S.SERVING, S.STUCK):
        return
    cause = record.command.id
    if record.failing is not None:
        starts = record.current is not None and not record.out
        back = record.serving or (
            Instance(id=f"back {cause}", target=record.current, pid=9) if starts else None
        )
        m.hear(heard.Restored(cause, back) if works else heard.RestoreFailed(cause, "x"))
        return
    good: heard.Input
    bad: heard.Input
    match record.state:
        case S.STAGING:
            good, bad = heard.Staged(cause, "full", 1, 1), heard.StageFailed(cause, "x")
        case S.STARTING:
            assert record.fresh is not None
            born = record.fresh.model_copy(update={"pid": record.fresh.pid or 8})
            good, bad = heard.Proven(cause, born), heard.StartFailed(cause, "x")
        case S.SWITCHING:
            good, bad = heard.Switched(cause, T0), heard.SwitchFailed(cause, "x")
        case _:
            good = bad = heard.Drained(cause, (), T0)
    m.hear(good if works else bad)


@settings(max_examples=300, deadline=None)
@given(st.lists(MOVES, max_size=25))
def test_whatever_happens_nothing_bad_happens(moves: list[heard.Commanded | str]) -> None:
    m = Machine()
    highest = m.record.number
    answered: dict[str, StepOutcome] = {}
    again = 0
    for move in moves:
        record = m.record
        match move:
            case heard.Commanded():
                m.hear(move)
            case "answer" | "fail":
                answer(m, move == "answer")
            case "die fresh" if record.fresh is not None and record.fresh.pid:
                m.hear(heard.Died(record.fresh, "x"))
            case "die serving" if record.serving is not None:
                m.hear(heard.Died(record.serving, "x"))
            case "die warm" if record.warm is not None:
                m.hear(heard.Died(record.warm, "x"))
            case "cool" if record.warm is not None:
                m.hear(heard.Cooled(record.warm))
            case "restart":
                m.hear(heard.Observed(tuple(i for i in record.instances if i.pid)))
            case "reboot":
                m.hear(heard.Observed(()))
            case "revive" if record.current is not None and record.serving is None:
                again += 1
                m.hear(heard.Revived(Instance(id=f"again {again}", target=record.current, pid=9)))
            case "drain" | "undrain":
                m.hear(heard.Availability(move == "drain"))
            case "stood down" if record.serving is not None:
                m.hear(heard.StoodDown(record.serving))
            case "gone" if record.stopping:
                m.hear(heard.Died(record.stopping[0], "x"))
        now = m.record
        quiet = now.state in (S.ABSENT, S.SERVING, S.STUCK, S.STAGING)
        if now.out and quiet:
            assert now.warm is None, "something of a drained node is kept"
            assert now.serving is None or now.leaving == now.serving.id, "something of a drained node works"
            assert not any(isinstance(e, do.Start | do.Revive | do.ResumeOld) for e in m.last)
        assert now.number >= highest, "a lower command was taken"
        highest = now.number
        assert (now.current is None) == (now.state is S.ABSENT) or now.state not in (S.ABSENT, S.SERVING)
        assert now.fresh is None or now.state in (S.STARTING, S.SWITCHING, S.DRAINING)
        ids = [i.id for i in now.instances]
        assert len(ids) == len(set(ids)), "one process in two roles"
        assert now.unsaid is None or results.still_at_work(now), "an answer waits for nothing"
        assert now.unsaid is None or now.state in RESTING, "an answer waits while the next step goes on"
        for result in now.outbox:
            if result not in record.outbox and now.command is not None and result.cause == now.command.id:
                serves = isinstance(result, StepFinished) and result.outcome in SERVES
                assert not serves or not results.still_at_work(now), "two versions are at work"
            if isinstance(result, StepFinished):
                assert answered.setdefault(result.id, result.outcome) is result.outcome, (
                    "two answers to one command"
                )
        starts = [
            e
            for e in m.last
            if isinstance(e, do.Start | do.Stage | do.Retire | do.Restore | do.DrainOld | do.Install)
        ]
        assert len(starts) <= 1, "two pieces of work at once"
        assert ComponentRecord.model_validate_json(now.model_dump_json()) == now, (
            "the journal loses something"
        )
        if any(isinstance(e, do.CommitSwitch | do.Install) for e in m.last):
            assert now.state is S.SWITCHING, "links moved without a written intent"
