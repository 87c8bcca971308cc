"""Every kind of socket that the native driver hands over: one switch, and one change of its owner, on each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from bumpless.common.contract.base import Digest
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Run, Timing
from bumpless.executor.drivers import sockets
from bumpless.executor.drivers.native import NativeSwitch
from bumpless.executor.drivers.notify import Notifications
from bumpless.executor.ports import Launch
from bumpless.executor.record import Instance

DEADLINE_S = 45.0
SERVICE = """
import asyncio, os
from bumpless.service import Response, Service

service = Service("kinds")

async def answer(request):
    return Response(body=service.version.encode())

async def echo(data, peer):
    return service.version.encode()

for name in os.environ["KINDS"].split(","):
    if name == "udp":
        service.datagrams(name, "", echo)
    else:
        service.http(name, "", answer)
service.run()
"""


class Node:
    """One node whose executor can die."""

    def __init__(self, home: Path) -> None:
        self.home = home
        for name in ("versions", "state", "log"):
            (home / "components" / "kinds" / name).mkdir(parents=True)
        (home / "service.py").write_text(SERVICE)
        self.started: list[Instance] = []
        self.switch = self._new()

    def _new(self) -> NativeSwitch:
        return NativeSwitch("node-a", self.home / "run", self.home / "components")

    def die(self) -> None:
        self.switch.close()
        self.switch = self._new()

    async def start(self, version: str, listen: Mapping[str, str], command: tuple[str, ...] = ()) -> Instance:
        digest = Digest("sha256:" + version.encode().hex().ljust(64, "0"))
        run = Run(
            command=command or ("python3", str(self.home / "service.py")),
            listen=dict(listen),
            env={"KINDS": ",".join(listen)},
            timing=Timing(lame_duck_s=0.1, drain_timeout_s=5),
        )
        target = Target(
            component="kinds", version=version, root=digest, artifact=digest, artifact_size=1, run=run
        )
        listeners = await self.switch.listen("kinds", run)
        home = self.home / "components" / "kinds"
        instance = Instance(id=f"{version}-{len(self.started)}", target=target, listeners=listeners)
        started = await self.switch.start(
            Launch("kinds", instance, home / "versions", home / "state", home / "log")
        )
        self.started.append(started)
        return started


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path)
    yield made
    await asyncio.gather(*(made.switch.kill(i) for i in made.started))
    await made.switch.reap(())
    made.switch.close()


def _free(family: socket.AddressFamily, kind: socket.SocketKind) -> int:
    with socket.socket(family, kind) as one:
        one.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        return int(one.getsockname()[1])


def _addresses(folder: Path) -> dict[str, str]:
    found = {
        "http": f"tcp://127.0.0.1:{_free(socket.AF_INET, socket.SOCK_STREAM)}",
        "unix": f"unix://{folder / 'kinds.sock'}",
        "udp": f"udp://127.0.0.1:{_free(socket.AF_INET, socket.SOCK_DGRAM)}",
    }
    with contextlib.suppress(OSError):  # a machine may have no IPv6; then this kind is not asked for
        found["v6"] = f"tcp://[::1]:{_free(socket.AF_INET6, socket.SOCK_STREAM)}"
    return found


async def _ask(name: str, address: str) -> str:
    """The version that answers at `address`."""
    kind, _, place = address.partition("://")
    host, _, port = place.rpartition(":")
    if kind == "udp":
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect((host, int(port)))
            await loop.sock_sendall(sender, b"?")
            return (await asyncio.wait_for(loop.sock_recv(sender, 100), DEADLINE_S)).decode()
    if kind == "unix":
        reader, writer = await asyncio.open_unix_connection(place)
    else:
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.write(b"GET / HTTP/1.1\r\nHost: kinds\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), DEADLINE_S)
    writer.close()
    return answer.rpartition(b"\r\n\r\n")[2].decode()


async def test_every_kind_is_switched_and_found_again_by_the_next_executor(node: Node) -> None:
    listen = _addresses(node.home)
    old = await node.start("v1", listen)
    await node.switch.wait_ready(old, DEADLINE_S)
    assert {name: await _ask(name, address) for name, address in listen.items()} == dict.fromkeys(
        listen, "v1"
    )
    node.die()
    adopted = await node.switch.adopt(old)
    assert adopted is not None
    assert await node.switch.listen("kinds", old.target.run) == old.listeners  # taken over, not bound again
    await node.switch.wait_ready(await node.start("v2", listen), DEADLINE_S)
    await node.switch.pause(adopted)
    await node.switch.stop(adopted, 5)
    assert {name: await _ask(name, address) for name, address in listen.items()} == dict.fromkeys(
        listen, "v2"
    )


@pytest.mark.parametrize("word", ["READY=1", "", "up"])
async def test_a_line_on_the_pipe_means_ready(node: Node, word: str) -> None:
    """As s6 has it; here from a shell, which has no sockets."""
    script = f"echo STATUS=warming >&$NOTIFY_FD; echo '{word}' >&$NOTIFY_FD; exec sleep 60"
    instance = await node.start("v1", {}, ("sh", "-c", script))
    running = node.switch._running[instance.id]
    await asyncio.wait_for(node.switch._said_ready(running), DEADLINE_S)
    assert running.notifications is not None
    assert running.notifications.status == "warming"


async def test_other_states_on_the_pipe_do_not_mean_ready(tmp_path: Path) -> None:
    said = Notifications(f"bumpless/test/{tmp_path.name}-{id(tmp_path)}")
    with said.pipe() as writing:
        os.write(writing, b"STATUS=a\nSTOPPING=1\nSTATUS=last\nREA")
        async with asyncio.timeout(DEADLINE_S):
            while said.status != "last":  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert not said.ready.is_set()
        os.write(writing, b"DY=1")  # no newline needed for this one
        await asyncio.wait_for(said.ready.wait(), DEADLINE_S)
    said.close()


def test_one_udp_port_cannot_be_bound_twice(tmp_path: Path) -> None:
    address = f"udp://127.0.0.1:{_free(socket.AF_INET, socket.SOCK_DGRAM)}"
    first = sockets.bind(address)
    with pytest.raises(sockets.Refused, match="to be free on this node"):
        sockets.bind(address)
    first.close()


def test_a_wildcard_of_each_family_fit_beside_each_other() -> None:
    port = _free(socket.AF_INET, socket.SOCK_STREAM)
    v4 = sockets.bind(f"tcp://127.0.0.1:{port}")
    try:
        v6 = sockets.bind(f"tcp://[::]:{port}")
    except sockets.Refused as error:
        if "Address family" not in str(error):
            raise
        pytest.skip("this machine has no IPv6")
    finally:
        v4.close()
    v6.close()
