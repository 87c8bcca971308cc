"""What is done to the system once, at a moment: orders of people, and blows to stores, logs, nodes and services."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.subjects import Stream
from simulation.scenario import Happening
from simulation.store import copy_of, restore

if TYPE_CHECKING:
    from simulation.node import SimNode
    from simulation.run import Simulation


async def happen(sim: Simulation, happening: Happening) -> None:
    pick = Random(happening.pick)
    rollouts = list(sim.invariants.books)
    node = sim.nodes[pick.choice(list(sim.nodes))]
    match happening.kind:
        case "pause" | "resume" | "promote" | "abort" | "retry" | "rollback" | "approve" | "alert":
            if rollouts:
                await _order(sim, happening.kind, RolloutId(pick.choice(rollouts)), pick)
        case "drain":
            order = c.DrainNode(
                id=sim.world.fresh_id(),
                at=sim.world.now(),
                node=node.name,
                by="ann",
                for_s=pick.choice((None, 20.0)),
                force=pick.random() < 0.5,
            )
            await sim.publish(order)
        case "undrain":
            await sim.publish(
                c.UndrainNode(id=sim.world.fresh_id(), at=sim.world.now(), node=node.name, by="ann")
            )
        case "second-release":
            release = sim.release(f"v{len(sim.releases) + 2}")
            sim.releases.append(release)
            await sim.publish(sim.announcement(release))
        case "announce-again":
            again = sim.announcement(pick.choice(sim.releases), attempt=pick.choice((0, 1)))
            await sim.publish(again)
        case "store-emptied":
            sim.stores[pick.choice(list(sim.stores))].empty()
        case "store-old":
            owner = pick.choice(list(sim.stores))
            if owner in sim.copies:
                restore(sim.stores[owner], sim.copies[owner])
            sim.copies[owner] = copy_of(sim.stores[owner])
        case "log-gap":
            _lose_entry(sim, pick)
        case "node-down":
            node.lose_power(pick.choice((5.0, 40.0, 120.0)))
        case "old-disk":
            if node.old is None or pick.random() < 0.5:
                node.old = node.machine.disk.copy()
            else:
                node.lose_power(pick.choice((2.0, 30.0)), old_disk=True)
        case "crash-loop":
            working = [p for p in node.machine.processes.values() if p.alive]
            if working:
                process = pick.choice(working)
                for number in range(pick.choice((1, 4))):
                    sim.world.loop.call_later(number * 4.0, _hurt, node, process.component)
        case "skew":
            victim = pick.choice([*sim.nodes.values(), *sim.services])
            victim.skew = pick.choice((-3600.0, -30.0, -1.0, 1.0, 30.0, 3600.0))
            sim.ahead = max(sim.ahead, victim.skew)
        case "crash-service":
            pick.choice(sim.services).life.kill()
        case "service-gone":
            gone = pick.choice(("rollback", "health-gate"))
            next(service for service in sim.services if service.owner == gone).leave()
        case "freeze-leader":
            pick.choice(sim.services).life.freeze(pick.choice((25.0, 60.0)))


def _hurt(node: SimNode, component: str) -> None:
    for process in node.machine.working(component):
        node.machine.end(process.instance, "crashed")


async def _order(sim: Simulation, kind: str, rollout: RolloutId, pick: Random) -> None:
    book = sim.invariants.books[rollout]
    to = "rollback" if book.plan.of else "planner"
    head: dict[str, Any] = {"id": sim.world.fresh_id(), "at": sim.world.now(), "rollout": rollout}
    if kind == "alert":
        await sim.publish(e.AlertFired(**head, name="errors", fail=True))
        return
    head |= {"by": "ann", "to": to}
    if kind == "approve":
        waiting = [i for i, b in book.state.batches.items() if b.status == "awaiting-approval"]
        batch = waiting[0] if waiting else None
        answer = c.Deny if sim.world.now().second % 10 == 0 else c.Approve
        await sim.publish(answer(**head, plan_hash=book.plan.hash, batch=batch))
        return
    if kind == "rollback":
        forward = sim.invariants.books.get(str(book.plan.of), book)
        commanded = sorted(forward.state.commanded)
        only = (pick.choice(commanded),) if commanded and pick.random() < 0.3 else ()
        taken = {**head, "to": "rollback", "rollout": forward.plan.rollout, "only": only}
        await sim.publish(c.Rollback(**taken))
        return
    kinds: dict[str, Any] = {
        "pause": c.Pause,
        "resume": c.Resume,
        "promote": c.Promote,
        "abort": c.Abort,
        "retry": c.Retry,
    }
    if kind == "retry":
        head["to"] = "planner"
    await sim.publish(kinds[kind](**head))


def _lose_entry(sim: Simulation, pick: Random) -> None:
    log = sim.broker.logs[Stream.RO]
    entries = [n for n, item in log.items.items() if item.subject.endswith("rollout-advanced")]
    inner = [n for n in entries if log.last[log.items[n].subject] != n]
    if inner:
        lost = log.items.pop(pick.choice(inner))
        sim.holes.add(lost.subject.split(".")[1])
