"""A release of one component, and a process that answers for every node at once."""

from __future__ import annotations

import asyncio
from typing import Any

from bumpless.common.access.entry import Entry
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import Digest, derive_id
from bumpless.common.contract.envelope import Envelope
from bumpless.common.model.fleet import ComponentObserved, ComponentState, Node
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Component, Placement, Release, Run
from bumpless.common.model.strategy import Strategy
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection, Received

BATCH = 20
AT_ONCE = 64
SAID_AGAIN_S = 20.0
STATES = (("staging", 0.1), ("starting", 0.4), ("switching", 0.7), ("draining", 0.8), ("serving", 1.0))
"""What a node tells of a step, as the executor does."""


def root(version: str) -> Digest:
    return Digest("sha256:" + derive_id("root", version).replace("-", "").ljust(64, "0"))


def release(version: str, nodes: int) -> Release:
    component = Component(
        name="api",
        version=version,
        root=root(version),
        artifact=root("artifact " + version),
        artifact_size=1000,
        run=Run(command=("bin/api",)),
        strategy=Strategy(batch_size=BATCH),
        place=Placement(),
    )
    return Release(product="bench", version=version, components=(component,), max_unavailable=nodes)


class Fleet:
    """Answers for every node at once: done."""

    def __init__(self, connection: Connection, nodes: int) -> None:
        self._connection = connection
        self._running: dict[str, tuple[Target | None, int]] = {
            f"node-{number}": (None, 0) for number in range(nodes)
        }

    async def appear(self) -> None:
        for name in self._running:
            await self._observed(name)

    async def stay(self) -> None:
        """Every node says again and again what it runs: one that is silent is not rolled out to."""
        while True:
            for name in self._running:
                await asyncio.sleep(SAID_AGAIN_S / len(self._running))
                await self._observed(name)

    async def take(self, received: Received) -> None:
        command = wire.decode(Envelope.from_bytes(received.data).payload)
        if not isinstance(command, c.StageComponent | c.ApplyComponent):
            return
        common = {
            "at": clock.now(),
            "cause": command.id,
            "rollout": command.rollout,
            "plan_hash": command.plan_hash,
            "node": command.node,
            "component": command.component,
            "sequence": command.sequence,
        }
        if isinstance(command, c.StageComponent):
            staged = {**common, "id": derive_id(command.id, "staged"), "ok": True, "used": "present"}
            await self._tell(e.StepStaged.model_validate(staged))
            return
        for state, share in STATES:
            told = {**common, "id": derive_id(command.id, state), "state": state, "share": share}
            await self._tell(e.StepProgressed.model_validate(told))
        self._running[command.node] = command.target, command.generation
        await self._observed(command.node)
        finished = {
            **common,
            "id": derive_id(command.id, "finished"),
            "batch": command.batch,
            "generation": command.generation,
            "outcome": "done",
            "root": None if command.target is None else command.target.root,
            "version": None if command.target is None else command.target.version,
        }
        await self._tell(e.StepFinished.model_validate(finished))

    async def _observed(self, name: str) -> None:
        target, generation = self._running[name]
        seen = ComponentObserved(
            component="api",
            state=ComponentState.ABSENT if target is None else ComponentState.SERVING,
            target=target,
            root=None if target is None else target.root,
            generation=generation,
        )
        node = Node(name=name, address="127.0.0.1", components={"api": seen}, observed_at=clock.now())
        await self._tell(e.NodeObserved(id=clock.fresh_id(), at=clock.now(), node=node))

    async def _tell(self, message: Any) -> None:
        await self._connection.publish(message, source="executor")


async def serve_fleet(broker: Entry, nodes: int) -> None:
    """The process of the nodes."""
    connection = await Connection.connect(broker, name="fleet")
    fleet = Fleet(connection, nodes)
    await fleet.appear()
    waiting: asyncio.Queue[Received] = asyncio.Queue()
    await connection.subscribe(subjects.commands_live("*"), waiting.put)
    print("ready", flush=True)

    async def work() -> None:
        while True:
            await fleet.take(await waiting.get())

    await asyncio.gather(fleet.stay(), *(work() for _ in range(AT_ONCE)))
