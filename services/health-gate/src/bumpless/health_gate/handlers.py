"""The service while it works: commands become gates, ticks become judgements.

A gate is the aggregate `<rollout>/<gate>`. Its log is the rollout's own: the commands that opened and closed it
and the verdict, so nothing is logged twice, and an emptied store is filled again from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bumpless.common.contract.base import Message
from bumpless.common.contract.commands import CloseGate, OpenGate
from bumpless.common.contract.gate_dry_run import GateDryRun, GateDryRunAnswer
from bumpless.common.contract.subjects import Stream, subject_for
from bumpless.common.engine.decision import Deadline, Decision, one_by_one
from bumpless.common.shell.broker import Connection, Received
from bumpless.common.shell.clock import Clock
from bumpless.common.shell.kind import Rebuilt
from bumpless.common.shell.reading import read
from bumpless.common.shell.run import Runner
from bumpless.health_gate import gate_run, telemetry
from bumpless.health_gate.gate_run import GateRun, GateStatus, judged
from bumpless.health_gate.offline.logged import LOGGED, OWNER, aggregate_of, decided
from bumpless.health_gate.sources.registry import Sources


class GateKind:
    """Gates as an aggregate of the runner. See `kind.Kind`."""

    owner = OWNER

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def decide(self, state: GateRun | None, message: Message, now: datetime) -> Decision[GateRun | None]:
        return gate_run.decide(state, message, now)

    def decide_all(
        self, state: GateRun | None, messages: Sequence[Message], now: datetime
    ) -> Decision[GateRun | None]:
        return one_by_one(self.decide, state, messages, now)

    def dump(self, state: GateRun) -> bytes:
        return state.model_dump_json().encode()

    async def load(self, data: bytes) -> GateRun:
        return GateRun.model_validate_json(data)

    def next_deadline(self, state: GateRun) -> Deadline | None:
        return gate_run.next_deadline(state)

    def status(self, state: GateRun) -> str:
        return state.status

    def told(self, state: GateRun, message: Message, now: datetime) -> tuple[Message, ...]:
        return ()

    def logged(
        self,
        aggregate: str,
        version: int,
        before: GateRun | None,
        after: GateRun,
        inputs: Sequence[Message],
        notes: tuple[str, ...],
        now: datetime,
    ) -> Message | None:
        return None

    async def rebuild(self, aggregate: str) -> Rebuilt[GateRun] | None:
        rollout, _, _ = aggregate.partition("/")
        return (await self._read(rollout)).get(aggregate)

    async def unfinished(self) -> list[str]:
        """The gates that the log shows open."""
        return [
            aggregate
            for aggregate, rebuilt in (await self._read("*")).items()
            if rebuilt.state.status is GateStatus.OPEN
        ]

    async def _read(self, rollout: str) -> dict[str, Rebuilt[GateRun]]:
        wanted = [subject_for(kind, rollout=rollout) for kind in LOGGED]
        return _replayed(await self._connection.snapshot(Stream.RO, wanted, history=True))


def _replayed(log: Sequence[Received]) -> dict[str, Rebuilt[GateRun]]:
    """Every gate of the log, from the messages about it in their order."""
    messages = [message for item in log if (message := read(item)) is not None]
    return {
        aggregate: Rebuilt(decisions[-1].after, decisions[-1].version, 0, ())
        for aggregate, decisions in decided(messages).items()
    }


class HealthGate:
    """Handlers of the service; each may be called again with the same message at any time."""

    def __init__(
        self,
        runner: Runner[GateRun],
        sources: Sources,
        clock: Clock,
    ) -> None:
        self._runner = runner
        self._sources = sources
        self._clock = clock

    async def command(self, message: OpenGate | CloseGate) -> None:
        """Open or close a gate."""
        await self._runner.handle(aggregate_of(message), message)
        if isinstance(message, CloseGate):
            await self._sources.end(message.gate)

    async def dry_run(self, asked: GateDryRun) -> GateDryRunAnswer:
        """Which series a gate would read now."""
        return await self._sources.dry_run(asked)

    async def on_deadline(self, aggregate: str, deadline: Deadline) -> None:
        """A tick: look at the samples and tell the gate. Left for the next look while samples are still replayed."""
        state = await self._runner.peek(aggregate)
        if state is None or state.opened is None or state.status is not GateStatus.OPEN:
            return
        now = self._clock()
        found = await self._sources.judged(state.opened, now)
        if found is None:
            telemetry.LOOKS.labels("replaying").inc()
            return
        telemetry.LOOKS.labels(found.verdict or "open").inc()
        await self._runner.handle(aggregate, judged(state.opened, found, now))
        if found.verdict is not None or (
            state.opened.spec.source is not None and not await self._is_open(aggregate)
        ):
            await self._sources.end(state.gate)

    async def _is_open(self, aggregate: str) -> bool:
        """Whether the gate is still open: it may have been closed while it was judged."""
        state = await self._runner.peek(aggregate)
        return state is not None and state.status is GateStatus.OPEN
