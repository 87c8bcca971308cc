"""What is decided against what is logged and kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import wire
from simulation.events import Appended, Began, Saved, Struck
from simulation.invariants.violation import fail

if TYPE_CHECKING:
    from simulation.invariants import Invariants


def same_id_same_words(inv: Invariants, event: Appended) -> None:
    """17: what was decided once is never decided differently, whatever happened to the store."""
    message = event.message
    if not isinstance(message, c.NodeCommand | c.OpenGate | e.RolloutFailed | e.VerdictReached):
        return
    body = wire.encode(message).decode()
    if inv.bodies.setdefault(message.id, body) != body:
        fail("store_changes_nothing", f"{message.id} says two things:\n{inv.bodies[message.id]}\n{body}")


def log_is_what_was_saved(inv: Invariants, event: Appended) -> None:
    """17: replaying the log gives the state that was decided."""
    entry = event.message
    if not isinstance(entry, e.RolloutAdvanced) or entry.rollout in inv.sim.holes:
        return
    saved = inv.saved.get((entry.rollout, entry.version))
    owner = {"planner-a", "planner-b"} if entry.owner == "planner" else {"rollback"}
    if saved is None or event.by not in owner:
        return
    raw = json.loads(saved)
    raw.pop("plan_hash")
    replayed = inv.books[entry.rollout].state.model_dump(mode="json", exclude={"plan"}, exclude_defaults=True)
    if raw != replayed:
        different = sorted(name for name in {**raw, **replayed} if raw.get(name) != replayed.get(name))
        fail("store_changes_nothing", f"version {entry.version}: {different} differ from the replayed log")


def log_before_effect(inv: Invariants, event: Appended) -> None:
    """18: a node is commanded only what the log of the rollout has decided already."""
    command = event.message
    if not isinstance(command, c.NodeCommand) or command.rollout in inv.sim.holes:
        return
    book = inv.books.get(command.rollout)
    if book is None or command.cause not in book.decided:
        fail(
            "log_before_effect", f"{command.node}/{command.component} is commanded what no log entry decided"
        )


def gates_stay_ended(inv: Invariants, event: Saved) -> None:
    """15: a gate that was decided or closed stays so, as long as the store remembers it."""
    if event.owner != "health-gate":
        return
    status = json.loads(event.value.state)["status"]
    ended = inv.gates_ended.get(event.aggregate)
    if ended is not None and status != ended:
        fail("terminal_stays", f"gate {event.aggregate} was {ended} and is {status}")
    if status != "open":
        inv.gates_ended[event.aggregate] = status


def store_forgets(inv: Invariants, event: Struck) -> None:
    if event.kind in ("store-emptied", "store-old"):
        inv.gates_ended.clear()


def nothing_is_left_unsaid(inv: Invariants, event: Began) -> None:
    """8: who begins to work has said what the one before it saved and did not say."""
    unsaid = inv.sim.stores[event.owner].unpublished
    left = sorted(
        aggregate
        for aggregate in unsaid
        if inv.saved_at.get((event.owner, aggregate), 0.0) < event.since
        and aggregate.partition("/")[0] not in inv.exempt
    )
    if left:
        fail("nothing_is_left_unsaid", f"{event.owner} begins, and {left} were saved and not said")
