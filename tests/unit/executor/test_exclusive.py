"""Components that must not run twice: the way of a switch, every way back, and a walk in which two never work at once."""

from __future__ import annotations

from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bumpless.common.contract.events import StepOutcome
from bumpless.common.model.fleet import ComponentState as S
from bumpless.common.model.plan import Direction, Target
from bumpless.executor import effects as do
from bumpless.executor import inputs as heard
from bumpless.executor.exclusive import NOBODY, REMEMBERED
from bumpless.executor.record import Instance
from unit.executor.machine import Machine
from unit.executor.making import T0, apply, target

E = TypeVar("E", bound=do.Effect)
V1, V2, V3 = (target(v, overlap=False) for v in ("v1", "v2", "v3"))
BESIDE = target("v0")


class Alone(Machine):
    """A machine of exclusive targets, with shorthands for what the outside answers."""

    def order(self, kind: type[E]) -> E:
        (found,) = (e for e in self.last if isinstance(e, kind))
        return found

    def ready(self) -> Instance:
        """The new instance is started and ready."""
        self.staged()
        return self.proven()

    def gone(self, *cut: str) -> None:
        self.hear(heard.Drained(self.cause, cut))

    def works(self, *lost: str) -> do.Activate:
        order = self.order(do.Activate)
        self.hear(heard.Activated(order.instance, lost))
        return order

    def switched(self) -> None:
        self.hear(heard.Switched(self.cause, T0))

    def install(self) -> Instance:
        self.hear(heard.Commanded(apply((1, 1), V1)))
        first = self.ready()
        self.gone()
        self.works()
        self.switched()
        return first

    def restored(self) -> Instance:
        """The earlier version is there again, waiting."""
        order = self.order(do.Restore)
        assert order.exclusive
        assert order.target is not None
        cold = Instance(id=order.standby, target=order.target, pid=77, standby=True)
        self.hear(heard.Restored(self.cause, cold))
        return cold


def test_an_upgrade_stops_the_old_one_before_the_new_one_works() -> None:
    m = Alone()
    old = m.install()
    assert (m.record.state, m.record.lineage) == (S.SERVING, (old.id,))
    m.hear(heard.Commanded(apply((2, 1), V2, V1)))
    m.staged()
    start = m.order(do.Start)
    assert (start.instance.standby, start.reuse) == (True, False)
    new = m.proven()
    assert (m.record.state, m.names()) == (S.DRAINING, ["StopReviving", "Vacate"])
    assert m.record.serving is not None
    assert m.order(do.Vacate).instance == m.record.serving
    assert [i.id for i in m.record.takes_traffic] == [old.id], "a standby takes nothing"
    assert m.record.observed().target == V1
    m.gone("1 requests in flight")
    assert (m.record.state, m.record.serving, m.names()) == (S.SWITCHING, None, ["Activate"])
    activate = m.works("the state was not read")
    assert (activate.instance.id, activate.after, activate.heirs_of) == (new.id, (), (old.id,))
    assert activate.soak
    assert m.names() == ["CommitSwitch"]
    m.switched()
    assert (m.record.state, m.record.current, m.record.previous) == (S.SERVING, V2, V1)
    assert (m.record.warm, m.record.lineage) == (None, (new.id,))
    done = m.finished()
    assert (done.outcome, done.switched_at) == (StepOutcome.DONE, T0)
    assert done.cut == ("1 requests in flight", "the state was not read")
    assert set(done.seconds) == {"staging", "starting", "draining", "switching"}


def test_the_first_one_ever_may_take_over_nobodys_state() -> None:
    m = Alone()
    m.hear(heard.Commanded(apply((1, 1), V1)))
    m.ready()
    m.gone()
    assert m.order(do.Activate).heirs_of == (NOBODY,)


def upgrading(state: S) -> tuple[Alone, Instance, Instance]:
    """On the way from v1 to v2, with the new instance alive: the machine, the old one and the new one."""
    m = Alone()
    old = m.install()
    m.hear(heard.Commanded(apply((2, 1), V2, V1)))
    m.staged()
    born = m.order(do.Start).instance.model_copy(update={"pid": 50})
    m.hear(heard.Started(m.cause, born))
    if state is not S.STARTING:
        m.hear(heard.Proven(m.cause, born))
    if state is S.SWITCHING:
        m.gone()
    assert m.record.state is state
    return m, old, born


def test_a_standby_that_fails_leaves_the_old_one_alone() -> None:
    m, old, new = upgrading(S.STARTING)
    m.hear(heard.StartFailed(m.cause, "no port"))
    undo = m.order(do.Restore)
    assert (undo.untouched, undo.serving and undo.serving.id) == (True, old.id)
    m.hear(heard.Restored(m.cause, m.record.serving))
    order = m.works()
    assert (order.instance.id, order.after, order.heirs_of) == (old.id, (), None), (
        "a standby is not waited for"
    )
    assert (m.record.state, m.record.lineage, m.finished().outcome) == (
        S.SERVING,
        (old.id,),
        StepOutcome.FAILED,
    )
    assert [i.id for i in m.record.stopping] == [new.id]


def test_a_death_of_the_standby_while_the_old_one_drains_brings_that_back() -> None:
    m, old, new = upgrading(S.DRAINING)
    m.hear(heard.Died(new, "was killed by SIGKILL"))
    undo = m.order(do.Restore)
    assert (undo.untouched, undo.serving and undo.serving.id) == (False, old.id)
    cold = m.restored()
    order = m.works()
    assert (order.instance.id, order.heirs_of) == (cold.id, (old.id,))
    assert (m.record.state, m.record.current, m.record.lineage) == (S.SERVING, V1, (cold.id,))


@pytest.mark.parametrize("how", ["refused", "died", "links"])
def test_a_new_one_that_fails_at_work_is_gone_before_the_old_version_works_again(how: str) -> None:
    m, old, new = upgrading(S.SWITCHING)
    fresh = m.record.fresh
    assert fresh is not None
    if how == "refused":
        m.hear(heard.ActivateFailed(fresh, "expected 200, found 500: no such state"))
    elif how == "died":
        m.hear(heard.Died(fresh, "was killed by SIGSEGV"))
    else:
        m.works()
        m.hear(heard.SwitchFailed(m.cause, "EIO"))
    pauses = [] if how == "died" else ["PauseOld"]
    assert m.names() == ["Abort", "StopReviving", *pauses, "Restore"]
    assert m.order(do.Abort).end is None, "it holds the sockets until the other one does"
    assert m.order(do.Restore).serving is None
    cold = m.restored()
    assert m.names() == (["Activate"] if how == "died" else ["StopOld", "Activate"])
    order = m.works()
    ending = [] if how == "died" else [new.id]
    assert ([i.id for i in order.after], order.heirs_of) == (ending, (new.id, old.id))
    assert (order.instance.id, order.soak) == (cold.id, False)
    assert (m.record.state, m.record.serving and m.record.serving.id) == (S.SERVING, cold.id)
    assert (m.record.current, m.finished().outcome) == (V1, StepOutcome.FAILED)


def test_when_neither_version_works_it_is_stuck_and_the_current_one_is_tried_again() -> None:
    m, old, new = upgrading(S.SWITCHING)
    assert m.record.fresh is not None
    m.hear(heard.ActivateFailed(m.record.fresh, "no such state"))
    cold = m.restored()
    m.hear(heard.ActivateFailed(cold, "no such state either"))
    assert (m.record.state, m.finished().outcome) == (S.STUCK, StepOutcome.STUCK)
    assert m.record.serving is None
    assert {i.id for i in m.record.stopping} == {new.id, cold.id}
    revive = m.order(do.Revive)
    assert revive.exclusive
    m.hear(heard.Revived(Instance(id="again", target=V1, pid=9, standby=True)))
    order = m.works()
    assert {i.id for i in order.after} == {new.id, cold.id}
    assert order.heirs_of == (cold.id, new.id, old.id)
    assert (m.record.state, m.record.lineage) == (S.SERVING, ("again",))


@pytest.mark.parametrize("works", [True, False])
def test_what_was_ordered_before_the_step_failed_does_not_end_its_undoing(works: bool) -> None:
    """A restart orders the serving one to work; the answer comes after the new one has died."""
    m, old, new = upgrading(S.STARTING)
    m.hear(heard.Observed(m.record.instances))
    order = m.order(do.Activate)
    assert (order.instance.id, order.command) == (old.id, None)
    m.hear(heard.Died(new, "crashed"))
    assert "Restore" in m.names()
    if works:
        m.hear(heard.Activated(order.instance, beside=True))
    else:
        m.hear(heard.ActivateFailed(order.instance, "x", beside=True))
    assert (m.record.state, m.names()) == (S.STARTING, [])
    m.hear(heard.Restored(m.cause, old))
    m.works()
    assert (m.record.state, m.finished().outcome) == (S.SERVING, StepOutcome.FAILED)


def test_after_a_crash_the_next_one_takes_over_only_what_that_one_left() -> None:
    m = Alone()
    m.install()
    first = m.record.serving
    assert first is not None
    m.hear(heard.Died(first, "was killed by SIGSEGV"))
    assert m.order(do.Revive).exclusive
    again = Instance(id="again", target=V1, pid=9, standby=True)
    m.hear(heard.Revived(again))
    order = m.order(do.Activate)
    assert (order.command, order.after, order.heirs_of) == (None, (), (first.id,))
    m.hear(heard.ActivateFailed(again, "no such state"))
    assert m.names() == ["StopOld", "Revive"]
    assert (m.record.crashes, m.record.serving) == (2, None)
    m.hear(heard.Revived(Instance(id="third", target=V1, pid=10, standby=True)))
    assert m.order(do.Activate).heirs_of == ("again", first.id)
    assert [i.id for i in m.order(do.Activate).after] == ["again"]


def test_a_line_of_failed_attempts_is_bounded_and_ends_with_the_one_that_worked() -> None:
    m = Alone()
    first = m.install()
    assert m.record.serving is not None
    m.hear(heard.Died(m.record.serving, "x"))
    for attempt in range(3 * REMEMBERED):
        one = Instance(id=f"a{attempt}", target=V1, pid=9, standby=True)
        m.hear(heard.Revived(one))
        m.hear(heard.ActivateFailed(one, "x"))
        m.hear(heard.Died(one, "x"))
    assert len(m.record.lineage) == REMEMBERED + 2
    assert m.record.lineage[-1] == first.id


def test_a_revived_one_that_comes_while_the_new_one_takes_over_does_not_work() -> None:
    m, old, _ = upgrading(S.STARTING)
    m.hear(heard.Died(old, "x"))
    assert m.record.fresh is not None
    m.hear(heard.Proven(m.cause, m.record.fresh))
    assert m.order(do.Vacate).instance is None
    m.hear(heard.Revived(Instance(id="late", target=V1, pid=9, standby=True)))
    assert m.names() == ["StopOld"]
    m.gone()
    assert m.order(do.Activate).after == (), "it only ever waited"


def test_a_warm_instance_of_an_earlier_way_of_running_goes_first() -> None:
    m = Alone()
    m.apply(apply((1, 1), BESIDE))
    other = BESIDE.model_copy(update={"version": "v00"})
    m.apply(apply((2, 1), other, BESIDE))
    warm, old = m.record.warm, m.record.serving
    assert warm is not None
    m.hear(heard.Commanded(apply((3, 1), V1, other)))
    m.staged()
    assert m.names() == ["StopOld", "Start"]
    m.proven()
    assert m.order(do.Vacate).instance == old
    m.gone()
    assert m.order(do.Activate).after == (warm,), "it may still finish a request"


def test_going_back_while_the_old_one_drains_keeps_it() -> None:
    m, old, _ = upgrading(S.DRAINING)
    m.hear(heard.Commanded(apply((2, 2), V1, V2, direction=Direction.REVERT)))
    assert m.names() == ["Abort", "StopReviving", "Restore"]
    m.hear(heard.Restored(m.cause, m.record.serving))
    m.works()
    outcomes = [
        r.outcome.value for r in m.record.outbox[-2:] if not isinstance(r, str) and hasattr(r, "outcome")
    ]
    assert outcomes == ["failed", "already"]
    assert (m.record.state, m.record.serving and m.record.serving.id) == (S.SERVING, old.id)


def test_a_later_revert_is_the_same_dance() -> None:
    m = Alone()
    m.install()
    m.hear(heard.Commanded(apply((2, 1), V2, V1)))
    new = m.ready()
    m.gone()
    m.works()
    m.switched()
    m.hear(heard.Commanded(apply((2, 2), V1, V2, direction=Direction.REVERT)))
    m.ready()
    assert m.order(do.Vacate).instance == m.record.serving
    m.gone()
    assert m.works().heirs_of == (new.id,)
    m.switched()
    assert (m.record.current, m.record.warm, m.record.stopping) == (V1, None, ())


RESUMED = {S.STARTING: ["Activate", "Start"], S.DRAINING: ["Vacate"], S.SWITCHING: ["Activate"]}


@pytest.mark.parametrize("state", RESUMED)
def test_after_a_restart_with_everything_alive_the_state_goes_on(state: S) -> None:
    m, old, new = upgrading(state)
    m.hear(heard.Observed(m.record.instances))
    assert m.names() == RESUMED[state]
    activates = {e.instance.id: e for e in m.last if isinstance(e, do.Activate)}
    if state is S.STARTING:
        assert activates[old.id].heirs_of is None
        assert m.order(do.Start).instance.standby
    if state is S.SWITCHING:
        assert activates[new.id].heirs_of == (old.id,)


def test_after_a_restart_in_the_undoing_the_one_that_waits_is_kept_and_activated() -> None:
    m, _, new = upgrading(S.SWITCHING)
    m.hear(heard.ActivateFailed(new, "x"))
    cold = m.restored()
    m.hear(heard.Observed(m.record.instances))
    undo = m.order(do.Restore)
    assert undo.serving is not None
    assert undo.serving.id == cold.id
    m.hear(heard.Restored(m.cause, undo.serving))
    order = m.works()
    assert [i.id for i in order.after] == [new.id]
    assert m.record.state is S.SERVING


VERSIONS: dict[str, Target | None] = {"v1": V1, "v2": V2, "beside": BESIDE, "removed": None}
MOVES = st.one_of(
    st.sampled_from(["yes", "yes", "no", "half"]),
    st.sampled_from(["yes", "yes", "revival", "revival", "revival fails", "revival half"]),
    st.sampled_from(["yes", "die fresh", "die serving", "die stopping", "restart", "reboot"]),
    st.sampled_from(list(VERSIONS)),
    st.sampled_from(["yes", "drain", "stood down", "undrain"]),
)
WORK = (
    do.Stage
    | do.Start
    | do.CommitSwitch
    | do.Install
    | do.DrainOld
    | do.Vacate
    | do.Activate
    | do.Retire
    | do.Restore
)


class Node:
    """What the machine's orders do: processes by id, those that may work, the work and the revival under way.

    `half`: an order was carried out, and its answer never came.
    """

    def __init__(self) -> None:
        self.machine = Machine()
        self.alive: dict[str, Instance] = {}
        self.working: set[str] = set()
        self.work: do.Effect | None = None
        self.revival: do.Effect | None = None
        self.leaving: Instance | None = None
        self.born = 0

    def hear(self, given: heard.Input) -> None:
        for effect in self.machine.hear(given).effects:
            match effect:
                case do.Abort():
                    self.work = None
                case do.StopReviving():
                    self.revival = None
                case do.Revive() | do.Activate(command=None):
                    self.revival = effect
                case do.StandDown():
                    self.leaving = effect.instance
                case do.StayUp():
                    self.leaving = None
                case do.ResumeOld():
                    self.starts_to_work(effect.instance)
                case _ if isinstance(effect, WORK):
                    self.work = effect
        now = self.machine.record
        lost = {name for name in self.working if not self.alive[name].target.run.overlap} - {
            i.id for i in now.instances
        }
        assert not lost, "a process that works alone is in no record"
        assert all(not i.standby for i in now.instances if i.id in self.working), "a standby that works"

    def starts(self, instance: Instance) -> Instance:
        self.born += 1
        born = instance.model_copy(update={"pid": 1000 + self.born})
        self.alive[born.id] = born
        if not born.standby:
            self.starts_to_work(born)
        return born

    def starts_to_work(self, instance: Instance) -> None:
        if instance.id not in self.alive:
            return
        beside = {name for name in self.working if name != instance.id}
        alone = [n for n in {*beside, instance.id} if not self.alive[n].target.run.overlap]
        assert not beside or not alone, f"{instance.id} works beside {beside}"
        self.working.add(instance.id)

    def ends(self, instance: Instance | None) -> None:
        if instance is not None and self.alive.pop(instance.id, None) is not None:
            self.working.discard(instance.id)

    def dies(self, instance: Instance | None) -> None:
        if instance is not None and instance.id in self.alive:
            self.ends(instance)
            self.hear(heard.Died(instance, "x"))

    def begins(self, effect: do.Activate) -> bool:
        """The world after an activation, if its instance lives."""
        for other in effect.after:
            self.ends(other)
        self.starts_to_work(effect.instance)
        return effect.instance.id in self.alive

    def answer(self, works: bool) -> None:
        effect, self.work = self.work, None
        cause = self.machine.record.command.id if self.machine.record.command else None
        if effect is None or cause is None:
            return
        match effect:
            case do.Stage():
                self.hear(heard.Staged(cause, "full", 1, 1) if works else heard.StageFailed(cause, "x"))
            case do.Start():
                if effect.reuse:
                    born = effect.instance
                else:
                    born = self.alive.get(effect.instance.id) or self.starts(effect.instance)
                    self.work = None
                    self.hear(heard.Started(cause, born))
                if works and born.id in self.alive:
                    self.starts_to_work(born) if effect.reuse else None
                    self.hear(heard.Proven(cause, born))
                else:
                    self.hear(heard.StartFailed(cause, "x"))
            case do.Vacate() if works:
                self.ends(effect.instance)
                self.hear(heard.Drained(cause))
            case do.Vacate():
                self.hear(heard.ActivateFailed(effect.fresh, "it does not go"))
            case do.Activate():
                done = works and self.begins(effect)
                given = heard.Activated if done else heard.ActivateFailed
                self.hear(
                    heard.Activated(effect.instance)
                    if given is heard.Activated
                    else heard.ActivateFailed(effect.instance, "x")
                )
            case do.CommitSwitch() | do.Install():
                self.hear(heard.Switched(cause, T0) if works else heard.SwitchFailed(cause, "x"))
            case do.DrainOld():
                self.hear(heard.Drained(cause))
            case do.Retire():
                self.ends(effect.instance)
                self.hear(heard.Drained(cause, (), T0))
            case do.Restore() if works:
                self.hear(heard.Restored(cause, self.restores(effect)))
            case do.Restore():
                self.hear(heard.RestoreFailed(cause, "x"))

    def restores(self, effect: do.Restore) -> Instance | None:
        if effect.serving is not None and effect.serving.id in self.alive:
            return effect.serving
        if effect.target is None or effect.idle:
            return None
        return self.starts(Instance(id=effect.standby, target=effect.target, standby=effect.exclusive))

    def revives(self, works: bool) -> None:
        effect, self.revival = self.revival, None
        match effect:
            case do.Revive() if works:
                born = Instance(id=effect.standby, target=effect.target, standby=effect.exclusive)
                self.hear(heard.Revived(self.starts(born)))
            case do.Revive():
                self.hear(heard.ReviveFailed("x"))
            case do.Activate() if works and self.begins(effect):
                self.hear(heard.Activated(effect.instance))
            case do.Activate():
                self.hear(heard.ActivateFailed(effect.instance, "x"))

    def restart(self) -> None:
        self.work = self.revival = self.leaving = None
        known = {i.id for i in self.machine.record.instances}
        for instance in [i for i in self.alive.values() if i.id not in known]:
            self.ends(instance)
        found = [self.alive[i.id] for i in self.machine.record.instances if i.id in self.alive]
        # What the record says of it is what the executor knows; only its process is seen.
        kept = {i.id: i for i in self.machine.record.instances}
        self.hear(heard.Observed(tuple(kept[i.id].model_copy(update={"pid": i.pid}) for i in found)))

    def move(self, move: str) -> None:
        record = self.machine.record
        match move:
            case _ if move in VERSIONS:
                number = (max(record.number[0], 0) + 1, 1)
                self.hear(heard.Commanded(apply(number, VERSIONS[move], record.current)))
            case "yes" | "no":
                self.answer(move == "yes")
            case "half" if isinstance(self.work, do.Activate):
                self.begins(self.work)
            case "revival" | "revival fails":
                self.revives(move == "revival")
            case "revival half" if isinstance(self.revival, do.Activate):
                self.begins(self.revival)
            case "die fresh":
                self.dies(record.fresh)
            case "die serving":
                self.dies(record.serving)
            case "die stopping" if record.stopping:
                self.dies(record.stopping[0])
            case "drain" | "undrain":
                self.hear(heard.Availability(move == "drain"))
            case "stood down" if self.leaving is not None:
                left, self.leaving = self.leaving, None
                self.hear(heard.StoodDown(left))
            case "restart":
                self.restart()
            case "reboot":
                self.alive.clear()
                self.working.clear()
                self.restart()


@settings(max_examples=150, deadline=None)
@given(st.lists(MOVES, max_size=40))
def test_two_never_work_at_once_whatever_happens(moves: list[str]) -> None:
    node = Node()
    for move in ("v1", *["yes"] * 5, "v2", "yes", "yes", *moves):
        node.move(move)
        record = node.machine.record
        ids = [i.id for i in record.instances]
        assert len(ids) == len(set(ids)), "one process in two roles"
        assert type(record).model_validate_json(record.model_dump_json()) == record


def test_the_walk_reaches_a_switch_and_its_undoing() -> None:
    """The walk above would prove nothing if its node got nowhere."""
    node = Node()
    for number, version in enumerate((V1, V2, V3), start=1):
        before: Target | None = node.machine.record.current
        node.hear(heard.Commanded(apply((number, 1), version, before)))
        for move in ("yes", "yes", "yes", "half", "yes" if number < 3 else "no", "yes", "yes"):
            node.move(move)
    record = node.machine.record
    assert (record.state, record.current, record.result and record.result.outcome) == (
        S.SERVING,
        V2,
        "failed",
    )  # type: ignore[union-attr]
    assert node.working == {record.serving.id if record.serving else ""}


def test_beside_one_that_does_not_go_nothing_works_whatever_comes_next() -> None:
    m, _, new = upgrading(S.SWITCHING)
    assert m.record.fresh is not None
    m.hear(heard.ActivateFailed(m.record.fresh, "x"))
    m.hear(heard.RestoreFailed(m.cause, "it does not go"))
    m.hear(heard.Commanded(apply((3, 1), BESIDE, None)))
    m.staged()
    assert m.order(do.Start).instance.standby
    born = m.proven()
    m.hear(heard.Died(new, "at last"))
    m.gone()
    assert m.order(do.Activate).instance.id == born.id
    m.works()
    m.switched()
    assert (m.record.state, m.record.current) == (S.SERVING, BESIDE)
