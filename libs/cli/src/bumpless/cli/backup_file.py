"""A backup of a control plane: one zip file with settings, keys and streams, and a list of what is in it with digests.

    bumpless-backup.json    format, when, and of every stream its config, state and digest, of every file its digest
    streams/NAME            the broker's snapshot of a stream
    settings/PATH           keys, identities and files of settings, with their modes

It holds private keys: it is written with mode 0600.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from bumpless.common.contract.base import StrictModel
from bumpless.common.errors import Refused

FORMAT = "bumpless-backup/1"
LIST = "bumpless-backup.json"
PART = 256 << 10
MAX_LIST = 64 << 20


class StreamKept(StrictModel):
    config: dict[str, Any]
    state: dict[str, Any]
    sha256: str
    size: int


class FileKept(StrictModel):
    mode: int
    sha256: str


class Contents(StrictModel):
    """`streams` in the order in which they were read."""

    format: str = FORMAT
    at: datetime
    broker: str
    streams: dict[str, StreamKept] = {}
    files: dict[str, FileKept] = {}


class Writing:
    """The file is there when `finish` was called, and not before."""

    def __init__(self, path: Path, contents: Contents) -> None:
        """Raises: Refused: there is such a file already."""
        if path.exists():
            raise Refused("a file that is not there yet", str(path), "name another, or move it away")
        self._path, self._part = path, path.with_name(path.name + ".part")
        self.contents = contents
        self._part.unlink(missing_ok=True)
        fd = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(fd, "w+b")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED, allowZip64=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if not self._file.closed:
            self._file.close()
        self._part.unlink(missing_ok=True)

    async def stream(self, name: str, info: dict[str, Any], parts: AsyncIterator[Any]) -> None:
        digest, size = hashlib.sha256(), 0
        with self._zip.open(f"streams/{name}", "w", force_zip64=True) as out:
            async for part in parts:
                out.write(part)
                digest.update(part)
                size += len(part)
        self.contents.streams[name] = StreamKept(
            config=info["config"], state=info["state"], sha256=digest.hexdigest(), size=size
        )

    def file(self, name: str, path: Path) -> None:
        data = path.read_bytes()
        self._zip.writestr(f"settings/{name}", data)
        self.contents.files[name] = FileKept(
            mode=stat.S_IMODE(path.stat().st_mode), sha256=hashlib.sha256(data).hexdigest()
        )

    def finish(self) -> int:
        """Its size in bytes."""
        self._zip.writestr(LIST, self.contents.model_dump_json(indent=1))
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.rename(self._path)
        return self._path.stat().st_size


class Reading:
    """Opened, it is whole: every digest was compared."""

    def __init__(self, path: Path) -> None:
        """Raises: Refused: it is no backup, of another format, or damaged."""
        try:
            self._zip = zipfile.ZipFile(path)
            with self._zip.open(LIST) as listed:
                text = listed.read(MAX_LIST)
            self.contents = Contents.model_validate_json(text)
        except FileNotFoundError:
            raise Refused("a backup", f"nothing at {path}") from None
        except (OSError, KeyError, zipfile.BadZipFile, ValidationError) as error:
            raise Refused(f"a backup of `bumpless backup` at {path}", str(error).splitlines()[0]) from error
        if self.contents.format != FORMAT:
            raise Refused(FORMAT, self.contents.format, "restore it with the version that wrote it")
        self._check(path)

    def close(self) -> None:
        self._zip.close()

    def parts(self, member: str) -> Iterator[bytes]:
        with self._zip.open(member) as found:
            while part := found.read(PART):
                yield part

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        for part in self.parts(f"streams/{name}"):
            yield part

    def restore_files(self, folder: Path) -> list[Path]:
        """Write what is not there yet; what is there must be the same. Raises: Refused."""
        wanted = {_inside(folder, name): (name, kept) for name, kept in self.contents.files.items()}
        for path, (name, _) in wanted.items():
            if path.exists() and path.read_bytes() != b"".join(self.parts(f"settings/{name}")):
                raise Refused(
                    f"no other file at {path} than the one in the backup",
                    "one that differs",
                    "move it away, or restore settings into another folder with --settings",
                )
        made = []
        for path, (name, kept) in wanted.items():
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as out:
                for part in self.parts(f"settings/{name}"):
                    out.write(part)
                os.fchmod(out.fileno(), kept.mode)
            made.append(path)
        return made

    def _check(self, path: Path) -> None:
        kept = {f"streams/{name}": one.sha256 for name, one in self.contents.streams.items()}
        kept |= {f"settings/{name}": one.sha256 for name, one in self.contents.files.items()}
        for member, expected in kept.items():
            digest = hashlib.sha256()
            try:
                for part in self.parts(member):
                    digest.update(part)
            except (KeyError, zipfile.BadZipFile) as error:
                raise Refused(f"{member} in {path}", str(error), "take another backup") from error
            if digest.hexdigest() != expected:
                raise Refused(
                    f"{member} in {path} with sha256 {expected}", digest.hexdigest(), "take another backup"
                )


def _inside(folder: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute():
        raise Refused("a path within the folder of settings", name, "this is no backup that bumpless wrote")
    return folder.joinpath(*parts)


def listed(contents: Contents) -> list[dict[str, Any]]:
    """For people and programs: every stream with its messages and bytes."""
    return [
        {"stream": name, "messages": int(kept.state.get("messages", 0)), "bytes": kept.size}
        for name, kept in contents.streams.items()
    ]


def dumped(contents: Contents) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(contents.model_dump_json(include={"at", "broker"}))
    return {**found, "streams": listed(contents), "files": sorted(contents.files)}
