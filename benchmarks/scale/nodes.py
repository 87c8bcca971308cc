"""Simulated executors: as many as one process is told to hold, each on a connection of its own.

    python -m scale.nodes URL HOME FIRST COUNT PRODUCT_FILE

Each comes with its key, hears, verifies and answers signed commands with the messages of the real one, tells its progress and its
inventory as often, and ships metrics where it is told to. It has no disk and runs nothing, says from templates what it
says, reads of a command what it needs, and sends what nobody waits for (progress, inventory) without waiting for an
acknowledgement: ten thousand nodes would have a processor each for that.
On `cmd.NODE.bare` it answers any bytes with as many as an answer has: the same way through the broker, without us. It
answers on subjects of its own that no part of the benchmark reads.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from bumpless.cli.home import Home
from bumpless.common.access.entry import Entry
from bumpless.common.access.rights import ADMIN
from bumpless.common.artifacts.signing import Role, TrustStore
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import Message, derive_id
from bumpless.common.contract.envelope import COMMAND_TYPE, Envelope
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Retryable
from bumpless.common.model.fleet import ComponentState
from bumpless.common.model.plan import Target
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Away, Connection, Received
from bumpless.common.shell.nats_client import NODE_PING_S
from bumpless.executor.results import SHARES
from bumpless.executor.standing import Standing

BARE = "bare"
BARE_MARK = 8
"""The first bytes of a bare command number its round."""
BARE_SAID, BARE_TOLD = "returned-to-previous", "metrics-pushed"
"""What a node may say, and nobody here reads: in place of an answer, and of an inventory."""
BARE_ANSWER, BARE_PROGRESS, BARE_INVENTORY = b"x" * 900, b"x" * 330, b"x" * 1000
"""As large as what a step says."""
METRICS = "bench.metrics"
"""Told the seconds between two scrapes; 0: none."""
HEARTBEAT_S = 15.0
CATCH_UP_S = 60.0
AGAIN_S = 0.5
CONNECT_AT_ONCE = 100


class SimNode:
    """One node with one component, which always does what it is told."""

    def __init__(self, name: str, target: Target, trust: TrustStore) -> None:
        self.name, self._target, self._trust = name, target, trust
        self._numbers = (0, 0)
        self._standing = b""
        self._scrapes = 0
        self._switched = 0
        self._bare = ""

    async def start(self, entry: Entry) -> None:
        self._connection = await Connection.connect(
            entry, name=self.name, on_reconnect=self._catch_up, connect_timeout_s=120, ping_s=NODE_PING_S
        )
        self._commands = Standing(self._connection, self.name, lambda: (self._target.component,))
        await self._connection.subscribe(subjects.commands_live(self.name), self._heard)
        await self._observe(waiting=True)

    async def beat(self) -> None:
        await asyncio.sleep(random.uniform(0, HEARTBEAT_S))
        while True:
            await self._observe()
            await asyncio.sleep(HEARTBEAT_S)

    async def ship(self, every_s: float) -> None:
        await asyncio.sleep(random.uniform(0, every_s))
        while True:
            await self._sample()
            await asyncio.sleep(every_s)

    async def keep_up(self) -> None:
        """The standing command is read again every minute, as the real one does."""
        await asyncio.sleep(random.uniform(0, CATCH_UP_S))  # a fleet that was not started at one moment
        while True:
            await self._catch_up()
            await asyncio.sleep(random.uniform(0.5, 1) * CATCH_UP_S)

    async def _catch_up(self) -> None:
        with suppress(Retryable):
            for received in await self._commands.read():
                await self._heard(received)

    async def _heard(self, received: Received) -> None:
        if received.subject.endswith("." + BARE):
            await self._answer_bare(received.data[:BARE_MARK].decode().strip())
            return
        if received.data == self._standing:
            return
        self._standing = received.data
        envelope = Envelope.from_bytes(received.data)
        command = json.loads(self._trust.verify(envelope, payload_type=COMMAND_TYPE, role=Role.DEPLOY))
        numbers = (command["generation"], command["sequence"])
        if command["node"] == self.name and numbers > self._numbers:
            self._numbers = numbers
            await self._obey(command)

    async def _answer_bare(self, number: str) -> None:
        """As many messages as a step takes, as large, acknowledged where those are."""
        if number == self._bare:
            return
        self._bare = number
        for state in SHARES:
            subject = f"prog.{BARE}.step.{self.name}.{BARE}"
            await self._tell(subject, BARE_PROGRESS, f"{BARE}-{number}-{self.name}-{state}")
        subject = f"evt.{self.name}.{BARE_SAID}"
        await self._say_bytes(subject, BARE_ANSWER, f"{BARE}-{number}-{self.name}", Stream.EVT)
        subject = f"evt.{self.name}.{BARE_TOLD}"
        await self._tell(subject, BARE_INVENTORY, f"{BARE}-{number}-{self.name}-inventory")

    async def _obey(self, command: dict[str, Any]) -> None:
        if command["type"] == "stage-component":
            await self._progress(command, ComponentState.STAGING)
            await self._answer(command, e.StepStaged)
            return
        for state in SHARES:
            await self._progress(command, state)
        self._target, self._switched = _read_target(command["target"]), self._switched + 1
        await self._answer(command, e.StepFinished)
        await self._observe()

    async def _answer(self, command: dict[str, Any], kind: type[e.StepStaged | e.StepFinished]) -> None:
        """What `results` says of a step that is done, as its bytes: but for who says it, all nodes say the same."""
        word = wire.type_of_kind(kind)
        known = (command["rollout"], command["batch"], kind)
        if known not in _ANSWERS:
            _ANSWERS[known] = wire.encode(_answered(command, kind)).decode()
        number = (str(command["generation"]), str(command["sequence"]))
        mark = derive_id(command["rollout"], self.name, command["component"], *number, word)
        body = (
            _ANSWERS[known]
            .replace(SOME_ID, mark)
            .replace(SOME_CAUSE, command["id"])
            .replace(SOME_NODE, self.name)
        )
        subject = f"evt.{self.name}.{word}"
        if kind is e.StepFinished:
            subject += "." + command["direction"]
        await self._say_bytes(subject, body.encode(), mark, Stream.EVT, word)

    async def _progress(self, command: dict[str, Any], state: ComponentState) -> None:
        """What `results.progressed` says, as its bytes."""
        rollout, cause, component = command["rollout"], command["id"], command["component"]
        mark = f"{cause}-{state}"
        body = (
            f'{{"id":"{mark}","at":"{clock.now().isoformat()}","cause":"{cause}","type":"step-progressed",'
            f'"rollout":"{rollout}","node":"{self.name}","component":"{component}",'
            f'"state":"{state}","detail":"","share":{SHARES[state]}}}'
        )
        await self._tell(f"prog.{rollout}.step.{self.name}.{component}", body.encode(), mark)

    async def _say_bytes(
        self, subject: str, body: bytes, mark: str, stream: Stream, word: str = "step-progressed"
    ) -> None:
        while True:
            try:
                await self._connection.js.publish(
                    subject, body, headers=_headers(mark, subject, word), stream=stream.value
                )
                return
            except Away:
                await asyncio.sleep(AGAIN_S)

    async def _tell(self, subject: str, body: bytes, mark: str, word: str = "step-progressed") -> None:
        """Say what nobody waits for; while the broker is away it is not said."""
        with suppress(*Away):
            await self._connection.nc.publish(subject, body, headers=_headers(mark, subject, word))

    async def _observe(self, *, waiting: bool = False) -> None:
        """What `NodeObserved` says of this node, as its bytes."""
        generation, sequence = self._numbers
        mark = clock.fresh_id()
        at = clock.now().isoformat()
        body = (
            f'{{"id":"{mark}","at":"{at}","cause":null,"type":"node-observed","node":{{"name":"{self.name}",'
            f'"address":"127.0.0.1","labels":{{}},"components":{{"{self._target.component}":{{'
            f'"component":"{self._target.component}","state":"serving","target":{self._said()},'
            f'"root":"{self._target.root}","previous":null,"staged":[],"generation":{generation},'
            f'"sequence":{sequence},"instances":1,"restarts":0}}}},"observed_at":"{at}","identity":"{self.name}",'
            f'"executor":"{self.name}","ordered":0}}}}'
        )
        subject = f"inv.{self.name}"
        if waiting:
            await self._say_bytes(subject, body.encode(), mark, Stream.INV)
        else:
            await self._tell(subject, body.encode(), mark)

    def _said(self) -> str:
        target = self._target
        if target.root not in _TARGETS:
            _TARGETS[target.root] = target.model_dump_json()
        return _TARGETS[target.root]

    async def _sample(self) -> None:
        """Counters of a service that answers 100 requests a second and fails at none, as the bytes of `MetricsSampled`."""
        self._scrapes += 1
        count = 500.0 * self._scrapes
        at = clock.now().isoformat()
        target, mark = self._target, derive_id(self.name, "metrics", at)
        samples = {
            'http_requests_total{status="200"}': count,
            'http_requests_total{status="500"}': 0.0,
            "http_request_duration_seconds_count": count,
            "http_request_duration_seconds_sum": count * 0.004,
            f'release_info{{digest="{target.root}",version="{target.version}"}}': 1.0,
            **dict.fromkeys(BUCKETS, count),
        }
        body = (
            f'{{"id":"{mark}","at":"{at}","cause":null,"type":"metrics-sampled","node":"{self.name}",'
            f'"component":"{target.component}","instance":"{self.name}-{self._switched}","version":"{target.version}",'
            f'"root":"{target.root}","sequence":{self._scrapes},"up":true,"samples":{json.dumps(samples)}}}'
        )
        await self._tell(f"evt.{self.name}.metrics-sampled", body.encode(), mark, "metrics-sampled")


_TARGETS: dict[str, str] = {}
"""Targets as JSON, by their root: all nodes get the same few."""
_READ: dict[str, Target] = {}
"""The same as they were read."""


def _read_target(fields: dict[str, Any]) -> Target:
    root = fields["root"]
    if root not in _READ:
        _READ[root] = Target.model_validate(fields)
    return _READ[root]


_ANSWERS: dict[tuple[str, str | None, type], str] = {}
"""Answers to a batch, with the marks below for what differs between nodes."""
SOME_ID, SOME_CAUSE, SOME_NODE = "some-id", "some-cause", "some-node"


def _answered(command: dict[str, Any], kind: type[e.StepStaged | e.StepFinished]) -> Message:
    now = clock.now()
    fields = {name: command[name] for name in kind.model_fields if name in command}
    fields |= {"id": SOME_ID, "at": now, "cause": SOME_CAUSE, "node": SOME_NODE}
    fields["type"] = wire.type_of_kind(kind)
    if kind is e.StepStaged:
        return kind.model_validate(fields | {"ok": True, "used": "full"})
    return kind.model_validate(
        fields
        | {
            "outcome": e.StepOutcome.DONE,
            "root": command["target"]["root"],
            "version": command["target"]["version"],
            "switched_at": now,
            "seconds": {"staging": 0.1, "starting": 0.5, "switching": 0.01, "draining": 0.5},
        }
    )


def _headers(mark: str, subject: str, word: str = "step-progressed") -> dict[str, str]:
    return {
        "Nats-Msg-Id": mark,
        "ce-specversion": "1.0",
        "ce-id": mark,
        "ce-type": f"io.bumpless.{word}",
        "ce-source": "/bumpless/executor",
        "ce-subject": subject,
        "content-type": "application/json",
    }


BUCKETS = tuple(
    f'http_request_duration_seconds_bucket{{le="{le}"}}'
    for le in ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf")
)


async def run(url: str, home: Home, first: int, count: int, target: Target) -> None:
    trust = TrustStore.load(home.trust)
    nodes = [SimNode(name_of(number), target, trust) for number in range(first, first + count)]
    for start in range(0, count, CONNECT_AT_ONCE):
        starting = nodes[start : start + CONNECT_AT_ONCE]
        await asyncio.gather(*(node.start(Entry(url, home.node_seed(node.name))) for node in starting))
    beats = [asyncio.create_task(work) for node in nodes for work in (node.beat(), node.keep_up())]
    shipping: list[asyncio.Task[None]] = []
    control = await Connection.connect(Entry(url, home.seed(ADMIN)), name=f"nodes-{first}")

    async def metrics(received: Received) -> None:
        for task in shipping:
            task.cancel()
        every_s = float(json.loads(received.data))
        works: list[Coroutine[Any, Any, None]] = [node.ship(every_s) for node in nodes] if every_s else []
        shipping[:] = [asyncio.create_task(work) for work in works]

    await control.subscribe(METRICS, metrics)
    await control.nc.flush()
    gc.disable()  # five thousand clients in one process: walking through them again and again took half of its time
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in (*beats, *shipping):
        task.cancel()


def name_of(number: int) -> str:
    return f"node-{number}"


def main() -> None:
    # What is said on standard output is for whoever started this.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    url, home, first, count, file = sys.argv[1:]
    target = Target.model_validate_json(Path(file).read_bytes())
    asyncio.run(run(url, Home(Path(home)), int(first), int(count), target))


if __name__ == "__main__":
    main()
