"""Which process of a service ran here before this one, and whether it has ended for sure.

A file in a directory of the service's own holds the id of the process that ran here last, which keeps it locked for as long
as it lives. Whoever gets the lock knows that the other is gone, whatever its pid is now, and in whatever container or
sandbox. A copy of the directory on another machine is wrong about it once (docs/adr/0048-*.md).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from bumpless.common.shell import clock
from bumpless.common.shell.log import get_logger

log = get_logger(__name__)

LONGEST_ID = 100


class Predecessor:
    """`file` None: nothing is known of earlier processes. `ours` is the id of this process."""

    def __init__(self, file: Path | None) -> None:
        self.ours = clock.fresh_id()
        self._file = file
        self._locked: int | None = None
        self._before = ""

    @classmethod
    def of_this_process(cls, owner: str, env: Mapping[str, str] | None = None) -> Self:
        """In the directory that the service manager made for this service (STATE_DIRECTORY), if there is one."""
        directory = (os.environ if env is None else env).get("STATE_DIRECTORY", "").split(":")[0]
        return cls(Path(directory) / f"{owner}.process" if directory else None)

    def ended(self) -> str | None:
        """The id of the last process; None: it lives, or there was none, or nobody knows.

        The first time that the lock is got, our own id is left for whoever comes after us.
        """
        if self._locked is None and self._file is not None:
            try:
                self._lock(self._file)
            except OSError as error:
                log.warning(
                    "it is not known which process ran here before", file=str(self._file), reason=str(error)
                )
                self._file = None
        return self._before or None

    def token(self) -> str:
        """A new one for the lease, by which a later process knows that it was ours."""
        return f"{self.ours}.{clock.fresh_id()}"

    def close(self) -> None:
        if self._locked is not None:
            os.close(self._locked)
            self._locked = None

    def _lock(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._before = os.pread(opened, LONGEST_ID, 0).decode(errors="replace")
            os.ftruncate(opened, 0)
            os.pwrite(opened, self.ours.encode(), 0)
        except BlockingIOError:  # it lives
            os.close(opened)
        except OSError:
            os.close(opened)
            raise
        else:
            self._locked = opened
