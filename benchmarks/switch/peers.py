"""Other ways to switch, under the same load. Each starts what it needs and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from switch.figures import Row, Span, row
from switch.load import GO, ROOT, Load, build_go

SWITCHES = 3
STEADY_S = 1.5
READY_S = 30.0
LAME_DUCK_S = 2.0
QUICK = {"BUMPLESS_LAME_DUCK_MS": "0", "BUMPLESS_DRAIN_TIMEOUT_MS": "4000"}
"""These ways know no lame duck; streams are told within a second."""


class Absent(Exception):
    """This way cannot be measured here; the text says why."""


class Child:
    """A process of a service: its admin socket and its pipe for readiness are made here."""

    def __init__(self, process: asyncio.subprocess.Process, ready: int) -> None:
        self.process, self._ready = process, ready

    @classmethod
    async def start(cls, command: Sequence[str], http: socket.socket, folder: Path, **env: str) -> Child:
        admin = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        admin.bind(str(folder / f"admin-{time.monotonic_ns()}"))
        admin.listen()
        ready, writing = os.pipe()
        given = [http.fileno(), admin.fileno(), writing]
        for fd in given:
            os.set_inheritable(fd, True)
        # The shell moves them to 3, 4 and 5 by way of numbers nobody uses.
        moves = "exec 17<&{} 18<&{} 19>&{}; exec 3<&17 4<&18 5>&19 17<&- 18<&- 19>&-; ".format(*given)
        script = moves + 'LISTEN_PID=$$ exec "$@"'
        contract = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:admin", "NOTIFY_FD": "5"}
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", script, "bash", *command),
            env={**os.environ, **contract, **env},
            pass_fds=given,
            stderr=asyncio.subprocess.DEVNULL,
        )
        for fd in given[1:]:
            os.set_inheritable(fd, False)
        os.close(writing)
        admin.close()
        child = cls(process, ready)
        await asyncio.wait_for(asyncio.to_thread(os.read, ready, 100), READY_S)
        return child

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1


async def stop_start(load_binary: Path) -> list[Row]:
    """The old one ends, then the new one starts; somebody else holds the listening socket meanwhile."""
    rows = []
    samples: dict[str, tuple[str, ...]] = {
        "asyncio": (sys.executable, str(ROOT / "libs/service/sample/app.py"))
    }
    if shutil.which("go"):
        samples["go"] = (str(await build_go(ROOT / "sdk" / "go", "./sample", GO / "bench-sample")),)
    for name, command in samples.items():
        with tempfile.TemporaryDirectory(prefix="bench-switch-") as text, _listener() as held:
            environment = {**QUICK, "BUMPLESS_STATE_DIR": text}
            serving = await Child.start(command, held, Path(text), **environment)
            load = Load(load_binary, held.getsockname()[1])
            await load.start()
            try:
                await asyncio.sleep(STEADY_S)
                spans = []
                for _ in range(SWITCHES):
                    began = time.time()
                    await serving.end()
                    serving = await Child.start(command, held, Path(text), **environment)
                    await asyncio.sleep(0.5)
                    spans.append(Span(began, time.time()))
                    await asyncio.sleep(STEADY_S)
            finally:
                answers = await load.stop()
                await serving.end()
            rows.append(row("stop, start, held socket", name, answers, spans))
    return rows


async def gunicorn_reload(load_binary: Path) -> list[Row]:
    """gunicorn's own: USR2, new workers serve, WINCH to the old master, two seconds, TERM. No WebSockets there."""
    gunicorn = ROOT / "build" / "bench" / "venv" / "bin" / "gunicorn"
    if not gunicorn.exists():
        raise Absent(f"{gunicorn.name} is not in build/bench/venv; run it by `make bench-switch`")
    with tempfile.TemporaryDirectory(prefix="bench-switch-") as text:
        folder, pidfile = Path(text), Path(text) / "pid"
        port = _free_port()
        # As a daemon: a master on a terminal, or in the foreground, ignores WINCH.
        command = [
            *(str(gunicorn), "--daemon", "--pid", str(pidfile), "--bind", f"127.0.0.1:{port}"),
            *("--worker-class", "gthread", "--threads", "64", "--workers", "1", "--keep-alive", "75"),
            *("--graceful-timeout", "10", "--chdir", str(ROOT / "benchmarks" / "switch"), "wsgi_app:app"),
        ]
        started = await asyncio.create_subprocess_exec(*command)
        await started.wait()
        master = await _pid(pidfile)
        try:
            await _answers(port)
            load = Load(load_binary, port, "-events", "0", "-sockets", "0")
            await load.start()
            await asyncio.sleep(STEADY_S)
            spans = []
            for _ in range(SWITCHES):
                began = time.time()
                os.kill(master, signal.SIGUSR2)
                newer = await _pid(Path(f"{pidfile}.2"))
                await _children(newer)
                os.kill(master, signal.SIGWINCH)
                await asyncio.sleep(LAME_DUCK_S)
                os.kill(master, signal.SIGTERM)
                await _gone(master)
                master = newer
                spans.append(Span(began, time.time()))
                await asyncio.sleep(STEADY_S)
            answers = await load.stop()
        finally:
            for pid in (master, *_pids(folder)):
                _kill(pid)
            await _gone(master)
    return [row("gunicorn USR2, WINCH, TERM (no streams)", "gthread", answers, spans)]


async def haproxy_drain(load_binary: Path) -> list[Row]:
    """Two Go instances on ports of their own behind HAProxy: the new one in, the old one drained, then ended."""
    if shutil.which("haproxy") is None:
        raise Absent("haproxy is not installed (Debian: haproxy)")
    binary = await build_go(ROOT / "sdk" / "go", "./sample", GO / "bench-sample")
    with (
        tempfile.TemporaryDirectory(prefix="bench-switch-") as text,
        _listener() as blue,
        _listener() as green,
    ):
        folder, port = Path(text), _free_port()
        control = folder / "control"
        config = folder / "haproxy.cfg"
        config.write_text(_HAPROXY.format(control=control, port=port, blue=_port(blue), green=_port(green)))
        proxy = await asyncio.create_subprocess_exec("haproxy", "-db", "-q", "-f", str(config))
        colours = {"blue": blue, "green": green}
        children: dict[str, Child] = {}
        try:
            environment = {**QUICK, "BUMPLESS_STATE_DIR": text}
            children["blue"] = await Child.start([str(binary)], blue, folder, **environment)
            await _answers(port)
            load = Load(load_binary, port)
            await load.start()
            await asyncio.sleep(STEADY_S)
            spans, old, new = [], "blue", "green"
            for _ in range(SWITCHES):
                began = time.time()
                children[new] = await Child.start([str(binary)], colours[new], folder, **environment)
                await _tell(control, f"set server pool/{new} state ready")
                await _tell(control, f"set server pool/{old} state drain")
                # Streams would hold it for ever: the drain ends after a while, and the old one tells them itself.
                for _ in range(40):
                    if await _sessions(control, old) == 0:
                        break
                    await asyncio.sleep(0.1)
                await _tell(control, f"set server pool/{old} state maint")
                await children[old].end()
                spans.append(Span(began, time.time()))
                old, new = new, old
                await asyncio.sleep(STEADY_S)
            answers = await load.stop()
        finally:
            proxy.terminate()
            await proxy.wait()
            for child in children.values():
                await child.end()
    return [row("HAProxy drain", "go", answers, spans)]


_HAPROXY = """
global
    stats socket {control} level admin
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
frontend in
    bind 127.0.0.1:{port}
    default_backend pool
backend pool
    server blue 127.0.0.1:{blue}
    server green 127.0.0.1:{green} disabled
"""


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=4096)


def _port(one: socket.socket) -> int:
    return int(one.getsockname()[1])


def _free_port() -> int:
    with _listener() as free:
        return _port(free)


async def _answers(port: int) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                if b" 200 " in await reader.readline():
                    writer.close()
                    return
            except OSError:
                pass
            await asyncio.sleep(0.05)


async def _pid(file: Path) -> int:
    async with asyncio.timeout(READY_S):
        while True:
            if file.exists() and (text := file.read_text().strip()):
                return int(text)
            await asyncio.sleep(0.02)


async def _children(pid: int) -> None:
    """Until the new master has a worker, and the worker has had a moment to load."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    async with asyncio.timeout(READY_S):
        while not children.read_text().strip():
            await asyncio.sleep(0.05)
    await asyncio.sleep(1)


async def _gone(pid: int) -> None:
    async with asyncio.timeout(READY_S):
        while Path(f"/proc/{pid}").exists() and ") Z " not in Path(f"/proc/{pid}/stat").read_text():
            await asyncio.sleep(0.05)


def _pids(folder: Path) -> list[int]:
    return [int(f.read_text()) for f in folder.glob("pid*") if f.read_text().strip()]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return


async def _tell(control: Path, line: str) -> str:
    reader, writer = await asyncio.open_unix_connection(str(control))
    writer.write(line.encode() + b"\n")
    answer = (await reader.read()).decode()
    writer.close()
    return answer


async def _sessions(control: Path, server: str) -> int:
    for line in (await _tell(control, "show stat")).splitlines():
        fields = line.split(",")
        if fields[:2] == ["pool", server]:
            return int(fields[4])
    raise RuntimeError(f"expected pool/{server} in HAProxy's statistics, found nothing")
