"""From what happened to the words that other tools share. Pure.

Ids are derived from the message and the word, so the same message told again gives the same events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bumpless.common.contract import alerts as a
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Instant, Message, derive_id
from bumpless.common.contract.cdevents import CdEvent, Context, Subject, Word, purl
from bumpless.common.model.alert import AlertStatus
from bumpless.common.model.plan import Direction, Plan, TargetId

SOURCE = "/bumpless"


@dataclass(frozen=True)
class Told:
    """One event, and the word that says where it travels."""

    word: Word
    event: CdEvent


@dataclass(frozen=True)
class About:
    """What is known of the rollout beside the message: what began it, and its plan; of a revert, its own."""

    environment: str
    planned: e.RolloutPlanned | None = None
    plan: Plan | None = None


def lifecycle(message: Message, about: About) -> list[Told]:
    """What `message` means to others; nothing, where it means nothing to them."""
    say = _Say(message, about)
    match message:
        case e.ReleaseRefused():
            content = {"product": message.product, "reasons": list(message.reasons)}
            return [say(Word.RELEASE_REFUSED, message.digest, content, message.rollout)]
        case e.RolloutPlanned() if message.direction is Direction.FORWARD:
            return [say.rollout(Word.ROLLOUT_STARTED, message.rollout, plan=message.plan_hash, by=message.by)]
        case e.RolloutSucceeded():
            done = say.rollout(Word.ROLLOUT_SUCCEEDED, message.rollout)
            return [*say.services(message.rollout, revert=False), done]
        case e.RolloutFailed():
            failed = say.rollout(Word.ROLLOUT_FAILED, message.rollout, reason=message.reason)
            return [say.incident(Word.INCIDENT_DETECTED, message.rollout, message.reason), failed]
        case e.RevertStarted():
            more = {"revert": message.revert, "reason": message.reason, "by": message.by}
            return [say.rollout(Word.ROLLOUT_REVERTING, message.rollout, **more)]
        case e.RolloutReverted():
            done = say.rollout(Word.ROLLOUT_REVERTED, message.rollout, revert=message.revert)
            found = [*say.services(message.rollout, revert=True), done]
            text = "every node that was commanded runs again what it ran before"
            return (
                found
                if message.partial
                else [*found, say.incident(Word.INCIDENT_RESOLVED, message.rollout, text)]
            )
        case e.RolloutHalted():
            return [say.rollout(Word.ROLLOUT_HALTED, message.rollout, reason=message.reason)]
        case e.RolloutCancelled():
            return [say.rollout(Word.ROLLOUT_CANCELLED, message.rollout, reason=message.reason)]
        case a.AlertChanged():
            return list(_alert(message, about.environment))
        case _:
            return []


class _Say:
    def __init__(self, message: Message, about: About) -> None:
        self._message, self._about = message, about

    def __call__(
        self, word: Word, subject: str, content: dict[str, Any], rollout: str, *, key: str = ""
    ) -> Told:
        return _told(word, self._message, subject, content, chain=rollout, key=key)

    def rollout(self, word: Word, rollout: str, **more: Any) -> Told:
        planned = self._about.planned
        content = {"environment": {"id": self._about.environment}, **more}
        if planned is not None:
            content |= {"product": planned.product, "version": planned.release_version}
        return self(word, rollout, content, rollout)

    def services(self, rollout: str, *, revert: bool) -> Iterator[Told]:
        """What became of every component of the plan."""
        plan = self._about.plan
        if plan is None:
            return
        for component, (before, after) in _ends(plan).items():
            word = _word(before, after, revert)
            content: dict[str, Any] = {"environment": {"id": self._about.environment}}
            target = None if after is None else plan.targets.get(after)
            if target is not None:
                content["artifactId"] = purl(component, target.version, target.root)
            yield self(word, f"{plan.product}/{component}", content, rollout, key=component)

    def incident(self, word: Word, rollout: str, text: str) -> Told:
        content: dict[str, Any] = {"description": text, "environment": {"id": self._about.environment}}
        if self._about.planned is not None:
            content["service"] = {"id": self._about.planned.product}
        return self(word, f"rollout/{rollout}", content, rollout)


def _ends(plan: Plan) -> dict[str, tuple[TargetId | None, TargetId | None]]:
    """Of every component: what its first step leaves and its last one brings."""
    found: dict[str, tuple[TargetId | None, TargetId | None]] = {}
    for step in sorted(plan.steps(), key=lambda step: step.hop):
        before = found[step.component][0] if step.component in found else step.before
        found[step.component] = (before, step.after)
    return found


def _word(before: TargetId | None, after: TargetId | None, revert: bool) -> Word:
    if after is None:
        return Word.SERVICE_REMOVED
    if revert:
        return Word.SERVICE_ROLLEDBACK
    return Word.SERVICE_DEPLOYED if before is None else Word.SERVICE_UPGRADED


def _alert(message: a.AlertChanged, environment: str) -> Iterator[Told]:
    """An alert is an incident from when it fires; both ends are told once per episode, however often it changes."""
    alert = message.alert
    if alert.fired_at is None or alert.status == AlertStatus.PENDING:
        return
    word = Word.INCIDENT_RESOLVED if alert.status == AlertStatus.RESOLVED else Word.INCIDENT_DETECTED
    at = alert.resolved_at if word is Word.INCIDENT_RESOLVED and alert.resolved_at else alert.fired_at
    content: dict[str, Any] = {
        "description": f"{alert.name}: {alert.detail}",
        "environment": {"id": environment},
    }
    if component := alert.labels.get("component"):
        content["service"] = {"id": component}
    yield _told(
        word,
        message,
        f"alert/{alert.fingerprint}/{alert.episode}",
        content,
        at=at,
        event=derive_id("incident", alert.fingerprint, str(alert.episode), word),
    )


def _told(
    word: Word,
    message: Message,
    subject: str,
    content: dict[str, Any],
    *,
    chain: str | None = None,
    key: str = "",
    at: Instant | None = None,
    event: str | None = None,
) -> Told:
    context = Context(
        id=event or derive_id(message.id, word, key),
        source=SOURCE,
        type=word.type,
        timestamp=at or message.at,
        chain_id=chain,
    )
    about = Subject(id=subject, source=SOURCE, type=word.subject, content=content)
    return Told(word, CdEvent(context=context, subject=about))
