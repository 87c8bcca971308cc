"""What earlier rollouts of a product took, out of the log that they left. Dry runs ask, and people who watch.

The log of a rollout keeps what every node said about its steps, with the seconds that each part took, for 90 days.
The latest rollouts that ended are read, newest first, until every component is known well enough. What an ended
rollout took does not change, so it is read once, piece by piece, and of a very long log only the beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.plan_answer import Earlier, Took
from bumpless.common.contract.subjects import Stream
from bumpless.common.model.plan import Direction
from bumpless.common.model.rollout import TERMINAL, RolloutStatus
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.reading import readable

MOST_ROLLOUTS = 5
ENOUGH_STEPS = 50
MOST_STEPS = 500
"""Of one component in one rollout; more say nothing new."""
REMEMBERED = 100
MOST_BYTES = 16 << 20
READ_S = 5.0
"""Bounds of what is read of one log: whoever asks has other things to do. What comes after them is not known then."""
_EVER = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Record:
    """What one rollout took: seconds by component, and from its start until every node had staged."""

    steps: dict[str, tuple[float, ...]] = field(default_factory=dict)
    staging_s: float | None = None


def record_of(entries: Iterable[e.RolloutAdvanced]) -> Record:
    """The steps that were done, each once however often it was told. Pure."""
    found: dict[str, dict[tuple[str, int], float]] = {}
    began = staged = None
    for entry in entries:
        if entry.status == RolloutStatus.STAGING and began is None:
            began = entry.at
        if began is not None and staged is None and entry.status == RolloutStatus.ROLLING:
            staged = entry.at
        for item in entry.inputs:
            said = item.message
            if said.get("type") != "step-finished" or said.get("outcome") != "done":
                continue
            seconds, steps = said.get("seconds"), found.setdefault(str(said.get("component")), {})
            if isinstance(seconds, dict) and seconds and len(steps) < MOST_STEPS:
                steps[(str(said.get("node")), int(said.get("sequence") or 0))] = float(sum(seconds.values()))
    return Record(
        steps={name: tuple(steps.values()) for name, steps in found.items() if steps},
        staging_s=None if began is None or staged is None else (staged - began).total_seconds(),
    )


def earlier_of(records: Sequence[Record], components: Iterable[str]) -> Earlier:
    """`records` as one answer about `components`. Pure."""
    took = []
    for name in sorted(set(components)):
        known = [record.steps[name] for record in records if name in record.steps]
        if known:
            seconds = sorted(round(s, 3) for steps in known for s in steps)
            took.append(Took(component=name, rollouts=len(known), seconds=tuple(seconds)))
    staging = sorted(round(r.staging_s, 3) for r in records if r.staging_s is not None)
    return Earlier(steps=tuple(took), staging_s=tuple(staging))


class History:
    """Records of ended rollouts, read from the log when they are asked for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[str, Record] = {}

    async def earlier(self, product: str, components: Iterable[str]) -> Earlier:
        """Raises: Retryable: the broker is away."""
        wanted = set(components)
        records: list[Record] = []
        for rollout in await self._ended(product):
            records.append(await self._record(rollout))
            known = [sum(len(record.steps.get(name, ())) for record in records) for name in wanted]
            if min(known, default=ENOUGH_STEPS) >= ENOUGH_STEPS:
                break
        return earlier_of(records, wanted)

    async def _ended(self, product: str) -> list[str]:
        """The latest forward rollouts of the product that came to an end, newest first."""
        planned = await self._connection.snapshot(Stream.RO, subjects.subject_for(e.RolloutPlanned))
        last = await self._connection.snapshot(Stream.RO, subjects.subject_for(e.RolloutAdvanced))
        ended = {
            entry.rollout
            for entry in readable(last, e.RolloutAdvanced)
            if RolloutStatus(entry.status) in TERMINAL
        }
        mine = [
            message
            for message in readable(planned, e.RolloutPlanned)
            if message.product == product
            and message.direction is Direction.FORWARD
            and message.rollout in ended
        ]
        mine.sort(key=lambda message: (message.at, message.rollout), reverse=True)
        return [str(message.rollout) for message in mine[:MOST_ROLLOUTS]]

    async def _record(self, rollout: str) -> Record:
        known = self._known.get(rollout)
        if known is None:
            known = record_of(await self._beginning(rollout))
            while len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[rollout] = known
        return known

    async def _beginning(self, rollout: str) -> list[e.RolloutAdvanced]:
        subject = subjects.subject_for(e.RolloutAdvanced, rollout=rollout)
        last = max((item.sequence for item in await self._connection.last(Stream.RO, subject)), default=0)
        found: list[e.RolloutAdvanced] = []
        size = 0
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(READ_S),
                aclosing(self._connection.follow(Stream.RO, subject, since=_EVER)) as items,
            ):
                async for item in items:
                    found += readable([item], e.RolloutAdvanced)
                    size += len(item.data)
                    if item.sequence >= last or size > MOST_BYTES:
                        break
        return found
