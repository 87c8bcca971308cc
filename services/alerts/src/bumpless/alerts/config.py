"""The alerts file as it is now."""

from __future__ import annotations

from pathlib import Path

from bumpless.common.alerts_file import read_alerts
from bumpless.common.model.alerting import AlertsFile
from bumpless.common.shell.file_in_force import FileInForce


class Config(FileInForce[AlertsFile]):
    """No path, or no file there: the rules that are built in, and nobody is told."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path, read_alerts)
