"""The events file as it is now: read again when it changes, and kept as it was while what is there cannot be read."""

from __future__ import annotations

from pathlib import Path

from bumpless.common.model.eventing import EventsFile
from bumpless.common.shell.log import get_logger
from bumpless.common.yaml_file import read_yaml

log = get_logger(__name__)


class Config:
    """`file` is what holds. No path, or none there: nobody is told."""

    def __init__(self, path: Path | None) -> None:
        self.file = EventsFile()
        self._path = path
        self._seen: bytes | str | None = None

    def look(self) -> bool:
        """Read the file if it is another one than before; whether `file` changed."""
        if self._path is None:
            return False
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            data = b""
        except OSError as error:
            return self._kept(str(error))
        if data == self._seen:
            return False
        try:
            found = read_yaml(data.decode(), str(self._path), EventsFile)
        except ValueError as error:
            self._kept(str(error))
            self._seen = data
            return False
        self._seen = data
        changed, self.file = found != self.file, found
        return changed

    def _kept(self, fault: str) -> bool:
        if fault != self._seen:
            log.error("the events file is not used; the one before stays in force", reason=fault)
            self._seen = fault
        return False
