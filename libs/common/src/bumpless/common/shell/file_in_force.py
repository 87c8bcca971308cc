"""A file of the fleet as it is now: read again when it changes, and kept as it was while what is there cannot be read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from bumpless.common.shell.log import get_logger

log = get_logger(__name__)
T = TypeVar("T")


class FileInForce(Generic[T]):
    """`file` is what holds. No path, or none there: `read("")`.

    `fault`: why what is there is not used; empty where it is.
    """

    def __init__(self, path: Path | None, read: Callable[[str, str], T]) -> None:
        """`read` makes a value of a text and of where it stands; it raises ValueError for what is wrong."""
        self.file = read("", str(path))
        self.fault = ""
        self._path, self._read = path, read
        self._digest: bytes | None = None

    def look(self) -> bool:
        """Read the file if it is another one than before; whether `file` changed."""
        if self._path is None:
            return False
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            data = b""
        except OSError as error:
            return self._kept(f"{self._path} cannot be read: {error}")
        digest = hashlib.sha256(data).digest()
        if digest == self._digest:
            return False
        self._digest = digest
        try:
            found = self._read(data.decode(), str(self._path))
        except ValueError as error:
            return self._kept(str(error))
        self.fault = ""
        changed, self.file = found != self.file, found
        if changed:
            log.info("file read", path=str(self._path))
        return changed

    def _kept(self, fault: str) -> bool:
        if fault != self.fault:
            log.error("the file is not used; the one before stays in force", reason=fault)
        self.fault = fault
        return False
