"""Alerts and silences as aggregates of the runner: `alert/<fingerprint>` and `silence/<id>`.

Their log is the stream `ALR`: the last message about one has all there is to know, so an emptied store is filled from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from pydantic import TypeAdapter

from bumpless.alerts import machine, silences
from bumpless.common.contract.alerts import (
    AlertChanged,
    ExpireSilence,
    SetSilence,
    SilenceChanged,
)
from bumpless.common.contract.base import Message
from bumpless.common.contract.subjects import Stream, subject_for
from bumpless.common.engine.decision import Deadline, Decision, one_by_one
from bumpless.common.model.alert import Alert, Silence
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.kind import Rebuilt
from bumpless.common.shell.reading import readable

OWNER = "alerts"
Kept = Alert | Silence
_KEPT: TypeAdapter[Kept] = TypeAdapter(Kept)


def alert_aggregate(fingerprint: str) -> str:
    return f"alert/{fingerprint}"


def silence_aggregate(silence: str) -> str:
    return f"silence/{silence}"


class AlertKind:
    """See `kind.Kind`."""

    owner = OWNER

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def decide(self, state: Kept | None, message: Message, now: datetime) -> Decision[Kept | None]:
        found: Decision[Silence | None] | Decision[Alert | None]
        if isinstance(state, Silence) or isinstance(message, SetSilence | ExpireSilence):
            found = silences.decide(state if isinstance(state, Silence) else None, message, now)
        else:
            found = machine.decide(state, message, now)
        return Decision(found.state, found.messages, found.notes)

    def decide_all(
        self, state: Kept | None, messages: Sequence[Message], now: datetime
    ) -> Decision[Kept | None]:
        return one_by_one(self.decide, state, messages, now)

    def dump(self, state: Kept) -> bytes:
        return state.model_dump_json().encode()

    async def load(self, data: bytes) -> Kept:
        return _KEPT.validate_json(data)

    def next_deadline(self, state: Kept) -> Deadline | None:
        return None if isinstance(state, Silence) else machine.next_deadline(state)

    def status(self, state: Kept) -> str:
        return "silence" if isinstance(state, Silence) else state.status

    def told(self, state: Kept, message: Message, now: datetime) -> tuple[Message, ...]:
        return ()

    def logged(
        self,
        aggregate: str,
        version: int,
        before: Kept | None,
        after: Kept,
        inputs: Sequence[Message],
        notes: tuple[str, ...],
        now: datetime,
    ) -> Message | None:
        return None

    async def rebuild(self, aggregate: str) -> Rebuilt[Kept] | None:
        what, _, name = aggregate.partition("/")
        wanted = (
            subject_for(AlertChanged, fingerprint=name)
            if what == "alert"
            else subject_for(SilenceChanged, silence_id=name)
        )
        for state in await self._read(wanted):
            return Rebuilt(state, state.revision if isinstance(state, Alert) else 1, 0, ())
        return None

    async def unfinished(self) -> list[str]:
        return [
            alert_aggregate(state.fingerprint)
            for state in await self.everything()
            if isinstance(state, Alert) and machine.next_deadline(state) is not None
        ]

    async def everything(self) -> list[Kept]:
        """Every alert and silence that the stream knows, as it is now."""
        return await self._read(subject_for(AlertChanged), subject_for(SilenceChanged))

    async def _read(self, *wanted: str) -> list[Kept]:
        items = await self._connection.snapshot(Stream.ALR, wanted)
        return list(_states(readable(items, AlertChanged), readable(items, SilenceChanged)))


def _states(alerts: Iterable[AlertChanged], found: Iterable[SilenceChanged]) -> Iterable[Kept]:
    yield from (message.silence for message in found)
    yield from (message.alert for message in alerts)
