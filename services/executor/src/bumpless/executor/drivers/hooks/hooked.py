"""One instance of the hooks driver as the executor sees it: its keeper, its directory, and its hooks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bumpless.common.errors import Refused
from bumpless.common.model.hooks import Hook
from bumpless.executor.drivers import logs
from bumpless.executor.drivers.hook_commands import run_command
from bumpless.executor.drivers.hooks.resolved import Resolved
from bumpless.executor.drivers.processes import Process

Mark = Literal["drained", "stopped"]
PROGRAMS_OWN = ("LISTEN_FDS", "LISTEN_FDNAMES", "NGINX", "NOTIFY_SOCKET")
"""Names what only the program has: a hook would take other descriptors for the sockets."""


@dataclass
class Hooked:
    process: Process
    directory: Path
    resolved: Resolved
    paused_at: float | None = None
    killed_because: str = ""
    _marks: set[Mark] = field(default_factory=set)

    @property
    def log(self) -> Path:
        return Path(self.resolved.log)

    @property
    def last_words(self) -> str:
        said = logs.tail(self.log)
        return f"; its last words: {said}" if said else ""

    @property
    def how(self) -> str:
        """How it ended, once it has. The keeper's word, where the kernel gives none to an executor that came later."""
        code = self._status().get("exit")
        told = self.process.ended.result()
        if "status is unknown" not in told or not isinstance(code, int):
            return told
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"

    @property
    def said_ready(self) -> bool:
        return self._status().get("ready") is True

    @property
    def said(self) -> str:
        """The last STATUS= of its program."""
        return str(self._status().get("said") or "")

    def marked(self, mark: Mark) -> bool:
        return mark in self._marks or (self.directory / mark).exists()

    def mark(self, mark: Mark) -> None:
        self._marks.add(mark)
        # A full disk must not hold up a drain; after a restart of the executor the hook is then run again.
        with contextlib.suppress(OSError):
            (self.directory / mark).touch()

    def unmark(self, mark: Mark) -> None:
        self._marks.discard(mark)
        with contextlib.suppress(OSError):
            (self.directory / mark).unlink(missing_ok=True)

    async def act(self, name: str, hook: Hook) -> str:
        """Send the signal, or run the command; returns the end of its output. Raises: Refused."""
        if hook.signal is not None:
            self.process.signal(signal.Signals["SIG" + hook.signal])
            return ""
        return await run_hook(name, hook, self.resolved, self.directory, self._program())

    async def asks(self, name: str, hook: Hook) -> str:
        """As `act`, but not longer than the instance lives. Raises: Refused."""
        command = asyncio.ensure_future(self.act(name, hook))
        try:
            await asyncio.wait((command, self.process.ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not command.done():
                command.cancel()
                await asyncio.wait((command,))
        if command.cancelled():
            raise Refused(f"it to live while {name} is asked", f"that it {self.how}")
        return command.result()

    def _program(self) -> int:
        pid = self._status().get("program")
        return pid if isinstance(pid, int) else 0

    def _status(self) -> dict[str, object]:
        try:
            found = json.loads((self.directory / "status.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


async def run_hook(name: str, hook: Hook, resolved: Resolved, directory: Path, program: int = 0) -> str:
    """The command of a hook, in the environment of its instance. `program` is the pid, where there is one.

    Raises: Refused.
    """
    env = {**resolved.env, "BUMPLESS_HOOK": name}
    for taken in PROGRAMS_OWN:
        env.pop(taken, None)
    if program:
        env["BUMPLESS_PID"] = str(program)
    try:
        return await run_command(
            hook.argv, env, Path(resolved.cwd), hook.timeout_s, directory / f"{name}.log"
        )
    except OSError as error:
        raise Refused(f"{hook.argv[0]} to run for {name}", os.strerror(error.errno or 0)) from error
