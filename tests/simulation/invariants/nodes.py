"""What happens on the nodes: links, processes, and which commands are taken."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bumpless.common.model.fleet import ComponentState as S
from bumpless.common.model.plan import Direction
from bumpless.executor import effects as do
from bumpless.executor.record import RESTING, ComponentRecord
from simulation.events import Decided, Moved, Performing
from simulation.invariants.violation import fail

if TYPE_CHECKING:
    from simulation.invariants import Invariants
    from simulation.machine import Process

MID_SWITCH = frozenset({S.STARTING, S.SWITCHING, S.DRAINING})
QUIET = frozenset({*RESTING, S.STAGING})
LONG = do.Stage | do.Start | do.CommitSwitch | do.Install | do.DrainOld | do.Retire | do.Restore | do.Vacate
MOST_TREES = 8
MOST_SAID = 24
HURT_S = 40.0


def within_the_budget(inv: Invariants, event: Decided) -> None:
    """1, on the nodes: never more of them in the middle of a forward switch than the plan allows."""
    command = event.after.command
    if event.after.state not in MID_SWITCH or event.before.state in MID_SWITCH or command is None:
        return
    book = inv.books.get(command.rollout)
    if book is None or command.direction is Direction.REVERT:
        return
    busy = {
        node.name
        for node in inv.sim.nodes.values()
        for record in node.machine.disk.records.values()
        if record.state in MID_SWITCH
        and record.command
        and record.command.rollout == command.rollout
        # One that said it is done, and came back with a disk from before that: nobody can have known.
        and book.place(record.command) not in book.good
    }
    if len(busy) > book.plan.max_unavailable:
        fail("within_the_budget", f"{sorted(busy)} switch at once, at most {book.plan.max_unavailable} may")


def current_is_complete(inv: Invariants, event: Moved) -> None:
    """3: `current` and `previous` name trees that are there, whole."""
    disk = event.node.machine.disk
    trees = disk.trees.get(event.component, frozenset())
    missing = [root for root in disk.links.get(event.component, ()) if root is not None and root not in trees]
    if missing:
        fail("current_is_complete", f"{event.node.name}/{event.component}: links name {missing}, not there")


def previous_is_kept(inv: Invariants, event: Decided) -> None:
    """3: what was current before a switch is `previous` after it, so that there is a way back."""
    before, after = event.before, event.after
    if before.state in RESTING or before.current is None or after.current is None:
        return
    old, new = before.current.root, after.current.root
    if old != new and (after.previous is None or after.previous.root != old):
        fail(
            "current_is_complete", f"{event.node.name}/{after.component} does not keep {old} as its previous"
        )


def one_version_serves(inv: Invariants, event: Decided) -> None:
    """4: at rest, what works is the current version and nothing else."""
    after = event.after
    if after.state is not S.SERVING or after.failing is not None or after.out or after.current is None:
        return
    ending = {i.id for i in after.stopping}
    machine = event.node.machine
    roots = {p.target.root for p in machine.working(after.component) if p.instance not in ending}
    warm = after.warm
    if warm is not None and after.serving is None:
        roots.discard(warm.target.root)
    if _hurt(inv, event.node.name, after.component):
        return
    if warm is not None and any(isinstance(x, do.PauseOld) for x in event.effects):
        roots.discard(warm.target.root)
    if roots - {after.current.root}:
        versions = sorted(p.target.version for p in machine.working(after.component))
        fail("one_version_serves", f"{event.node.name}/{after.component} serves {versions}")


def something_serves(inv: Invariants, event: Moved) -> None:
    """4: no step takes away the last instance that works, but of what is removed, drained or must work alone."""
    if not re.search("is paused|exited with status 0", event.what):
        return
    record = event.node.machine.disk.records.get(event.component)
    if record is None or record.out or record.exclusive or record.current is None:
        return
    if record.command is not None and record.command.target is None:
        return
    # An executor that starts first looks; a drain that was just over brings it back.
    if _hurt(inv, event.node.name, event.component) or record.serving is None or record.back_at is not None:
        return
    if not event.node.machine.working(event.component):
        fail("one_version_serves", f"{event.node.name}/{event.component}: nothing works after: {event.what}")


def _hurt(inv: Invariants, node: str, component: str) -> bool:
    return inv.sim.world.clock - inv.hurt.get((node, component), -1e9) < HURT_S


def exclusive_works_alone(inv: Invariants, event: Moved) -> None:
    """4: of a component that must work alone, two instances never work at once on a node."""
    if "is working" not in event.what:
        return
    working = event.node.machine.working(event.component)
    if len(working) > 1 and any(not process.target.run.overlap for process in working):
        found = [f"{process.pid} of {process.target.version}" for process in working]
        fail("exclusive_works_alone", f"{event.node.name}/{event.component}: {found} work at once")


def drained_runs_nothing(inv: Invariants, event: Moved) -> None:
    """4: on a drained node nothing begins to work, unless a switch is under way there."""
    record = event.node.machine.disk.records.get(event.component)
    if "is working" not in event.what or record is None or not record.out or record.failing is not None:
        return
    if record.state in QUIET:
        fail("drained_runs_nothing", f"{event.node.name}/{event.component} is drained, and {event.what}")


def drained_is_told_to_leave(inv: Invariants, event: Decided) -> None:
    """4: what still serves on a drained node is told to leave, as soon as no switch is under way."""
    after = event.after
    if not after.out or after.state not in QUIET or after.failing is not None or after.serving is None:
        return
    if after.leaving != after.serving.id:
        fail("drained_runs_nothing", f"{event.node.name}/{after.component} is drained and goes on serving")


def one_transition_at_once(inv: Invariants, event: Performing) -> None:
    """5: no work begins on a component while other work on it goes on."""
    if not isinstance(event.effect, LONG) or event.node.executor is None:
        return
    work = event.node.executor.actors[event.component].steps.work
    if work is not None and not work.done() and not work.cancelling():
        fail(
            "one_transition_at_once", f"{event.node.name}/{event.component}: {event.effect} beside other work"
        )


def only_what_is_planned(inv: Invariants, event: Performing) -> None:
    """9: a node brings only what the plan of its command says for it, and what it had."""
    if not isinstance(event.effect, do.Stage | do.Start | do.CommitSwitch | do.Install):
        return None
    command = event.effect.command
    stored = inv.sim.broker.plans.get(command.plan_hash)
    if stored is None or command.rollout not in inv.books:
        return fail("only_what_is_planned", f"nobody knows the plan {command.plan_hash}")
    plan = inv.books[command.rollout].plan
    steps = [
        s for s in (*plan.steps(), *plan.fence) if (s.node, s.component) == (command.node, command.component)
    ]
    roots = {plan.targets[t].root for s in steps for t in (s.after, s.before) if t is not None}
    wanted = command.target.root if command.target else None
    if not steps or event.node.name != command.node or wanted not in roots:
        fail("only_what_is_planned", f"{event.node.name}/{event.component} brings {wanted}")
    return None


def compatible(inv: Invariants, event: Moved) -> None:
    """19: nothing that works writes what something that works cannot read."""
    if "is working" not in event.what or not inv.sim.scenario.parts[0].channel:
        return
    working = [
        p
        for node in inv.sim.nodes.values()
        for p in node.machine.processes.values()
        if p.alive
        and p.mode == "working"
        and not _stands_in(node.machine.disk.records[p.component], p)
        # An old disk brought it back, after its node had said that it runs another: nobody can have known.
        and node.set_back.get(p.component) != p.target.root
    ]
    reads = [(p, int(use.reads.rpartition("=")[2])) for p in working for use in p.target.consumes]
    for producer in working:
        for made in producer.target.produces:
            for consumer, most in reads:
                if int(made.writes) > most:
                    fail(
                        "compatible",
                        f"{producer.component} {producer.target.version} writes {made.writes}, "
                        f"{consumer.component} {consumer.target.version} reads up to {most}",
                    )


def _stands_in(record: ComponentRecord, process: Process) -> bool:
    """Whether a node works with an earlier version by itself, after a crash: it knows nothing of the others."""
    return record.returned_from is not None or (
        record.warm is not None and record.warm.id == process.instance
    )


def within_bounds(inv: Invariants, event: Decided) -> None:
    """20: what waits on a node, and what it keeps, stays small; nothing impossible was heard."""
    after, node = event.after, event.node
    trees = node.machine.disk.trees.get(after.component, frozenset())
    if len(trees) > MOST_TREES or len(after.outbox) > MOST_SAID or len(after.stopping) > MOST_SAID:
        fail("within_bounds", f"{len(trees)} trees, {len(after.outbox)} words, {len(after.stopping)} ending")
    if node.broken:
        fail("within_bounds", f"{node.name} heard what cannot be: {node.broken[0]}")
