"""What a log says against what lives: the value in the store, its deadline, last values, events. Pure.

The log is the authority, so every difference is one of what lives. What a running service puts right by itself is said
and is no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from bumpless.common.contract.base import Message, Model
from bumpless.common.contract.events import RolloutProgressed
from bumpless.common.contract.subjects import ROUTES, Stream, subject_of

MOST_NAMED = 8


class Held(Model):
    """One thing that was compared. `subject`: log, store, deadline, announced or events."""

    subject: str
    aggregate: str
    agrees: bool
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Logged:
    """The end of a log: its owner, how many changes, the state in JSON types, and whether it waits for a deadline."""

    aggregate: str
    owner: str
    version: int
    state: Mapping[str, Any]
    waits: bool


@dataclass(frozen=True)
class Live:
    """What the store has. `state` is None where it cannot be read, `waiting` is how many messages are in the outbox."""

    version: int
    state: Mapping[str, Any] | None
    waiting: int = 0


def store(logged: Logged, live: Live | None) -> Held:
    """The value in the store against the end of the log."""
    key = f"bumpless:{logged.owner}:value:{logged.aggregate}"
    rebuild = f"remove it, as `admin`: `redis-cli DEL {key}`; the {logged.owner} builds it again from the log"

    def held(agrees: bool, text: str, advice: str = "") -> Held:
        return Held(subject="store", aggregate=logged.aggregate, agrees=agrees, text=text, advice=advice)

    if live is None:
        return held(
            True,
            "the store has nothing of it; it was emptied, or this never got there",
            f"nothing to do: the {logged.owner} builds it from the log when it is needed",
        )
    if live.state is None:
        return held(False, "what the store has cannot be read", rebuild)
    if live.version > logged.version and live.waiting:
        return held(
            True, f"version {live.version} is on its way from the outbox to the log ({logged.version})"
        )
    if live.version > logged.version:
        return held(
            False,
            f"the store has version {live.version}, the log ends with {logged.version}: the end of the log is lost",
            "the broker's disk was lost or an old copy of it put back: see docs/runbooks/broker-lost.md",
        )
    if live.version < logged.version:
        return held(
            False,
            f"the store has version {live.version}, the log {logged.version}: the store is an old copy",
            f"nothing to do: the {logged.owner} finds out when it appends next, and builds it again from the log",
        )
    if differing := paths(logged.state, live.state):
        shown = "; ".join(differing[:MOST_NAMED])
        more = f" and {len(differing) - MOST_NAMED} more" if len(differing) > MOST_NAMED else ""
        return held(False, f"version {live.version}, and not what its log leads to: {shown}{more}", rebuild)
    return held(True, f"version {live.version}, as the log leads to")


def deadline(logged: Logged, live: Live | None, has_deadline: bool, known: bool) -> Held | None:
    """Whether what waits is woken. `known`: the store was not emptied since its owner last filled it."""

    def held(agrees: bool, text: str, advice: str = "") -> Held:
        return Held(subject="deadline", aggregate=logged.aggregate, agrees=agrees, text=text, advice=advice)

    if not logged.waits or (live is not None and live.version != logged.version):
        return None
    if has_deadline:
        return held(True, "it will be woken")
    if not known:
        return held(True, f"none: the store was emptied, and the {logged.owner} has not filled it again yet")
    return held(
        False,
        "it waits for a deadline, and the store has none: nothing would wake it",
        f"restart the {logged.owner} after `redis-cli DEL bumpless:{logged.owner}:incarnation`, as `admin`: it fills the "
        "store again",
    )


def announced(aggregate: str, last: RolloutProgressed | None, shown: RolloutProgressed | None) -> Held | None:
    """The last value for dashboards against the last that followed from the log; None: neither is there."""

    def held(agrees: bool, text: str, advice: str = "") -> Held:
        return Held(subject="announced", aggregate=aggregate, agrees=agrees, text=text, advice=advice)

    if last is None:
        return None
    if shown is None:
        return held(
            True,
            "no last value: the broker keeps them in memory, for seven days",
            "nothing to do: it comes with the next change, and commands read the log meanwhile",
        )
    if differing := paths(last.model_dump(mode="json"), shown.model_dump(mode="json")):
        return held(
            False,
            "the last value is not what its log leads to: " + "; ".join(differing[:MOST_NAMED]),
            "the next change puts it right; until then dashboards show what is not so",
        )
    return held(True, f"{shown.status}, as the log leads to")


def events(
    aggregate: str, sent: Sequence[Message], known: Set[str], live: Live | None, last: Set[str]
) -> Held:
    """Whether every event that follows from the log was published. `known`: ids in the log's stream; `last`: those of
    the last change, which may be on their way."""
    wanted = [m for m in sent if (route := ROUTES.get(type(m))) is not None and route.stream is Stream.RO]
    missing = [m for m in wanted if m.id not in known]
    on_the_way = live is not None and live.waiting and all(m.id in last for m in missing)
    if missing and not on_the_way:
        return Held(
            subject="events",
            aggregate=aggregate,
            agrees=False,
            text=f"never published: {', '.join(subject_of(m) for m in missing[:MOST_NAMED])}",
            advice="who listens for them did not hear: restart the owner, which publishes what it left, and look again",
        )
    text = f"{len(wanted)} published" if not missing else f"{len(missing)} of {len(wanted)} on their way"
    return Held(subject="events", aggregate=aggregate, agrees=True, text=text)


def paths(expected: Any, found: Any, at: str = "") -> list[str]:
    """Where two values of JSON types differ, as `path: expected X, found Y`."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return [
            line
            for key in _keys(expected, found)
            for line in paths(expected.get(key), found.get(key), f"{at}.{key}".lstrip("."))
        ]
    if expected == found:
        return []
    return [f"{at or 'value'}: expected {_short(expected)}, found {_short(found)}"]


def _keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterable[str]:
    return sorted({*one, *other})


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
