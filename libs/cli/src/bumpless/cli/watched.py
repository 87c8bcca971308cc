"""Following one rollout: what has been seen of it, and every change, through restarts of the broker.

Progress is kept in the broker's memory, so what is shown may be lost; how a rollout ended is not: that is taken from
its log, a moment after the log has it, so that progress comes first where there is any.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable
from dataclasses import dataclass, field

from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.base import Message, RolloutId
from bumpless.common.contract.subjects import Stream
from bumpless.common.model.rollout import TERMINAL, RolloutStatus
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.reading import read

LOG_S = 2.0
"""How long the log's last word waits for the progress that says more."""
_OF_PLAN = {"rollout", "of", "product", "release_version", "direction"}


@dataclass
class Watched:
    """What has been seen of a rollout: its last progress, that of its reverts, steps and gates.

    With `earlier`, the reverts there were before another one was asked for, it ends when that other one does.
    """

    rollout: RolloutId
    earlier: frozenset[RolloutId] | None = None
    forward: e.RolloutProgressed | None = None
    reverts: dict[str, e.RolloutProgressed] = field(default_factory=dict)
    steps: dict[tuple[str, str], e.StepProgressed] = field(default_factory=dict)
    gates: dict[str, e.GateProgressed] = field(default_factory=dict)
    planned: dict[str, e.RolloutPlanned] = field(default_factory=dict)
    refused: e.ReleaseRefused | None = None

    def take(self, message: Message) -> bool:
        """Keep what concerns this rollout; whether anything changed."""
        match message:
            case e.RolloutProgressed() if message.rollout == self.rollout:
                if self.forward is not None and self.forward.version > message.version:
                    return False
                self.forward = message
            case e.RolloutProgressed() if message.of == self.rollout:
                known = self.reverts.get(message.rollout)
                if known is not None and known.version > message.version:
                    return False
                self.reverts[message.rollout] = message
            case e.StepProgressed() if message.rollout == self.rollout or message.rollout in self.reverts:
                self.steps[(message.node, message.component)] = message
            case e.GateProgressed() if message.rollout == self.rollout:
                self.gates[message.batch] = message
            case e.ReleaseRefused() if message.rollout == self.rollout:
                self.refused = message
            case e.RolloutPlanned() if self.rollout in (message.rollout, message.of):
                self.planned[message.rollout] = message
                return message.rollout == self.rollout  # told as it is: what was found
            case _:
                return False
        return True

    def ending(self, message: e.RolloutAdvanced | e.RolloutFailed) -> e.RolloutProgressed | None:
        """The progress that the log's last word stands for; None where it is known already, or is no last word."""
        name = message.rollout
        known = self.forward if name == self.rollout else self.reverts.get(name)
        if isinstance(message, e.RolloutFailed):
            final, status = not (message.policy_auto and message.switched_anything), str(RolloutStatus.FAILED)
        else:
            final, status = RolloutStatus(message.status) in TERMINAL, message.status
        planned = self.planned.get(name)
        if not final or (known is not None and known.at >= message.at) or not (known or planned):
            return None
        changed = {"id": message.id, "at": message.at, "status": status, "since": message.at, "until": None}
        changed["version"] = int(message.at.timestamp() * 1000)
        if known is not None:
            return known.model_copy(update=changed)
        assert planned is not None
        return e.RolloutProgressed.model_validate({**planned.model_dump(include=_OF_PLAN), **changed})

    @property
    def revert(self) -> e.RolloutProgressed | None:
        """The latest revert."""
        return max(self.reverts.values(), key=lambda r: r.version, default=None)

    @property
    def ended(self) -> bool:
        """Whether nothing will move by itself any more; a revert under way is followed to its end."""
        if self.refused is not None:
            return True
        if self.earlier is not None:
            new = [r for r in self.reverts.values() if r.rollout not in self.earlier]
            return any(RolloutStatus(r.status) in TERMINAL for r in new)
        if self.forward is None:
            return False
        status = RolloutStatus(self.forward.status)
        revert = self.revert
        if revert is not None and status is not RolloutStatus.REVERTED:
            return RolloutStatus(revert.status) in TERMINAL
        if status is RolloutStatus.FAILED:
            return self.forward.until is None
        return status in TERMINAL

    @property
    def exit_code(self) -> int:
        """0 succeeded, 1 nothing known of it, 2 did not succeed, 4 waits for a person."""
        if self.forward is None:
            return 1
        status = RolloutStatus(self.forward.status)
        if status is RolloutStatus.SUCCEEDED and self.revert is None:
            return 0
        waits = status in (RolloutStatus.PAUSED, RolloutStatus.PLANNED) and self.revert is None
        return 4 if waits or ("awaiting-approval" in self.forward.batches.values() and not self.ended) else 2


class _Feeds:
    """Everything about one rollout, from several streams in one queue."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tasks: set[asyncio.Task[None]] = set()
        self.queue: asyncio.Queue[Message] = asyncio.Queue()

    def follow(self, stream: Stream, *filters: str) -> None:
        self._start(self._follow(stream, list(filters)))

    def later(self, message: Message, delay_s: float) -> None:
        self._start(self._later(message, delay_s))

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, stream: Stream, filters: list[str]) -> None:
        async for item in self._connection.follow(stream, filters, last_values=True):
            if (message := read(item)) is not None:
                self.queue.put_nowait(message)

    async def _later(self, message: Message, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self.queue.put_nowait(message)


def _log(rollout: RolloutId, *kinds: type[Message]) -> list[str]:
    return [subjects.subject_for(kind, rollout=rollout) for kind in kinds]


async def changes(
    connection: Connection,
    rollout: RolloutId,
    earlier: frozenset[RolloutId] | None,
    lost: Iterable[e.RolloutProgressed],
) -> AsyncGenerator[tuple[Watched, Message], None]:
    """Every change until the rollout has ended. `lost` is progress that nobody keeps any more, as the log has it."""
    watched = Watched(rollout, earlier)
    feeds = _Feeds(connection)
    asked: set[str] = set()  # last words of the log that wait for progress
    gates = subjects.subject_for(e.GateProgressed, rollout=rollout)
    progress = [subjects.subject_for(kind) for kind in (e.RolloutProgressed, e.StepProgressed)]
    log = (e.ReleaseRefused, e.RolloutPlanned, e.RolloutAdvanced, e.RolloutFailed, e.RevertStarted)
    for message in lost:
        feeds.queue.put_nowait(message)
    feeds.follow(Stream.RO, *_log(rollout, *log))
    feeds.follow(Stream.PROG, *progress, gates)
    try:
        while not watched.ended:
            found: Message | None = await feeds.queue.get()
            if isinstance(found, e.RevertStarted) and found.revert not in asked:
                asked.add(found.revert)
                feeds.follow(Stream.RO, *_log(found.revert, e.RolloutPlanned, e.RolloutAdvanced))
            if isinstance(found, e.RolloutAdvanced | e.RolloutFailed):
                ending = watched.ending(found)
                if found.id not in asked:
                    asked.add(found.id)
                    if ending is not None or not watched.planned:
                        feeds.later(found, LOG_S)
                    continue
                found = ending
            if found is not None and watched.take(found):
                yield watched, found
    finally:
        feeds.close()
