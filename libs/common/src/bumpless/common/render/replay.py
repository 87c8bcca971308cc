"""What was decided, taken again from the log: every decision with its reason, as data and in lines. Pure.

A rollout, each revert of it and each of their gates is a part of its own. A part that cannot be read to its end keeps
what could be, and says what is wrong with the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import Field

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import BatchId, Instant, Message, Model, RolloutId
from bumpless.common.model.plan import Plan
from bumpless.common.model.rollout import Rollout
from bumpless.common.render.agreement import Held
from bumpless.common.render.words import names

_SAID = ("node", "component", "batch", "outcome", "verdict", "name", "command")
_WHY = ("reason", "detail", "text")


S = TypeVar("S")
Places = Mapping[BatchId, tuple[str, list[str]]]
"""The component and the nodes of every batch."""


@dataclass(frozen=True)
class Decided(Generic[S]):
    """A decision that was taken again: of `message`, on which state, when, to which version of it, and what followed."""

    version: int
    at: datetime
    before: S | None
    message: Message
    after: S
    sent: tuple[Message, ...] = ()
    notes: tuple[str, ...] = ()


class Told(Model):
    """A message, by what a person asks of it. `why` is its reason in words, `by` who gave it."""

    type: str
    about: str = ""
    by: str = ""
    why: str = ""


class DecisionShown(Model):
    """One decision: what came in, which state it was, which it became, why, and what was sent because of it.

    `places` are the components on nodes that it is about; only filters ask for them.
    """

    version: int
    at: Instant
    input: Told
    before: str | None
    after: str | None
    batches: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sent: tuple[Told, ...] = ()
    places: frozenset[tuple[str, str]] = Field(default=frozenset(), exclude=True)


class Part(Model):
    """`aggregate`: the id of a rollout or revert, or rollout/gate. `problem`: why the log could not be read further."""

    aggregate: str
    kind: str
    owner: str
    title: str
    status: str
    versions: int
    decisions: tuple[DecisionShown, ...]
    problem: str | None = None


class Replay(Model):
    """`verified` is what was compared with what lives; None where nobody asked for it."""

    rollout: RolloutId
    parts: tuple[Part, ...]
    verified: tuple[Held, ...] | None = None

    @property
    def problems(self) -> bool:
        return any(part.problem for part in self.parts) or any(not one.agrees for one in self.verified or ())


def rollout_title(plan: Plan) -> str:
    """What a plan is about, with versions and the numbers that its commands carry."""
    changes: dict[str, None] = {}
    for step in plan.steps():
        old, new = (
            "nothing" if key is None else plan.targets[key].version for key in (step.before, step.after)
        )
        changes[f"{step.component} {old} -> {new}"] = None
    return (
        f"{plan.product} {plan.release_version}: {', '.join(changes)}; plan {plan.hash}, "
        f"generation {plan.generation}"
    )


def of_rollout(plan: Plan, decided: Iterable[Decided[Rollout | None]]) -> list[DecisionShown]:
    """The decisions about a rollout or a revert that runs `plan`."""
    places = _places(plan)
    return [_shown(one, places, _moves(one.before, one.after)) for one in decided]


def of_gate(decided: Sequence[Decided[Any]], statuses: Sequence[str], plan: Plan) -> list[DecisionShown]:
    """The decisions about a gate; `statuses` are what each led to."""
    places = _places(plan)
    before: str | None = None
    found = []
    for one, status in zip(decided, statuses, strict=True):
        shown = _shown(one, places, ())
        found.append(shown.model_copy(update={"before": before, "after": status}))
        before = status
    return found


def chosen(
    part: Part,
    *,
    components: Sequence[str] = (),
    nodes: Sequence[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
) -> Part:
    """The part with the decisions about any of the components on any of the nodes, from `since` to `until`."""
    everywhere = not components and not nodes
    kept = (
        one
        for one in part.decisions
        if (everywhere or any(_fits(place, components, nodes) for place in one.places))
        and (since is None or one.at >= since)
        and (until is None or one.at <= until)
    )
    return part.model_copy(update={"decisions": tuple(kept)})


def lines(replay: Replay) -> list[str]:
    """Everything in words."""
    found: list[str] = []
    for part in replay.parts:
        found.append(f"{part.kind} {part.aggregate}: {part.title}")
        for one in part.decisions:
            found += _in_words(one)
        found.append(f"  {part.versions} versions; ends {part.status}")
        if part.problem:
            found.append(f"  NOT FURTHER: {part.problem}")
    for held in replay.verified or ():
        found.append(
            f"{'agrees ' if held.agrees else 'DIFFERS'} {held.subject} {held.aggregate}: {held.text}"
        )
        if held.advice:
            found.append(f"        {held.advice}")
    return found


def _in_words(one: DecisionShown) -> list[str]:
    moved = f"{one.before} -> {one.after}" if one.before != one.after else f"{one.after}"
    found = [f"  {one.at:%H:%M:%S.%f}"[:-3] + f" v{one.version} {moved}: {_told(one.input)}"]
    found += [f"      {move}" for move in one.batches]
    found += [f"      because: {note}" for note in one.notes]
    return found + [f"      sent {_told(sent)}" for sent in one.sent]


def _told(told: Told) -> str:
    about = f" ({told.about})" if told.about else ""
    by = f" by {told.by}" if told.by else ""
    return f"{told.type}{about}{by}" + (f": {told.why}" if told.why else "")


def _places(plan: Plan) -> Places:
    return {batch.id: (batch.component, [step.node for step in batch.steps]) for batch in plan.batches}


def _shown(one: Decided[Any], places: Places, moves: Sequence[str]) -> DecisionShown:
    before, after = (getattr(state, "status", None) for state in (one.before, one.after))
    return DecisionShown(
        version=one.version,
        at=one.at,
        input=_of(one.message),
        before=None if before is None else str(before),
        after=None if after is None else str(after),
        batches=tuple(moves),
        notes=one.notes,
        sent=tuple(_of(m) for m in one.sent if not isinstance(m, e.RolloutProgressed)),
        places=frozenset(place for m in (one.message, *one.sent) for place in _places_of(m, places)),
    )


def _of(message: Message) -> Told:
    said = [str(getattr(message, key)) for key in _SAID if getattr(message, key, None)]
    if isinstance(message, c.StageArtifacts | c.ApplyBatch):
        said.append(names(step.node for step in message.steps))
    why = [str(getattr(message, key)) for key in _WHY if getattr(message, key, None)]
    return Told(
        type=str(type(message).model_fields["type"].default),
        about=" ".join(said),
        by=str(getattr(message, "by", "") or ""),
        why=", ".join(why),
    )


def _places_of(message: Message, places: Places) -> list[tuple[str, str]]:
    """The components on nodes that a message is about; a batch is about all of its own."""
    if isinstance(message, c.StageArtifacts | c.ApplyBatch):
        return [(step.component, step.node) for step in message.steps]
    component, node = getattr(message, "component", None), getattr(message, "node", None)
    if component and node:
        return [(component, node)]
    component, nodes = places.get(BatchId(getattr(message, "batch", None) or ""), ("", []))
    return [(component, node) for node in nodes]


def _fits(place: tuple[str, str], components: Sequence[str], nodes: Sequence[str]) -> bool:
    return (not components or place[0] in components) and (not nodes or place[1] in nodes)


def _moves(before: Rollout | None, after: Rollout | None) -> list[str]:
    """The batches whose status changed."""
    if after is None:
        return []
    found = []
    for name, batch in after.batches.items():
        old = None if before is None else before.batches[name].status
        if old is not None and old != batch.status:
            why = f": {batch.reason}" if batch.reason else ""
            found.append(f"batch {name}: {old} -> {batch.status}{why}")
    return found
