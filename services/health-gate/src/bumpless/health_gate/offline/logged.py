"""Gates read back from the log of their rollout: opened, closed, decided. Pure; the service does the same to recover."""

from __future__ import annotations

from collections.abc import Iterable

from bumpless.common.contract.base import Message
from bumpless.common.contract.commands import CloseGate, OpenGate
from bumpless.common.contract.events import VerdictReached
from bumpless.common.render.replay import Decided
from bumpless.health_gate import gate_run
from bumpless.health_gate.gate_run import GateRun

OWNER = "health-gate"
LOGGED = (OpenGate, CloseGate, VerdictReached)


def aggregate_of(message: OpenGate | CloseGate | VerdictReached) -> str:
    return f"{message.rollout}/{message.gate}"


def decided(log: Iterable[Message]) -> dict[str, list[Decided[GateRun]]]:
    """Every gate of the log, with the decisions about it in their order."""
    found: dict[str, list[Decided[GateRun]]] = {}
    for message in log:
        if not isinstance(message, LOGGED):
            continue
        known = found.setdefault(aggregate_of(message), [])
        before = known[-1].after if known else None
        decision = gate_run.decide(before, message, message.at)
        assert decision.state is not None, "what is logged of a gate always leads to one"
        known.append(
            Decided(
                len(known) + 1, message.at, before, message, decision.state, decision.messages, decision.notes
            )
        )
    return found
