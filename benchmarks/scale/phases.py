"""What is measured on one fleet: the bare broker, and what the control plane makes of the same fleet."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import nats.js.errors
from nats.js import api

from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import Digest, RolloutId, canonical_json, derive_id
from bumpless.common.contract.commands import Rollback
from bumpless.common.contract.envelope import RELEASE_TYPE
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Retryable
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Component, Release, Run
from bumpless.common.model.rollout import rollout_id
from bumpless.common.model.strategy import Strategy, StrategyKind
from bumpless.common.shell import clock
from bumpless.common.shell.broker import BATCH_LIMIT, Connection, StaleSequence
from scale.nodes import BARE, BARE_MARK, BARE_SAID, METRICS, name_of
from scale.plane import Plane

PRODUCT, COMPONENT = "bench", "api"
BATCHES = 20
BARE_ROUNDS = 3
BARE_COMMAND = b"x" * 2600
"""As large as a signed command."""
METRICS_S = 10.0
WINDOW_S = 20.0
IDLE_S = 15.0
"""One inventory of every node."""
BENCH = "bench"
"""This process, among the parts whose CPU time is told."""
GATED_S = 240.0
"""After which the phase with gates is left out."""
LIMIT_S = 900.0
"""After which a phase is given up."""


def target(version: str) -> Target:
    return Target(
        component=COMPONENT,
        version=version,
        root=_digest(version, 0),
        artifact=_digest(version, 1),
        artifact_size=1000,
        run=Run(command=("bin/serve",)),
    )


def _digest(version: str, kind: int) -> Digest:
    return Digest(f"sha256:{int(version.split('.')[0]):063x}{kind}")


def release(version: str, strategy: Strategy, gate: GateSpec | None, most_out: int) -> Release:
    new = target(version)
    component = Component(
        name=COMPONENT,
        version=version,
        root=new.root,
        artifact=new.artifact,
        artifact_size=new.artifact_size,
        run=new.run,
        strategy=strategy,
        gate=gate,
    )
    return Release(product=PRODUCT, version=version, components=(component,), max_unavailable=most_out)


@dataclass
class Turn:
    """One entry of a rollout's log, or one announcement about it, when it came here (seconds, monotonic)."""

    at: float
    message: Any


class NotReached(Exception):
    """A phase did not come to its end; says what was expected and what was found."""


class Seen:
    """Everything that is logged about rollouts, as it comes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turns: list[Turn] = []
        self._came = asyncio.Event()

    async def follow(self) -> None:
        async for item in self._connection.follow(Stream.RO, subjects.rollout_subjects()):
            self._turns.append(Turn(time.monotonic(), wire.decode(item.data)))
            self._came.set()

    async def when(self, what: str, holds: Callable[[Any], bool]) -> float:
        """The moment of the first message for which `holds` is true."""
        seen = 0
        deadline = time.monotonic() + LIMIT_S
        while True:
            for turn in self._turns[seen:]:
                if holds(turn.message):
                    return turn.at
                if isinstance(turn.message, e.ReleaseRefused | e.RolloutFailed | e.RolloutHalted):
                    raise NotReached(f"expected {what}, found {turn.message}")
            seen = len(self._turns)
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), deadline - time.monotonic())
            except TimeoutError:
                raise NotReached(f"expected {what} within {LIMIT_S:g} s, found nothing") from None

    async def status(self, rollout: str, status: str) -> float:
        return await self.when(
            f"{rollout} to be {status}",
            lambda m: isinstance(m, e.RolloutAdvanced) and m.rollout == rollout and m.status == status,
        )


class Fleet:
    """The phases, on one fleet, in their order."""

    def __init__(self, plane: Plane, connection: Connection, seen: Seen, nodes: int) -> None:
        self._plane, self._connection, self._seen, self._nodes = plane, connection, seen, nodes
        self._key = SigningKey.load(plane.home.release_key)

    async def idle(self) -> dict[str, Any]:
        """What the fleet costs while nothing happens: pings, inventories, and looks for commands that were missed."""
        async with self._measured() as figures:
            await asyncio.sleep(IDLE_S)
        return figures

    async def bare(self) -> dict[str, Any]:
        """The same number of messages of the same sizes, through the same broker and the same connections."""
        js = self._connection.js
        with suppress(nats.js.errors.BadRequestError):  # it is there
            await js.add_consumer(
                "EVT",
                api.ConsumerConfig(
                    durable_name=BARE,
                    filter_subject=f"evt.*.{BARE_SAID}",
                    ack_policy=api.AckPolicy.EXPLICIT,
                    max_ack_pending=10_000,
                    deliver_policy=api.DeliverPolicy.NEW,
                ),
            )
        answers = await js.pull_subscribe_bind(BARE, "EVT")
        rounds = []
        before = self._cpu_s()
        for number in range(BARE_ROUNDS):
            began = time.monotonic()
            sending = asyncio.create_task(self._send_bare(number))
            left = self._nodes
            while left:
                try:
                    found = await answers.fetch(min(left, 500), timeout=30)
                except TimeoutError:
                    raise NotReached(
                        f"expected {self._nodes} bare answers, found {self._nodes - left}"
                    ) from None
                await asyncio.gather(*(message.ack() for message in found))
                left -= len(found)
            await sending
            rounds.append(time.monotonic() - began)
        used = {part: seconds / BARE_ROUNDS for part, seconds in self._used_s(before).items()}
        return {"rounds_s": rounds, "s": statistics.median(rounds), "cpu_s": _rounded(used)}

    def _cpu_s(self) -> dict[str, float]:
        """CPU seconds of all parts, the simulated nodes and this process so far."""
        return self._plane.cpu_s() | {BENCH: time.process_time()}

    def _used_s(self, before: dict[str, float]) -> dict[str, float]:
        return {part: seconds - before[part] for part, seconds in self._cpu_s().items()}

    async def _send_bare(self, number: int) -> None:
        command = str(number).ljust(BARE_MARK).encode() + BARE_COMMAND
        items = [
            (f"cmd.{name_of(node)}.{BARE}", command, {wire.MSG_ID_HEADER: f"bare-{number}-{node}"})
            for node in range(self._nodes)
        ]
        for start in range(0, len(items), BATCH_LIMIT):
            while True:
                try:
                    await self._connection.publish_batch(items[start : start + BATCH_LIMIT])
                    break
                except (Retryable, StaleSequence):  # answered twice is counted once: answers have an id
                    continue

    async def upgrade(self, version: str, strategy: Strategy, gate: GateSpec | None = None) -> dict[str, Any]:
        """A release from its announcement to its end: to plan, to stage, to apply."""
        most = -(-self._nodes // BATCHES) if strategy.kind is StrategyKind.ROLLING else self._nodes
        made = release(version, strategy, gate, most)
        rollout = rollout_id(PRODUCT, made.digest, 0)
        envelope = self._key.sign(RELEASE_TYPE, canonical_json(made.model_dump(mode="json")))
        async with self._measured() as figures:
            announced = time.monotonic()
            await self._connection.publish(
                e.ReleaseAnnounced(
                    id=derive_id("bench", version),
                    at=clock.now(),
                    product=PRODUCT,
                    digest=made.digest,
                    envelope=envelope.to_bytes().decode(),
                ),
                source="bench",
            )
            planned = await self._seen.status(rollout, "staging")
            rolling = await self._seen.status(rollout, "rolling")
            before = self._cpu_s()
            done = await self._seen.status(rollout, "succeeded")
        return figures | {
            "rollout": rollout,
            "plan_s": planned - announced,
            "stage_s": rolling - planned,
            "apply_s": done - rolling,
            "apply_cpu_s": _rounded(self._used_s(before)),
            "whole_s": done - announced,
        }

    async def rollback(self, rollout: RolloutId) -> dict[str, Any]:
        """Every node back: from the command of a person to the last answer that counts."""
        async with self._measured() as figures:
            asked = time.monotonic()
            await self._connection.publish(
                Rollback(id=clock.fresh_id(), at=clock.now(), rollout=rollout, by="bench"), source="bench"
            )
            started = await self._seen.when(
                "the revert to start", lambda m: isinstance(m, e.RevertStarted) and m.rollout == rollout
            )
            done = await self._seen.when(
                "the rollout to be reverted",
                lambda m: isinstance(m, e.RolloutReverted) and m.rollout == rollout,
            )
        return figures | {"begin_s": started - asked, "apply_s": done - started, "whole_s": done - asked}

    async def gated(self, version: str) -> dict[str, Any]:
        """A canary of one batch and then the rest, both judged; what is beyond the windows is ours."""
        await self._connection.nc.publish(METRICS, json.dumps(METRICS_S).encode())
        await asyncio.sleep(2 * METRICS_S)
        strategy = Strategy(kind=StrategyKind.CANARY, canary="5%", batch_size="100%")
        gate = GateSpec(
            interval_s=METRICS_S, window_s=WINDOW_S, timeout_s=5 * WINDOW_S, warm_up_s=0, min_samples=10
        )
        figures = await self.upgrade(version, strategy, gate)
        await self._connection.nc.publish(METRICS, b"0")
        return figures

    @asynccontextmanager
    async def _measured(self) -> AsyncIterator[dict[str, Any]]:
        """CPU seconds of every part, and what the broker stored, while the block runs."""
        figures: dict[str, Any] = {}
        before, stored, began = self._cpu_s(), await self._stored(), time.monotonic()
        yield figures
        took = time.monotonic() - began
        figures["cpu_s"] = _rounded(self._used_s(before))
        figures["messages"] = await self._stored() - stored
        figures["messages_per_s"] = figures["messages"] / took
        figures["took_s"] = took

    async def _stored(self) -> int:
        """How many messages the broker has stored so far."""
        return sum(info.state.last_seq for info in await self._connection.js.streams_info())


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {part: round(used, 2) for part, used in seconds.items()}


async def measured(plane: Plane, nodes: int, *, gates: bool) -> dict[str, Any]:
    """All phases on a fleet of `nodes`, which run 1.0.0; `gates`: also one that is judged."""
    connection = await Connection.connect(plane.entry, name="bench")
    seen = Seen(connection)
    following = asyncio.create_task(seen.follow())
    fleet = Fleet(plane, connection, seen, nodes)
    size = -(-nodes // BATCHES)
    try:
        found: dict[str, Any] = {"nodes": nodes}

        async def phase(name: str, work: Awaitable[dict[str, Any]]) -> None:
            found[name] = await work
            print(nodes, name, json.dumps(found[name]), flush=True)

        await phase("idle", fleet.idle())
        await phase("bare", fleet.bare())
        await phase("all_at_once", fleet.upgrade("2.0.0", Strategy(kind=StrategyKind.ALL_AT_ONCE)))
        await phase("rollback", fleet.rollback(found["all_at_once"]["rollout"]))
        await phase("rolling", fleet.upgrade("3.0.0", Strategy(kind=StrategyKind.ROLLING, batch_size=size)))
        if gates:
            try:
                await phase("gated", asyncio.wait_for(fleet.gated("4.0.0"), GATED_S))
            except (TimeoutError, NotReached) as error:  # the other figures are as good without it
                found["gated_failed"] = str(error) or f"no verdict within {GATED_S:g} s"
                print(nodes, "gated: left out:", found["gated_failed"], flush=True)
        found["peak_mb"] = plane.peak_mb()
        return found
    finally:
        following.cancel()
        await connection.close()
