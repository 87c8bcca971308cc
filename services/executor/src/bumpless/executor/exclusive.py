"""Components of which two instances must never work at once. Pure.

Every instance waits as a standby until `activate` orders it to work; that order names every other instance that may
still work, and is carried out when they are gone. It is written down before: an instance without the mark `standby`
may work. So the way of a switch is starting (the new one waits), draining (the old one is stopped), switching (the
new one works, then the links change), and the way back from anywhere is to stop the one and activate the other.
"""

from __future__ import annotations

from datetime import datetime

from bumpless.common.errors import Broken
from bumpless.common.model.fleet import ComponentState as S
from bumpless.common.model.plan import Target
from bumpless.executor import effects as do
from bumpless.executor.precheck import root_of
from bumpless.executor.record import Command, ComponentRecord, Instance
from bumpless.executor.transition import Decision, enter, instance_for, let_go, replaced, with_

REMEMBERED = 16
"""Of instances that were ordered to work and never known to."""
NOBODY = "nobody"
"""Whose state the very first instance may take over."""


def start(record: ComponentRecord, command: Command, target: Target, now: datetime) -> Decision:
    """The new instance is started to wait. A replaced one that is kept warm from an earlier way of running goes."""
    fresh = instance_for(target, command.id, "start", standby=True)
    warm = (record.warm,) if record.warm is not None else ()
    cold = with_(record, warm=None, warm_until=None, stopping=record.stopping + warm)
    effects: tuple[do.Effect, ...] = (*(do.StopOld(i) for i in warm), do.Start(command, fresh, reuse=False))
    return Decision(enter(cold, S.STARTING, now, fresh=fresh, alone=True), effects)


def vacate(record: ComponentRecord, now: datetime) -> Decision:
    """The new instance is ready: the old one goes. Also when there is none, because one may just have been revived."""
    fresh = _fresh(record)
    order = do.Vacate(_standing(record), record.serving, fresh)
    return Decision(enter(record, S.DRAINING, now), (do.StopReviving(), order))


def vacated(record: ComponentRecord, cut: tuple[str, ...], now: datetime) -> Decision:
    """The old one is gone: the new one works."""
    moved = enter(with_(record, serving=None, cut=cut), S.SWITCHING, now)
    return activate(moved, _fresh(record))


def activate(record: ComponentRecord, instance: Instance) -> Decision:
    """Order `instance`, the serving or the new one, to work; again where that was ordered before."""
    working = instance.model_copy(update={"standby": False})
    others = tuple(i for i in record.instances if i.id != instance.id and i.pid and not i.standby)
    before = tuple(name for name in record.lineage if name != instance.id)
    # Alone in its line: it is known to work, and has what it took over.
    heirs_of = None if record.lineage and not before else before or (NOBODY,)
    line = heirs_of or ()
    fresh = record.fresh is not None and record.fresh.id == instance.id
    ordered = with_(
        record,
        lineage=(instance.id, *line[:-1][:REMEMBERED], *line[-1:]),
        **{"fresh" if fresh else "serving": working},
    )
    command = record.command if fresh or record.failing is not None else None
    return Decision(ordered, (do.Activate(working, others, heirs_of, command, soak=fresh),))


def follow(record: ComponentRecord, earlier: Instance) -> Decision:
    """In the undoing: the earlier version is ready, so the new one, if it is there, goes, and that follows."""
    alone = let_go(record)
    ordered = activate(with_(alone.state, serving=earlier), earlier)
    return Decision(ordered.state, alone.effects + ordered.effects)


def commit(record: ComponentRecord) -> Decision:
    """The new one works and nothing else does: let the links say so."""
    command = _standing(record)
    if command.target is None:
        raise Broken(f"{record.component}: expected a target to switch to, found none")
    return Decision(
        record, (do.CommitSwitch(command, command.target.root, root_of(replaced(record, command.target))),)
    )


def resumed(record: ComponentRecord, fresh: Instance) -> Decision:
    """After a restart of the executor, in draining or switching with the new one alive: its work once more."""
    running = with_(record, fresh=fresh)
    if record.state is S.DRAINING:
        return Decision(running, (do.Vacate(_standing(record), record.serving, fresh),))
    return activate(running, fresh)


def _fresh(record: ComponentRecord) -> Instance:
    if record.fresh is None:
        raise Broken(f"{record.component}: expected a new instance in state {record.state}, found none")
    return record.fresh


def _standing(record: ComponentRecord) -> Command:
    if record.command is None:
        raise Broken(f"{record.component}: expected a standing command in state {record.state}, found none")
    return record.command
