"""The record of one component on the disk: the whole of it, replaced at every change, before anything acts on it.

The record before stays beside it under a name of its own. It comes back when a new one could not be flushed, and it is
read where the last one cannot be: every effect may be performed again, so a component can go on from one record earlier.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from bumpless.common.contract.base import Model
from bumpless.common.errors import Refused
from bumpless.common.shell.log import get_logger
from bumpless.executor.durable import prepare_file, sync_directory
from bumpless.executor.record import ComponentRecord

log = get_logger(__name__)

FORMAT = 1


class _File(Model):
    format: int = FORMAT
    record: ComponentRecord


class _Unreadable(Exception):
    """Says where and why."""


class Journal:
    """Holds the last record for which `save` returned, through any crash. Its other file is `NAME.before.json`."""

    def __init__(self, path: Path) -> None:
        self._path, self._before = path, path.with_name(f"{path.stem}.before{path.suffix}")
        self._good = False
        """Whether what is at `path` was read or written here, and so is worth keeping."""

    def save(self, record: ComponentRecord) -> None:
        """Raises: OSError, and then the earlier record stands."""
        part = prepare_file(self._path, _File(record=record).model_dump_json().encode())
        try:
            self._keep()
            os.replace(part, self._path)
            sync_directory(self._path.parent)
        except OSError:
            self._go_back(part)
            raise
        self._good = True

    def load(self) -> ComponentRecord | None:
        """The record; None if there was never one.

        Raises:
            Refused: neither file is a journal this executor can read. Acting without one could do a step twice.
        """
        try:
            record = _read(self._path)
        except _Unreadable as error:
            return self._earlier(error)
        self._good = record is not None
        return record

    def _earlier(self, error: _Unreadable) -> ComponentRecord:
        try:
            record = _read(self._before)
        except _Unreadable:
            record = None
        if record is None:
            raise Refused(
                f"a journal at {self._path}",
                str(error),
                "restore the file, or move it and the one before it away to let the component be installed anew",
            ) from error
        log.error("going on from the record before", journal=str(self._path), found=str(error))
        return record

    def _keep(self) -> None:
        """Let the record that is about to be replaced be the one before, if it can be read."""
        if not self._good:
            try:
                self._good = _read(self._path) is not None
            except _Unreadable:
                return
        if self._good:
            _link(self._path, self._before)
        else:
            # A first record has none before it; a file that is there is of another life of the component.
            self._before.unlink(missing_ok=True)

    def _go_back(self, part: Path) -> None:
        """Undo a `save`, as far as the disk allows."""
        with suppress(OSError):
            if part.exists():
                part.unlink()
                return
            if not self._before.exists():
                self._path.unlink()  # there was never one
            else:
                _link(self._before, self._path)
            sync_directory(self._path.parent)


def _link(source: Path, name: Path) -> None:
    """Let `name` name the file at `source` too; what it named before, it names until then."""
    part = name.with_name(f".{name.name}.link.part")
    try:
        os.link(source, part)
    except FileExistsError:
        part.unlink()
        os.link(source, part)
    os.replace(part, name)


def _read(path: Path) -> ComponentRecord | None:
    """The record in `path`, None if there is no such file.

    Raises:
        _Unreadable: it is damaged.
        Refused: a later executor wrote it.
    """
    try:
        # A later version may have written settings that this one does not know; it goes on without them.
        file = _File.model_validate_json(path.read_bytes(), extra="ignore")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _Unreadable(str(error)) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _Unreadable(f"{where}: {first['msg']}") from error
    if file.format != FORMAT:
        raise Refused(
            f"a journal of format {FORMAT} at {path}",
            f"format {file.format}",
            "run the executor that wrote it, or a later one",
        )
    return file.record
