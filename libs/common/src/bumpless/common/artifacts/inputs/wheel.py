"""Reads a wheel as the tree of files in it; nothing of it is installed. `zipfile` parses; it extracts nothing."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from bumpless.common.artifacts.errors import Corrupt, UnsafePath
from bumpless.common.artifacts.limits import PIECE
from bumpless.common.artifacts.tree import Kind

from .contents import Item, Member

_UNIX = 3
"""The system whose modes the upper half of a member's attributes holds."""


class WheelContainer:
    """A `contents.Container`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        return str(self._path)

    def members(self) -> Iterator[Member]:
        seen: set[str] = set()
        with self._open() as archive:
            for info in archive.infolist():
                if info.filename in seen:
                    raise UnsafePath(info.filename, "expected each path once, found it twice")
                seen.add(info.filename)
                yield _member(info)

    def read(self, wanted: Collection[int]) -> Iterator[tuple[int, Iterator[bytes]]]:
        with self._open() as archive:
            for index, info in enumerate(archive.infolist()):
                if index in wanted:
                    yield index, _pieces(archive, info, self.name)

    @contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        with _damage_told(self.name), zipfile.ZipFile(self._path) as archive:
            yield archive


def _member(info: zipfile.ZipInfo) -> Member:
    path = info.filename.rstrip("/")
    mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
    if info.is_dir():
        return Member(path, Item(Kind.DIRECTORY))
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return Member(path, Item(None, refused=f"expected a file or directory, found {stat.filemode(mode)}"))
    if mode & (stat.S_ISUID | stat.S_ISGID):
        return Member(
            path, Item(None, refused=f"expected no setuid or setgid bit, found mode {mode & 0o7777:04o}")
        )
    # The others may decompress to any amount at once.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
        return Member(path, Item(None, refused="expected a stored or deflated file, found another coding"))
    return Member(path, Item(Kind.FILE, bool(mode & stat.S_IXUSR), info.file_size))


def _pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> Iterator[bytes]:
    with _damage_told(where), archive.open(info) as source:
        while piece := source.read(PIECE):
            yield piece


@contextmanager
def _damage_told(where: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise Corrupt("an intact wheel", str(error), where) from error
