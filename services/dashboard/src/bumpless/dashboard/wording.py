"""Why a rollout is where it is, who acted, and until when, in sentences; and one line for each event. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message
from bumpless.common.model.rollout import TERMINAL, BatchStatus, RolloutStatus
from bumpless.common.render.words import count

_STATUS = {
    RolloutStatus.PLANNED: "is planned and has not begun",
    RolloutStatus.STAGING: "stages: the nodes fetch and verify what they will run; nothing that runs has changed",
    RolloutStatus.ROLLING: "is rolling",
    RolloutStatus.PAUSED: "is paused: no further batch starts",
    RolloutStatus.SUCCEEDED: "has succeeded: every node runs what was planned",
    RolloutStatus.FAILED: "has failed: no further batch starts",
    RolloutStatus.REVERTED: "is taken back: the nodes run again what they ran before",
    RolloutStatus.HALTED: "has halted and waits for a person",
    RolloutStatus.CANCELLED: "is cancelled: it changed nothing",
}
_BATCH = {
    BatchStatus.AWAITING_APPROVAL: "waits for an approval",
    BatchStatus.APPLYING: "is being applied",
    BatchStatus.BAKING: "is baking: its gate judges it",
    BatchStatus.FAILED: "has failed",
}
_DID = {
    "pause": "paused it",
    "resume": "resumed it",
    "promote": "promoted it",
    "abort": "aborted it",
    "approve": "approved it",
    "deny": "denied it",
    "retry": "had it planned again",
    "rollback": "took it back",
}


def why(progress: e.RolloutProgressed, act: Mapping[str, Any] | None) -> list[str]:
    """`act` is the last accepted order of a person: `who`, `command`, `reason`, `at`."""
    noun = "The revert" if progress.of is not None else "The rollout"
    status = RolloutStatus(progress.status) if progress.status in set(RolloutStatus) else None
    said = _STATUS[status] if status else f"is {progress.status}"
    because = f": {progress.reason}" if progress.reason else ""
    sentences = [_sentence(f"{noun} {said}{because}")]
    if status not in TERMINAL:
        sentences += _busy(progress.batches)
    if progress.status == RolloutStatus.PLANNED and progress.until is not None:
        sentences.append("It waits for an approval of its plan, or for its nodes.")
    if act is not None:
        text = f": “{act['reason']}”" if act["reason"] else ""
        sentences.append(_sentence(f"{act['who']} {_DID.get(act['command'], act['command'])}{text}"))
    return sentences


def _busy(batches: Mapping[str, str]) -> list[str]:
    found = []
    pending = 0
    for name, state in batches.items():
        plain = state.split(" ")[0]
        if plain == BatchStatus.PENDING:
            pending += 1
        elif plain in _BATCH:
            more = "; the last look could not decide" if "inconclusive" in state else ""
            found.append(f"Batch {name} {_BATCH[BatchStatus(plain)]}{more}.")
    if len(found) > 4:
        found = [*found[:3], f"{len(found) - 3} more batches are under way."]
    if pending:
        found.append(f"{count(pending, 'batch')} {'is' if pending == 1 else 'are'} still to come.")
    return found


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."


def event(message: Message) -> dict[str, Any] | None:
    """One entry of the event log: `at`, `kind`, `who`, `text`, `level` (info, good, warn, bad); None: not for people."""
    found = _told(message)
    if found is None:
        return None
    level, who, text = found
    return {"at": stamp(message.at), "kind": _kind(message), "who": who, "text": text, "level": level}


def stamp(at: datetime) -> int:
    """Milliseconds, as browsers count them."""
    return round(at.timestamp() * 1000)


def _kind(message: Message) -> str:
    return str(type(message).model_fields["type"].default)


def _told(message: Message) -> tuple[str, str, str] | None:
    match message:
        case e.RolloutPlanned():
            verb = "Revert" if message.of else "Rollout"
            why = f": {message.reason}" if message.reason else ""
            return "info", message.by, f"{verb} of {message.product} {message.release_version} planned{why}"
        case e.ReleaseRefused():
            return "bad", "planner", "Release refused: " + "; ".join(message.reasons)
        case c.OpenGate():
            return (
                "info",
                "planner",
                f"Gate of {message.batch} opened for {count(len(message.canary), 'node')}",
            )
        case e.VerdictReached():
            level = {"pass": "good", "fail": "bad"}.get(message.verdict, "warn")
            return level, "health-gate", f"Gate of {message.batch}: {message.verdict}. {message.detail}"
        case e.RevertStarted():
            return "warn", message.by, f"Taken back: {message.reason}"
        case e.RolloutFailed():
            return "bad", "planner", f"Failed: {message.reason}"
        case e.RolloutHalted():
            return "bad", "planner", f"Halted: {message.reason}"
        case e.RolloutCancelled():
            return "warn", "planner", f"Cancelled: {message.reason}"
        case e.RolloutSucceeded():
            return "good", "planner", "Succeeded"
        case e.RolloutReverted():
            return "good", "rollback", "Every node runs again what it ran before"
        case e.AlertFired():
            return "warn", "alerts", f"Alert {message.name}: {message.detail}"
        case e.CommandAnswered():
            answer = "accepted" if message.accepted else "refused"
            level = "info" if message.accepted else "warn"
            return level, "", f"{message.command} {answer}: {message.text}"
        case c.OperatorCommand():
            why = f": {message.reason}" if message.reason else ""
            return "info", message.by, f"{_kind(message)} ordered{why}"
    return None
