"""What only the systemd driver promises, asked of a systemd that runs: inside a booted machine."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bumpless.common.errors import Refused
from bumpless.common.model.release import Run
from bumpless.executor.drivers.native import NativeSwitch
from bumpless.executor.drivers.systemd.manager import usable
from bumpless.executor.drivers.systemd.switch import UNIT_DIR, SystemdSwitch
from bumpless.executor.ports import Launch, NotReady, Unanswered
from bumpless.executor.record import Instance
from drivers.test_process_switch import PROBE, Bench

pytestmark = pytest.mark.booted
DEADLINE_S = 60.0
CHILD = Path(__file__).with_name("dying_executor.py")


class Node(Bench):
    """The bench of the conformance suite, with run specs of one's own."""

    async def begin(self, version: str, mode: str = "", **changes: object) -> Instance:
        target = self.target(version, mode)
        run = target.run.model_copy(update=changes)
        listeners = await self.switch.listen("probe", run)
        instance = Instance(
            id=f"{version}-{len(self.started)}",
            target=target.model_copy(update={"run": run}),
            listeners=listeners,
        )
        started = await self.switch.start(self.launch(instance))
        self.started.append(started)
        return started

    def launch(self, instance: Instance) -> Launch:
        home = self.home / "components" / "probe"
        return Launch("probe", instance, home / "versions", home / "state", home / "log")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node("systemd", tmp_path)
    async with asyncio.timeout(150):
        yield made
        await asyncio.gather(*(made.switch.kill(i) for i in made.started))
        await made.switch.reap(())
        await made.switch.keep_only("probe", ())
        made.switch.close()
    assert _units(tmp_path) == []


def _units(home: Path) -> list[str]:
    """The names of unit files that this bench's node has left."""
    prefix = SystemdSwitch("node-a", home / "components")._names.prefix
    return sorted(path.name for path in UNIT_DIR.glob(f"{prefix}*"))


def _of(pid: int, name: str) -> str:
    """What /proc says about a process."""
    return Path(f"/proc/{pid}/{name}").read_bytes().decode()


def _listening_flags(pid: int) -> list[int]:
    """The status flags of every listening TCP socket of a process."""
    found = []
    listening = {
        row.split()[9]
        for row in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
        if row.split()[3] == "0A"
    }
    for link in Path(f"/proc/{pid}/fd").iterdir():
        if os.readlink(link).removeprefix("socket:[").removesuffix("]") in listening:
            info = Path(f"/proc/{pid}/fdinfo/{link.name}").read_text()
            found.append(int(info.split("flags:")[1].split()[0], 8))
    return found


async def test_systemd_is_found_where_it_runs(tmp_path: Path) -> None:
    assert usable(UNIT_DIR)
    assert not usable(tmp_path / "nowhere")


async def test_every_argument_and_variable_arrives_as_it_was_written(node: Node) -> None:
    awkward = "two\nlines\t\"quoted\" 'single' \\ %n 100% $HOME ${HOME} ; é"
    instance = await node.begin(
        "v1", command=("python3", str(PROBE), awkward, ";", ""), env={"AWKWARD": awkward, "PROBE_HTTP": "1"}
    )
    await node.switch.wait_ready(instance, DEADLINE_S)
    arguments = _of(instance.pid, "cmdline").split("\0")
    assert arguments[2:5] == [awkward, ";", ""]
    environment = _of(instance.pid, "environ").split("\0")
    assert f"AWKWARD={awkward}" in environment
    assert "BUMPLESS_COMPONENT=probe" in environment


async def test_limits_and_sandbox_of_the_release_are_in_effect(node: Node) -> None:
    settings = {"LimitNOFILE": "1234", "NoNewPrivileges": "yes", "ProtectSystem": "full", "UMask": "0027"}
    instance = await node.begin("v1", service=settings)
    await node.switch.wait_ready(instance, DEADLINE_S)
    status = _of(instance.pid, "status")
    assert "NoNewPrivs:\t1" in status
    assert "Umask:\t0027" in status
    assert "1234" in _of(instance.pid, "limits")


async def test_an_instance_may_run_as_another_user(node: Node) -> None:
    for path in (node.home, *node.home.parents):
        if path.is_relative_to("/tmp/"):
            path.chmod(0o755)
    instance = await node.begin("v1", service={"User": "nobody"})
    await node.switch.wait_ready(instance, DEADLINE_S)
    assert f"Uid:\t{pwd.getpwnam('nobody').pw_uid}" in _of(instance.pid, "status")
    assert await node.answers() == {"v1"}


async def test_a_limit_that_systemd_would_ignore_is_refused_and_nothing_is_left(node: Node) -> None:
    with pytest.raises(Refused, match=r"understand run\.service.*Invalid memory limit 'lots'"):
        await node.begin("v1", service={"MemoryMax": "lots"})
    await node.switch.keep_only("probe", ())
    assert _units(node.home) == []


async def test_a_start_that_fails_before_the_program_says_why(node: Node) -> None:
    instance = await node.begin("v1", service={"User": "nobody-of-this-name"})
    with pytest.raises(NotReady, match="status 217"):
        await node.switch.wait_ready(instance, DEADLINE_S)
    assert "217" in (await node.switch.exited(instance)).reason


async def test_a_program_that_is_not_there_is_refused(node: Node) -> None:
    with pytest.raises(Refused, match=r"the program ./serve of run\.command"):
        await node.begin("v1", command=("./serve",))


async def test_the_last_lines_of_the_journal_are_in_the_reason_and_no_more(node: Node) -> None:
    script = "import sys; [print('line', n) for n in range(100)]; sys.exit(4)"
    instance = await node.begin("v1", command=("python3", "-c", script))
    with pytest.raises(NotReady, match="status 4") as caught:
        await node.switch.wait_ready(instance, DEADLINE_S)
    assert "line 99" in str(caught.value)
    assert "line 88" in str(caught.value)
    assert "line 87\n" not in str(caught.value)


async def test_traffic_starts_nothing_and_waits_for_the_instance(node: Node) -> None:
    await node.switch.listen("probe", node.target("v1").run)
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")
    await writer.drain()
    assert not [name for name in _units(node.home) if name.endswith(".service")]
    await node.ready("v1")
    assert b'"v1"' in await asyncio.wait_for(reader.read(), DEADLINE_S)
    writer.close()


async def test_a_second_start_leaves_the_shared_socket_as_it_was(node: Node) -> None:
    """systemd clears O_NONBLOCK when it hands a socket over, for everybody; the first one would hang in accept(2)."""
    first = await node.ready("v1")
    await node.ready("v2")
    flags = _listening_flags(first.pid)
    assert flags
    assert all(flag & os.O_NONBLOCK for flag in flags)


async def test_the_shared_socket_has_no_delay_and_a_long_backlog(node: Node) -> None:
    await node.switch.listen("probe", node.target("v1").run)
    (unit,) = (name for name in _units(node.home) if name.endswith(".socket"))
    asked = await asyncio.create_subprocess_exec(
        "systemctl", "show", "--property=Backlog,NoDelay", unit, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(asked.communicate(), DEADLINE_S)
    assert set(said.decode().split()) == {"Backlog=4096", "NoDelay=yes"}


async def test_what_an_instance_leaves_behind_ends_with_it(node: Node) -> None:
    script = f"import os, runpy\nif os.fork():\n  runpy.run_path({str(PROBE)!r})\nos.setsid()\nimport time\ntime.sleep(9999)"
    instance = await node.begin("v1", command=("python3", "-c", script))
    await node.switch.wait_ready(instance, DEADLINE_S)
    marked = _carrying(f"BUMPLESS_INSTANCE={instance.id}", str(node.home))
    assert len(marked) == 2
    await node.switch.stop(instance, 10)
    assert _carrying(f"BUMPLESS_INSTANCE={instance.id}", str(node.home)) == set()


def _carrying(*words: str) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if all(word in text for word in words):
                found.add(int(entry.name))
    return found


async def test_one_that_ignores_sigterm_is_killed_at_its_deadline(node: Node) -> None:
    script = (
        f"import runpy, signal\nsignal.signal = lambda *a: None\n"
        f"import asyncio\nasyncio.unix_events._UnixSelectorEventLoop.add_signal_handler = lambda *a: None\n"
        f"signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\nrunpy.run_path({str(PROBE)!r}, run_name='__main__')"
    )
    instance = await node.begin("v1", command=("python3", "-c", script))
    await node.switch.wait_ready(instance, DEADLINE_S)
    await node.switch.stop(instance, 0.1)
    assert "SIGKILL" in (await node.switch.exited(instance)).reason


async def test_a_listener_nobody_needs_any_more_is_let_go_of_by_the_next_executor_too(node: Node) -> None:
    await node.switch.listen("probe", node.target("v1").run)
    (await asyncio.open_connection("127.0.0.1", node.port))[1].close()
    node.die()
    await node.switch.keep_only("probe", [node.target("v1").run])
    (await asyncio.open_connection("127.0.0.1", node.port))[1].close()
    await node.switch.keep_only("probe", ())
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", node.port)
    await node.switch.listen("probe", node.target("v1").run)
    await node.ready("v1")
    assert await node.answers() == {"v1"}


async def test_an_address_that_another_driver_holds_is_refused_with_what_to_do(node: Node) -> None:
    native = NativeSwitch("node-a", node.home / "run", node.home / "components")
    run = Run(command=("true",), listen={"http": f"tcp://127.0.0.1:{node.port}"})
    await native.listen("probe", run)
    with pytest.raises(Refused, match=r"(?s)to be free on this node.*another driver"):
        await node.switch.listen("probe", node.target("v1").run)
    native.close()
    await node.ready("v1")


async def test_a_unix_socket_that_somebody_listens_on_is_not_taken_away(node: Node) -> None:
    path = node.home / "web.sock"
    run = Run(command=("true",), listen={"http": f"unix://{path}"})
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(str(path))
        held.listen()
        with pytest.raises(Refused, match="to be free on this node"):
            await node.switch.listen("probe", run)
    await node.switch.listen("probe", run)
    assert path.is_socket()
    await node.switch.keep_only("probe", ())
    assert not path.exists()


async def test_ipv6_and_unix_and_a_second_address_are_served_side_by_side(node: Node) -> None:
    path = node.home / "web.sock"
    script = (
        "from bumpless.service import Response, Service\n"
        "s = Service('many')\n"
        "async def answer(request): return Response.json({'version': s.version})\n"
        "for name in ('six', 'local', 'http'): s.http(name, handler=answer)\n"
        "s.run()"
    )
    listen = {
        "http": f"tcp://127.0.0.1:{node.port}",
        "six": f"tcp://[::1]:{node.port}",
        "local": f"unix://{path}",
    }
    instance = await node.begin("v1", command=("python3", "-c", script), listen=listen)
    await node.switch.wait_ready(instance, DEADLINE_S)
    for connect in (
        asyncio.open_connection("127.0.0.1", node.port),
        asyncio.open_connection("::1", node.port),
        asyncio.open_unix_connection(str(path)),
    ):
        reader, writer = await connect
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b'"v1"' in await asyncio.wait_for(reader.read(), DEADLINE_S)
        writer.close()


@pytest.mark.parametrize("at", range(12))
async def test_an_executor_killed_between_two_calls_leaves_one_instance_or_none(node: Node, at: int) -> None:
    """The journal holds the instance without a pid; everything else must be found again."""
    target = node.target("v1")
    planned = Instance(id="v1-planned", target=target)
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), str(at), str(node.home), target.model_dump_json()
    )
    status = await asyncio.wait_for(child.wait(), DEADLINE_S)
    assert status in (-9, 0)
    adopted = await node.switch.adopt(planned)
    node.started.append(planned)
    assert await node.switch.reap([planned.id]) == ()
    if adopted is not None:
        await node.switch.wait_ready(adopted, DEADLINE_S)
        assert await node.answers() == {"v1"}
        assert len(_carrying("BUMPLESS_INSTANCE=v1-planned", str(node.home))) == 1
    else:
        assert _carrying("BUMPLESS_INSTANCE=v1-planned", str(node.home)) == set()
        with pytest.raises(Unanswered):
            await node.switch.check(planned)
        await node.ready("v2")
