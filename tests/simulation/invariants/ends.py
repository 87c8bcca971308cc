"""What must be true when everything has had its time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bumpless.common.contract import events as e
from bumpless.common.model.fleet import ComponentState as S
from bumpless.common.model.rollout import RolloutStatus, rollout_id
from bumpless.executor.record import RESTING
from simulation.books import Book
from simulation.events import Ended
from simulation.invariants.violation import fail

if TYPE_CHECKING:
    from simulation.invariants import Invariants


def everything_ends(inv: Invariants, event: Ended) -> None:
    """14: with the faults over, every rollout has ended, nothing waits, and nodes run what the ends say."""
    sim = inv.sim
    for owner, memory in sim.stores.items():
        if owner in sim.broker.gone:
            continue
        left = [
            a
            for a in sorted({*memory.deadlines, *memory.unpublished})
            if a.partition("/")[0] not in inv.exempt
        ]
        if left:
            fail("everything_ends", f"{owner} still waits for {left}")
    for book in inv.books.values():
        if book.plan.rollout in inv.exempt or book.state.ended or book.state.left_to_a_person:
            continue
        fail("everything_ends", f"rollout {book.plan.rollout} is still {book.state.status}")
    answered = {*inv.books, *inv.refused, *inv.exempt}
    for release in sim.releases:
        if rollout_id(release.product, release.digest, 0) not in answered:
            fail("everything_ends", f"nothing came of release {release.version}")
    parked = [p for p in sim.broker.parked if _about(p[1]) not in inv.exempt]
    if parked:
        fail("everything_ends", f"parked: {parked[0]}")
    if sim.broker.pending:
        fail("everything_ends", f"{sim.broker.pending} messages are not delivered")
    for node in sim.nodes.values():
        for name, record in node.machine.disk.records.items():
            if record.state not in RESTING or record.outbox or record.waiting is not None:
                fail("everything_ends", f"{node.name}/{name} is {record.state}, says {len(record.outbox)}")
            if (
                record.state is S.SERVING
                and not record.out
                and not node.machine.working(name)
                and not _bad(inv, node, record)
            ):
                fail("everything_ends", f"{node.name}/{name}: nothing works")


def everything_said_arrives(inv: Invariants, event: Ended) -> None:
    """8: what a node wrote down to be said was said, unless its disk was lost."""
    for message, (node, reset) in inv.words.items():
        if reset == inv.sim.nodes[node].reset:
            fail("everything_said_arrives", f"{node} never said {message}")


def _about(message: Any) -> str:
    """The rollout that a message is about, or would begin."""
    if isinstance(message, e.ReleaseAnnounced):
        return rollout_id(message.product, message.digest, message.attempt)
    return str(getattr(message, "rollout", ""))


def ends_are_true(inv: Invariants, event: Ended) -> None:
    """14: succeeded is every node on the target, reverted every node on what it had."""
    for book in inv.books.values():
        if book.plan.rollout in inv.exempt or book.plan.partial:
            continue
        if book.state.status is RolloutStatus.SUCCEEDED or (
            book.plan.of is not None and book.state.status is RolloutStatus.REVERTED
        ):
            for step in book.plan.steps():
                _on_target(inv, book, step)


def _on_target(inv: Invariants, book: Book, step: Any) -> None:
    node = inv.sim.nodes[step.node]
    record = node.machine.disk.records[step.component]
    hops = [s.hop for s in book.plan.steps() if s.place == step.place]
    last = max(hops) if book.plan.of is None else min(hops)
    later = any(
        other.plan.rollout != book.plan.rollout
        and (other.plan.generation, other.plan.sequence_base)
        > (book.plan.generation, book.plan.sequence_base)
        and any(s.place == step.place for s in other.plan.steps())
        for other in inv.books.values()
    )
    if later or node.reset or record.returned_from is not None or step.hop != last:
        return
    wanted = None if step.after is None else book.plan.targets[step.after].root
    found = None if record.current is None else record.current.root
    if wanted != found and not any(
        f.ok is False for b in book.state.batches.values() for f in b.steps.values()
    ):
        fail("everything_ends", f"{book.state.status}, but {step.key} runs {found}, wanted {wanted}")


def _bad(inv: Invariants, node: Any, record: Any) -> bool:
    return inv.sim._bad(record.component, record.current.version) in ("loop", "start")
