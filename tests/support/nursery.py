"""A process that has imported a module once and forks a child for every call of its `main`.

Tests that run something a thousand times would spend their time on imports; and a process that forks must have no
threads, which a test runner does not promise. A child can be supervised at its system calls (see `syscalls`).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import traceback
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self

from support import syscalls

START_S = 180.0
LINE = "NURSERY_LINE"
"""In the environment of a child: the descriptor of its line, for another program that takes its place and goes on."""
_LONGEST = 1 << 16
_TESTS = Path(__file__).parents[1]

Words = dict[str, Any]


@dataclass
class Ended:
    """`answer` is what `main` returned, None if the child was killed; `fault` the error that ended it, in words.

    `heard` is what the child said on the way, in its order.
    """

    answer: Any = None
    fault: str | None = None
    heard: list[Words] = field(default_factory=list)


class Child:
    """A child that waits for `run`."""

    def __init__(self, line: socket.socket, below: Path | None) -> None:
        self._line = line
        self.ended = Ended()
        message, handles, _, _ = socket.recv_fds(line, _LONGEST, 1)
        self.pid = int(json.loads(message)["pid"])
        for handle in handles:
            os.set_inheritable(handle, False)
        self.supervisor = syscalls.Supervisor(handles[0], self.pid, below) if below else None

    def run(
        self, decide: syscalls.Decide = lambda _: syscalls.Then.PERFORM, *, outlived: bool = False
    ) -> Ended:
        """Let it go to its end. What it said before a call is in `ended.heard` when that call is decided on.

        `outlived`: processes that it started are left running, and answered for as long as they do.
        """
        with self._line:
            self._line.send(b"{}")
            if self.supervisor is not None:

                def listening(call: syscalls.Call) -> syscalls.Then | int:
                    self._hear(socket.MSG_DONTWAIT)
                    return decide(call)

                self.supervisor.run(listening, outlived=outlived)
                if outlived:
                    Thread(target=_answer_rest, args=(self.supervisor,), daemon=True).start()
                else:
                    self.supervisor.close()
            self._hear(0)
        return self.ended

    def _hear(self, flags: int) -> None:
        while True:
            try:
                message = self._line.recv(_LONGEST, flags)
            except (BlockingIOError, ConnectionResetError):
                return
            if not message:
                return
            words = json.loads(message)
            if "answer" in words or "fault" in words:
                self.ended.answer, self.ended.fault = words.get("answer"), words.get("fault")
            else:
                self.ended.heard.append(words)


def _answer_rest(supervisor: syscalls.Supervisor) -> None:
    supervisor.run(lambda _: syscalls.Then.PERFORM)
    supervisor.close()


class Nursery:
    """`module` has `main(argument, say)`; `argument`, what it says and what it returns are JSON."""

    def __init__(self, module: str) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.settimeout(START_S)
        with theirs:
            self._process = subprocess.Popen(
                (
                    sys.executable,
                    "-c",
                    "from support.nursery import serve; serve()",
                    str(theirs.fileno()),
                    module,
                ),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": str(_TESTS), "PYTHONDONTWRITEBYTECODE": "1"},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.close()
        self._process.wait(START_S)

    def child(self, argument: Words, *, below: Path | None = None) -> Child:
        """A child for `main(argument)`, supervised in what it does below that directory."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            request = json.dumps({"argument": argument, "supervised": below is not None}).encode()
            socket.send_fds(self._line, [request], [theirs.fileno()])
        if not self._line.recv(_LONGEST):
            raise AssertionError("expected the nursery to answer, found it gone")
        return Child(ours, below)

    def call(self, argument: Words) -> Ended:
        return self.child(argument).run()


def serve() -> None:
    """The nursery's own side: descriptor and module are the last arguments of the process."""
    line = socket.socket(fileno=int(sys.argv[1]))
    main = import_module(sys.argv[2]).main
    while True:
        message, handles, _, _ = socket.recv_fds(line, _LONGEST, 1)
        if not message:
            return
        os.set_inheritable(handles[0], False)
        with socket.socket(fileno=handles[0]) as theirs:
            _reap()
            if os.fork() == 0:
                line.close()
                _live(theirs, main, json.loads(message))
        line.send(b"{}")


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _live(line: socket.socket, main: Any, request: Words) -> None:
    status = 1
    try:
        listener = [syscalls.install()] if request["supervised"] else []
        socket.send_fds(line, [json.dumps({"pid": os.getpid()}).encode()], listener)
        for handle in listener:
            os.close(handle)
        os.environ[LINE] = str(line.fileno())
        if line.recv(_LONGEST):
            try:
                words = {
                    "answer": main(request["argument"], lambda said: line.send(json.dumps(said).encode()))
                }
                status = 0
            except Exception:  # noqa: BLE001
                words = {"fault": traceback.format_exc()[-_LONGEST // 2 :]}
            line.send(json.dumps(words).encode())
    finally:
        os._exit(status)
