"""The record of one component on the disk: the whole of it, replaced at every change, before anything acts on it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from bumpless.common.contract.base import Model
from bumpless.common.errors import Refused
from bumpless.executor.durable import write_file
from bumpless.executor.record import ComponentRecord

FORMAT = 1


class _File(Model):
    format: int = FORMAT
    record: ComponentRecord


class Journal:
    """Holds the last record for which `save` returned, through any crash."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def save(self, record: ComponentRecord) -> None:
        """Raises: OSError, and then the earlier record stands."""
        write_file(self._path, _File(record=record).model_dump_json().encode())

    def load(self) -> ComponentRecord | None:
        """The record; None if there was never one.

        Raises:
            Refused: the file is not a journal this executor can read. Acting without it could do a step twice.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            file = _File.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise Refused(
                f"a journal at {self._path}",
                f"{where}: {first['msg']}",
                "restore the file, or move it away to let the component be installed anew",
            ) from error
        if file.format != FORMAT:
            raise Refused(
                f"a journal of format {FORMAT} at {self._path}",
                f"format {file.format}",
                "run the executor that wrote it, or a later one",
            )
        return file.record
