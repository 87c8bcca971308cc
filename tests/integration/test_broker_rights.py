"""What no identity may do at a real broker, and what every one must be able to: the accounts of `bumpless up`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import nats
import nats.errors
import nats.js.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client

from bumpless.cli.home import Home
from bumpless.cli.identities import Identities
from bumpless.common.access.entry import Entry
from bumpless.common.access.rights import CI, OPERATOR, READER
from bumpless.common.errors import Refused
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.commanded import answer_nodes
from bumpless.common.shell.topology import DURABLES, KEEPER, ensure_topology
from bumpless.executor.standing import Standing
from support.fleet_lab import run_cli
from support.servers import NatsServer
from support.waiting import eventually

API = "$JS.API."
TOLD_S = 5.0

NODE_MAY_NOT_PUBLISH = (
    "cmd.node-b.core",  # commands, also its own
    "cmd.node-a.core",
    "live.node-b.core",
    "live.node-a.core",
    "evt.node-b.step-finished.forward",
    "evt.node-b.metrics-sampled",
    "evt.node-a.made-up",
    "inv.node-b",
    "prog.rollout-1.step.node-b.core",
    "prog.rollout-1.rollout",
    "prog.rollout-1.gate.batch",
    "ro.rollout-1.rollout-advanced",
    "ro.rollout-1.verdict-reached",
    "op.planner.rollout-1.approve",
    "op.planner.rollout-1.alert-fired",
    "op.planner.node-b.drain-node",
    "rel.product.announced",
    "alr.alert.changed",
    "cde.service.deployed",
    "whk.hook",
    "dlq.planner.REL",
    "report.all",
    "drill.node-b",
    "api.planner.plan",
    "api.health-gate.dry-run",
    "api.commands.node-b",
    "api.executor.node-b.stage-check",
    "api.executor.node-b.alert-hook",
    f"{API}INFO",
    f"{API}STREAM.NAMES",
    f"{API}STREAM.INFO.CMD",
    f"{API}STREAM.CREATE.MINE",
    f"{API}STREAM.UPDATE.CMD",
    f"{API}STREAM.DELETE.CMD",
    f"{API}STREAM.PURGE.RO",
    f"{API}STREAM.MSG.DELETE.RO",
    f"{API}STREAM.MSG.GET.CMD",
    f"{API}STREAM.SNAPSHOT.RO",
    f"{API}CONSUMER.CREATE.CMD",
    f"{API}CONSUMER.CREATE.CMD.mine.cmd.node-a.*",
    f"{API}CONSUMER.DURABLE.CREATE.EVT.mine",
    f"{API}CONSUMER.DELETE.EVT.planner",
    f"{API}CONSUMER.INFO.EVT.planner",
    f"{API}CONSUMER.MSG.NEXT.EVT.planner",
    f"{API}DIRECT.GET.CMD",
    f"{API}DIRECT.GET.CMD.cmd.node-b.core",
    f"{API}DIRECT.GET.CMD.cmd.*.*",
    f"{API}DIRECT.GET.CMD.>",
    f"{API}DIRECT.GET.INV.inv.node-b",
    f"{API}DIRECT.GET.RO",
    f"{API}DIRECT.GET.OBJ_plans",
    "$JS.ACK.EVT.planner.1.1.1.1.1",
    "$JS.ACK.>",
    "$O.artifacts.C.x",
    "$O.artifacts.M.x",
    "$O.plans.M.x",
    "$KV.bucket.key",
    "$SYS.REQ.SERVER.PING",
    "_INBOX.someone.else",
    "_R_.someone",
)
NODE_MAY_NOT_HEAR = (
    ">",
    "live.>",
    "live.*.*",
    "live.node-b.*",
    "cmd.>",
    "evt.>",
    "evt.node-b.*",
    "inv.*",
    "inv.node-b",
    "prog.>",
    "drill.*",
    "api.>",
    "api.executor.node-b.*",
    "_INBOX.>",
    "_R_.>",
    "$JS.>",
    "$SYS.>",
)
EVERY_SERVICE_MAY_NOT = (
    "evt.node-a.step-finished.forward",  # what nodes say
    "evt.node-a.metrics-sampled",
    "inv.node-a",
    "prog.rollout-1.step.node-a.core",
    "live.node-a.core",  # what streams say
    "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.RO.planner",
    "made.up",  # what nobody says
    "api.executor.node-a.made-up",
    "$O.made-up.M.x",
    "$KV.bucket.key",
    f"{API}STREAM.NAMES",
    f"{API}STREAM.LIST",
    f"{API}STREAM.CREATE.MINE",
    f"{API}STREAM.DELETE.RO",
    f"{API}STREAM.PURGE.RO",
    f"{API}STREAM.MSG.DELETE.RO",
    f"{API}STREAM.SNAPSHOT.RO",
    f"{API}STREAM.RESTORE.RO",
    f"{API}STREAM.LEADER.STEPDOWN.RO",
    f"{API}STREAM.PEER.REMOVE.RO",
    f"{API}META.LEADER.STEPDOWN",
    f"{API}ACCOUNT.PURGE.ORCHESTRATION",
    f"{API}STREAM.DELETE.OBJ_artifacts",
    f"{API}STREAM.MSG.DELETE.OBJ_artifacts",
    *(f"{API}CONSUMER.DELETE.{durable.stream}.{durable.name}" for durable in DURABLES),
    f"{API}CONSUMER.DELETE.CDE.webhook-hook",
    f"{API}CONSUMER.PAUSE.RO.planner",
    f"{API}CONSUMER.LEADER.STEPDOWN.RO.planner",
    f"{API}CONSUMER.DURABLE.CREATE.RO.mine",
    f"{API}CONSUMER.CREATE.RO",
    "$JS.ACK.RO.made-up.1.1.1.1.1",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.CLAIMS.UPDATE",
    "_INBOX.someone.else",
    "_R_.someone",
)
EVERY_SERVICE_MAY_NOT_HEAR = (
    ">",
    "*.>",
    "cmd.>",
    "live.>",
    "live.node-a.*",
    "api.>",
    "api.executor.*.*",
    "drill.*",
    "rel.>",
    "_INBOX.>",
    "_R_.>",
    "$JS.>",
    "$O.>",
    "$SYS.>",
)
SERVICE_MAY_NOT = {
    "planner": ("ro.r.verdict-reached", "ro.r.rollout-reverted", "alr.a.changed", "op.planner.r.approve"),
    "rollback": ("ro.r.verdict-reached", "ro.r.rollout-succeeded", "cmd.n._node.x", f"{API}STREAM.UPDATE.CMD"),
    "health-gate": ("cmd.n.c", "ro.r.rollout-advanced", "rel.p.announced", "$O.plans.M.x"),
    "alerts": ("cmd.n.c", "ro.r.verdict-reached", "rel.p.announced", "op.planner.r.approve", "$O.plans.M.x"),
    "events": ("cmd.n.c", "ro.r.rollout-advanced", "op.planner.r.approve", "$O.plans.M.x"),
    "dashboard": ("cmd.n.c", "ro.r.verdict-reached", "rel.p.announced", "op.planner.n.drain-node", "drill.n"),
    OPERATOR: ("cmd.n.c", "ro.r.verdict-reached", "alr.a.changed", "dlq.planner.REL", "$O.plans.M.x"),
    CI: ("cmd.n.c", "op.planner.r.approve", "drill.n", "report.all", f"{API}STREAM.UPDATE.RO"),
    READER: ("cmd.n.c", "op.planner.r.approve", "rel.p.announced", "rel.p.published", "$O.artifacts.M.x"),
}  # fmt: skip
ARTIFACTS = {OPERATOR, CI}
"""Who puts artifacts into the broker."""


class Broker:
    """A real server with the accounts of two nodes and every service."""

    def __init__(self, folder: Path) -> None:
        self.known = Identities(folder / "access")
        self.known.ensure(("node-a", "node-b"))
        self.server = NatsServer(folder / "nats", include=self.known.accounts)

    def entry(self, name: str) -> Entry:
        kind = "nodes" if name.startswith("node-") else "services"
        return Entry(self.server.url, self.known.seed(name, kind))

    @contextlib.asynccontextmanager
    async def as_(self, name: str) -> AsyncIterator[tuple[Client, list[str]]]:
        """A client, and what it was refused, in lower case as the client has it."""
        refused: list[str] = []

        async def told(error: Exception) -> None:
            refused.append(str(error))

        client = await nats.connect(
            self.entry(name).url, **self.entry(name).options(), error_cb=told, allow_reconnect=False
        )
        try:
            yield client, refused
        finally:
            await client.close()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    made = Broker(tmp_path_factory.mktemp("rights"))
    with made.server:
        asyncio.run(_declared(made))
        yield made


async def _declared(broker: Broker) -> None:
    keeper = await Connection.connect(broker.entry("planner"), name="test")
    await ensure_topology(keeper)
    await keeper.close()


async def _said(client: Client, refused: list[str], expected: int) -> str:
    """All that the broker refused by now: its words come before its answer to a ping, and are told by tasks."""
    until = time.monotonic() + TOLD_S
    await client.flush()
    while len(refused) < expected and time.monotonic() < until:  # a flush can swallow a cancellation
        await client.flush()
    return " ".join(refused)


async def _refused_to_publish(broker: Broker, name: str, wanted: Sequence[str]) -> list[str]:
    """Those of `wanted` that the broker let `name` publish."""
    async with broker.as_(name) as (client, refused):
        client._skip_subject_validation = True  # an attacker's client looks at nothing
        for subject in wanted:
            await client.publish(subject, b"{}")
        said = await _said(client, refused, len(wanted))
        return [subject for subject in wanted if f'publish to "{subject.lower()}"' not in said]


async def _refused_to_hear(broker: Broker, name: str, wanted: Sequence[str]) -> list[str]:
    """Those of `wanted` that the broker let `name` subscribe to."""
    async with broker.as_(name) as (client, refused):
        for subject in wanted:
            await client.subscribe(subject)
        said = await _said(client, refused, len(wanted))
        return [subject for subject in wanted if f'subscription to "{subject.lower()}"' not in said]


async def test_what_a_node_may_not_say_is_refused(broker: Broker) -> None:
    assert await _refused_to_publish(broker, "node-a", NODE_MAY_NOT_PUBLISH) == []


async def test_what_a_node_may_not_hear_is_refused(broker: Broker) -> None:
    assert await _refused_to_hear(broker, "node-a", NODE_MAY_NOT_HEAR) == []


@pytest.mark.parametrize("name", list(SERVICE_MAY_NOT))
async def test_what_a_service_may_not_is_refused(broker: Broker, name: str) -> None:
    wanted = [*EVERY_SERVICE_MAY_NOT, *SERVICE_MAY_NOT[name], *_of_others(name)]
    if name not in ARTIFACTS:
        wanted += ["$O.artifacts.M.x", f"{API}STREAM.PURGE.OBJ_artifacts"]
    assert await _refused_to_publish(broker, name, wanted) == []
    if name != READER:
        assert await _refused_to_hear(broker, name, EVERY_SERVICE_MAY_NOT_HEAR) == []


def _of_others(name: str) -> set[str]:
    """To take, settle or change what is delivered to other services."""
    return {
        subject
        for durable in DURABLES
        if durable.name != name
        for subject in (
            f"{API}CONSUMER.MSG.NEXT.{durable.stream}.{durable.name}",
            f"$JS.ACK.{durable.stream}.{durable.name}.1.1.1.1.1",
            *([] if name == KEEPER else [f"{API}CONSUMER.CREATE.{durable.stream}.{durable.name}"]),
        )
    }


REPLIES = (
    "cmd.node-b.core",
    "live.node-b.core",
    "evt.node-b.step-finished.forward",
    "inv.node-b",
    "ro.r.rollout-advanced",
)


@pytest.mark.parametrize("reply", REPLIES)
async def test_an_answer_that_is_aimed_at_somebodys_subject_is_stored_nowhere(
    broker: Broker, reply: str
) -> None:
    forged = b'{"forged": true}'
    keeper = await Connection.connect(broker.entry(OPERATOR), name="test")
    try:
        async with broker.as_("node-a") as (client, _):
            await client.publish("inv.node-a", forged)
            await client.publish(f"{API}DIRECT.GET.INV.inv.node-a", b"", reply=reply)
            await client.publish("evt.node-a.step-finished.forward", forged, reply=reply)
            await client.flush()
            await client.request(f"{API}DIRECT.GET.INV.inv.node-a", b"")  # after which the others are done
        stream = {"cmd": "CMD", "evt": "EVT", "inv": "INV", "ro": "RO"}.get(reply.split(".")[0])
        if stream is not None:
            with pytest.raises(nats.js.errors.NotFoundError):
                await keeper.js.get_msg(stream, subject=reply, direct=True)
    finally:
        await keeper.close()


async def test_a_node_says_its_own_and_reads_its_own(broker: Broker) -> None:
    async with broker.as_("node-a") as (client, refused):
        js = client.jetstream()
        stored = await js.publish("evt.node-a.step-finished.forward", b"{}", headers={"Nats-Msg-Id": "one"})
        again = await js.publish("evt.node-a.step-finished.forward", b"{}", headers={"Nats-Msg-Id": "one"})
        assert (stored.stream, again.duplicate) == ("EVT", True)
        with pytest.raises(nats.js.errors.NotFoundError):
            await js.get_msg("CMD", subject="cmd.node-a.*", direct=True)
        assert refused == []


async def test_a_node_is_asked_and_answers(broker: Broker) -> None:
    async with broker.as_("node-a") as (node, refused), broker.as_(OPERATOR) as (person, _):

        async def asked(question: nats.aio.msg.Msg) -> None:
            await question.respond(b"yes")

        await node.subscribe("api.executor.node-a.stage-check", cb=asked)
        await node.flush()

        async def answer() -> bytes:
            with contextlib.suppress(nats.errors.NoRespondersError):
                return (await person.request("api.executor.node-a.stage-check", b"?", timeout=20)).data
            return b""

        # What one account hears is known to another a moment later.
        assert await eventually(answer, bool, "the node to be asked") == b"yes"
        assert refused == []


async def test_nobody_comes_in_without_a_key(broker: Broker, tmp_path: Path) -> None:
    stranger = Identities(tmp_path)
    stranger.ensure(("node-a",))
    for entry in (Entry(broker.server.url), Entry(broker.server.url, stranger.seed("node-a", "nodes"))):
        with pytest.raises(Refused, match="a key that the broker"):
            await Connection.connect(entry, name="test", connect_timeout_s=1)


@pytest_asyncio.fixture
async def changing(tmp_path: Path) -> AsyncIterator[Broker]:
    made = Broker(tmp_path)
    with made.server:
        yield made


async def test_nodes_are_let_in_exchanged_and_shut_out_while_the_broker_runs(changing: Broker) -> None:
    known, lost = changing.known, asyncio.Event()

    async def gone() -> None:
        lost.set()

    async def come(name: str) -> bool:
        try:
            await (
                await nats.connect(
                    changing.server.url, **changing.entry(name).options(), allow_reconnect=False
                )
            ).close()
        except (nats.errors.Error, OSError):
            return False
        return True

    async def until(name: str, inside: bool) -> None:
        await eventually(
            lambda: come(name),
            lambda found: found is inside,
            f"{name} to be {'let in' if inside else 'shut out'}",
        )

    entry = changing.entry("node-a")
    client = await nats.connect(entry.url, **entry.options(), allow_reconnect=False, closed_cb=gone)
    known.enroll("node-c")
    changing.server.signal(signal.SIGHUP)
    await until("node-c", True)
    known.rotate("node-c")
    changing.server.signal(signal.SIGHUP)
    await until("node-c", True)
    assert client.is_connected, "node-a is not concerned"
    pid_file = known.folder / "nats.pid"
    pid_file.write_text(str(changing.server.pid))
    words = ("node", "revoke", "node-a", "--access", str(known.folder), "--pid-file", str(pid_file))
    revoked = await run_cli(Home(known.folder), *words)
    assert revoked.code == 0, revoked.err
    await asyncio.wait_for(lost.wait(), 60)
    await until("node-a", False)
    known.ensure(("node-a", "node-b"))
    assert known.nodes()["node-a"] == [], "revoked nodes stay revoked"
    with pytest.raises(Refused, match="one with a key"):
        known.enroll("node-c")
    assert json.loads((known.folder / "identities.json").read_text())["nodes"]["node-c"][1:]


async def test_a_node_reads_what_stands_for_each_of_its_components(broker: Broker) -> None:
    planner = await Connection.connect(broker.entry("planner"), name="test")
    node = await Connection.connect(broker.entry("node-b"), name="test")
    try:
        standing = Standing(node, "node-b", lambda: ["core"])

        async def read() -> list[str]:
            return [item.subject for item in await standing.read()]

        assert await read() == []
        await planner.js.publish("cmd.node-b.web", b"{}")
        await planner.js.publish("cmd.node-b.core", b"{}")
        await answer_nodes(planner)
        await planner.nc.flush()
        assert await read() == ["cmd.node-b.web", "cmd.node-b.core"]
        assert await read() == [], "nothing is new"
        await planner.js.publish("cmd.node-b.web", b"{}")
        assert await read() == ["cmd.node-b.core", "cmd.node-b.web"], "whatever was heard meanwhile"
    finally:
        await node.close()
        await planner.close()


async def test_a_node_reads_what_it_knows_while_nobody_tells_it(broker: Broker) -> None:
    planner = await Connection.connect(broker.entry("planner"), name="test")
    node = await Connection.connect(broker.entry("node-a"), name="test")
    try:
        for component in ("web", "core", "cache"):
            await planner.js.publish(f"cmd.node-a.{component}", b"{}")
        found = await Standing(node, "node-a", lambda: ["core"]).read()
        assert [item.subject for item in found] == ["cmd.node-a.core", "cmd.node-a.cache"]
    finally:
        await node.close()
        await planner.close()
