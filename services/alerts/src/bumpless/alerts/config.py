"""The alerts file as it is now: read again when it changes, and kept as it was while what is there cannot be read."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bumpless.common.alerts_file import read_alerts
from bumpless.common.model.alerting import AlertsFile
from bumpless.common.shell.log import get_logger

log = get_logger(__name__)


class Config:
    """`file` is what holds. No path, or none there: the rules that are built in, and nobody is told.

    `fault`: why what is there is not used; empty where it is.
    """

    def __init__(self, path: Path | None) -> None:
        self.file = AlertsFile()
        self.fault = ""
        self._path = path
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
            found = read_alerts(data.decode(), str(self._path))
        except ValueError as error:
            return self._kept(str(error))
        self.fault = ""
        changed = found != self.file
        self.file = found
        if changed:
            log.info("alerts file read", path=str(self._path), rules=len(found.every_rule))
        return changed

    def _kept(self, fault: str) -> bool:
        if fault != self.fault:
            log.error("the alerts file is not used; the one before stays in force", reason=fault)
        self.fault = fault
        return False
