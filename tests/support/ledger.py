"""A tiny aggregate for the runner, and a way out that keeps what it was given and fails when told to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bumpless.common.contract import events as e
from bumpless.common.contract import wire
from bumpless.common.contract.base import Message, RolloutId, derive_id
from bumpless.common.engine.decision import Deadline, Decision, one_by_one
from bumpless.common.errors import Broken
from bumpless.common.shell.broker import StaleSequence
from bumpless.common.shell.kind import Rebuilt, Still
from support.plans import T0, at


def alert(name: str, rollout: str = "r1") -> e.AlertFired:
    return e.AlertFired(id=derive_id("alert", rollout, name), at=T0, rollout=RolloutId(rollout), name=name)


@dataclass(frozen=True)
class Ledger:
    """The names of the alerts seen, each once; the log of the rollout `r1` is the real thing, its state is not."""

    names: tuple[str, ...] = ()


class LedgerKind:
    """Takes alerts: `ignored` changes nothing, `poison` raises, every other one is written down and confirmed."""

    owner = "planner"

    def __init__(self, outbound: MemoryOutbound) -> None:
        self._outbound = outbound
        self.unreadable: set[str] = set()
        """Aggregates whose log has lost an entry."""

    def decide(self, state: Ledger | None, message: Message, now: datetime) -> Decision[Ledger | None]:
        assert isinstance(message, e.AlertFired)
        if message.name == "poison":
            raise RuntimeError("a fault of ours")
        known = state or Ledger()
        if message.name == "ignored" or message.name in known.names:
            return Decision(state, (), ("nothing to do",))
        confirmed = e.RolloutCancelled(
            id=derive_id(message.id, "confirmed"), at=now, rollout=message.rollout, reason=message.name
        )
        return Decision(Ledger((*known.names, message.name)), (confirmed,), ())

    def decide_all(
        self, state: Ledger | None, messages: Sequence[Message], now: datetime
    ) -> Decision[Ledger | None]:
        return one_by_one(self.decide, state, messages, now)

    def dump(self, state: Ledger) -> bytes:
        return json.dumps(state.names).encode()

    async def load(self, data: bytes) -> Ledger:
        return Ledger(tuple(json.loads(data)))

    def next_deadline(self, state: Ledger) -> Deadline | None:
        return Deadline("next", at(len(state.names)))

    def status(self, state: Ledger) -> str:
        return str(len(state.names))

    def told(self, state: Ledger, message: Message, now: datetime) -> tuple[Message, ...]:
        return ()

    def logged(
        self,
        aggregate: str,
        version: int,
        before: Ledger | None,
        after: Ledger,
        inputs: Sequence[Message],
        notes: tuple[str, ...],
        now: datetime,
    ) -> Message | None:
        return e.RolloutAdvanced(
            id=derive_id(aggregate, "advanced", str(version), *(m.id for m in inputs)),
            at=now,
            rollout=RolloutId(aggregate),
            owner="planner",
            version=version,
            inputs=tuple(e.LoggedInput(at=now, message=json.loads(wire.encode(m))) for m in inputs),
            status_before=None,
            status=self.status(after),
            notes=notes,
        )

    async def unfinished(self) -> list[str]:
        return sorted({str(entry.rollout) for entry in self._outbound.entries})

    async def rebuild(self, aggregate: str) -> Rebuilt[Ledger] | None:
        if aggregate in self.unreadable:
            raise Broken(f"log of {aggregate}: expected another entry")
        state: Ledger | None = None
        messages: list[Message] = []
        entries = [x for x in self._outbound.entries if x.rollout == aggregate]
        for entry in entries:
            messages = []
            for item in entry.inputs:
                decision = self.decide(state, wire.from_dict(item.message), item.at)
                state = decision.state
                messages += decision.messages
        if state is None:
            return None
        return Rebuilt(state, entries[-1].version, self._outbound.sequence(aggregate), tuple(messages))


@dataclass
class MemoryOutbound:
    """Keeps log entries in order, sequence after sequence, and other messages by id; `fail` is raised once."""

    entries: list[e.RolloutAdvanced] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)
    fail_log: Exception | None = None
    fail_send: Exception | None = None
    meanwhile: Still | None = None
    """What others do before it is written."""

    def sequence(self, aggregate: str) -> int:
        return max((i for i, x in enumerate(self.entries, start=1) if x.rollout == aggregate), default=0)

    async def log(self, entry: Message, after: int, still: Still | None = None) -> int:
        assert isinstance(entry, e.RolloutAdvanced)
        if self.meanwhile is not None:
            await self.meanwhile()
        if after == 0 and still is not None:
            await still()
        if self.fail_log is not None:
            error, self.fail_log = self.fail_log, None
            raise error
        known = [i for i, x in enumerate(self.entries, start=1) if x.id == entry.id]
        if known:
            return known[0]
        if after != self.sequence(entry.rollout):
            raise StaleSequence(entry.rollout)
        self.entries.append(entry)
        return len(self.entries)

    async def send(self, messages: Sequence[Message]) -> None:
        if messages and self.fail_send is not None:
            error, self.fail_send = self.fail_send, None
            raise error
        self.sent += messages

    def confirmed(self) -> list[str]:
        """What was confirmed, every message id once, as a broker would keep it."""
        kept = {m.id: m.reason for m in self.sent if isinstance(m, e.RolloutCancelled)}
        return list(kept.values())
