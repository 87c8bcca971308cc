"""The executor's side of its launcher: which version this process runs, whether it is confirmed, how to leave for another.

`launcher.py` decides what is started; here it is told what to expect and that it came true.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import NoReturn, Self

from bumpless.common.contract.base import Digest
from bumpless.executor.launcher import (
    INSTALLED,
    LAUNCHED,
    State,
    Told,
    Trial,
    home_of,
    python_path,
    read_state,
    with_path,
    write_state,
)

_TOLD = frozenset(field.name for field in fields(Told))
"""A launcher may be older or newer than what it starts."""


def version_of(root: Digest | None) -> str:
    """A tree as the launcher names it; None is what is installed."""
    return INSTALLED if root is None else root.removeprefix("sha256:")


@dataclass
class Launch:
    """This process. `told` None: it was started without a launcher, and cannot take the place of another version."""

    data_dir: Path
    told: Told | None = None
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is to end for another version; whoever runs the executor ends it and calls `leave`."""

    _writing: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of_this_process(cls, data_dir: Path) -> Self:
        """Takes what the launcher left in the environment out of it: no child shall see it."""
        text = os.environ.pop(LAUNCHED, None)
        if text is None:
            return cls(data_dir)
        found = {name: value for name, value in json.loads(text).items() if name in _TOLD}
        return cls(data_dir, Told(**found | {"command": tuple(found.get("command", ()))}))

    @property
    def version(self) -> str:
        return self.told.root if self.told is not None else INSTALLED

    def failure_of(self, version: str) -> str:
        """Why the launcher gave `version` up and started this one instead; empty: it did not."""
        return self.told.why if self.told is not None and self.told.failed == version else ""

    def expect(self, version: str, limit_s: float) -> None:
        """Before the links name `version`: it is new here, whatever came of it before. Blocking. Raises: OSError."""
        if self.failure_of(version) and self.told is not None:
            self.told = replace(self.told, failed="", why="")
        with self._writing:
            write_state(self.data_dir, replace(read_state(self.data_dir), trial=Trial(version, limit_s)))

    async def confirm(self) -> None:
        """This version works: it is started from now on without a limit. Raises: OSError."""
        if self.told is not None:
            await asyncio.to_thread(self._write_confirmed)
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._end_trial_log()
        self.confirmed.set()

    def environment_of(self, version: str) -> dict[str, str]:
        """For a process that runs the code of `version` and is not to serve the node."""
        path = self.told.path if self.told is not None else os.environ.get("PYTHONPATH")
        env = with_path(os.environ, python_path(home_of(self.data_dir), version, path))
        return {name: value for name, value in env.items() if name != "NOTIFY_SOCKET"}

    def leave(self, more: Mapping[str, str]) -> NoReturn:
        """The launcher takes the place of this process, with `more` in its environment. Call with nothing running."""
        assert self.told is not None, "expected a launcher to go back to"
        self._end_trial_log()
        env = {**with_path(os.environ, self.told.path), **more}
        os.execve(self.told.command[0], list(self.told.command), env)

    def _write_confirmed(self) -> None:
        with self._writing:
            state = read_state(self.data_dir)
            trial = None if state.trial is None or state.trial.root == self.version else state.trial
            if state != (confirmed := State(self.version, trial)):
                write_state(self.data_dir, confirmed)

    def _end_trial_log(self) -> None:
        if self.told is not None and self.told.stderr >= 0:
            os.dup2(self.told.stderr, 2)
            os.close(self.told.stderr)
            self.told = replace(self.told, stderr=-1)
