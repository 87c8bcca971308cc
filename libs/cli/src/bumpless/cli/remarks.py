"""What a person who only glances at a rollout has to know: failures, what waits for somebody, how it ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bumpless.cli.watched import Watched
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message
from bumpless.common.model.rollout import RolloutStatus
from bumpless.common.model.verdict import Verdict


class Level(StrEnum):
    NOTICE = "notice"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Remark:
    level: Level
    title: str
    text: str


class Remarks:
    """What is worth a remark, each thing once however often it is told."""

    def __init__(self) -> None:
        self._said: set[Remark] = set()

    def of(self, message: Message) -> list[Remark]:
        """What is new in `message`."""
        new = [remark for remark in _all(message) if remark not in self._said]
        self._said.update(new)
        return new


def ending(watched: Watched) -> Remark:
    """How it ended."""
    if watched.refused is not None:
        return Remark(Level.ERROR, "release refused", "; ".join(watched.refused.reasons))
    last = watched.forward
    if last is None:
        return Remark(Level.ERROR, "rollout", "nothing is known of it")
    what = f"{last.product} {last.release_version}"
    if watched.exit_code == 0:
        return Remark(Level.NOTICE, f"{what} succeeded", f"{last.steps_done} of {last.steps_total} steps")
    revert = watched.revert
    text = last.reason or "it did not succeed"
    if revert is not None:
        text += f"; revert {revert.rollout} is {revert.status}"
    return Remark(Level.ERROR, f"{what} {last.status if revert is None else revert.status}", text)


def _all(message: Message) -> list[Remark]:
    match message:
        case e.RolloutProgressed():
            return _progress(message)
        case e.GateProgressed(verdict=Verdict.FAIL):
            return [Remark(Level.ERROR, f"gate {message.batch} failed", message.detail)]
        case e.GateProgressed(verdict=Verdict.INCONCLUSIVE):
            return [Remark(Level.WARNING, f"gate {message.batch} is inconclusive", message.detail)]
        case e.RolloutPlanned():
            return [
                Remark(Level.WARNING, f"{found.code} {found.subject}", found.evidence)
                for found in message.findings
            ]
        case _:
            return []


def _progress(message: e.RolloutProgressed) -> list[Remark]:
    what = "revert" if message.of is not None else f"{message.product} {message.release_version}"
    found = [
        Remark(Level.ERROR, f"batch {name} failed", f"of {what} in rollout {message.rollout}")
        for name, status in message.batches.items()
        if status == "failed"
    ]
    found += [
        Remark(Level.WARNING, f"batch {name} awaits approval", f"`bumpless approve` with --batch {name}")
        for name, status in message.batches.items()
        if status == "awaiting-approval"
    ]
    if message.status == RolloutStatus.PAUSED:
        until = "" if message.until is None else f", until {message.until:%H:%M} UTC"
        found.append(Remark(Level.WARNING, f"{what} is paused", (message.reason or "waits for you") + until))
    if message.status == RolloutStatus.HALTED:
        found.append(Remark(Level.ERROR, f"{what} is halted", message.reason or "waits for you"))
    return found
