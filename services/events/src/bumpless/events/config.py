"""The events file as it is now."""

from __future__ import annotations

from pathlib import Path

from bumpless.common.model.eventing import EventsFile
from bumpless.common.shell.file_in_force import FileInForce
from bumpless.common.yaml_file import read_yaml


class Config(FileInForce[EventsFile]):
    """No path, or no file there: nobody is told."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path, lambda text, where: read_yaml(text, where, EventsFile))
