"""Reads tars, plain or compressed, front to back, in bounded memory. `tarfile` parses headers; it extracts nothing."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

from backports import zstd

from bumpless.common.artifacts.errors import Corrupt
from bumpless.common.artifacts.limits import MIB, PIECE, Limits
from bumpless.common.artifacts.tree import Kind
from bumpless.common.errors import Refused

from .contents import Item, Member

_STREAM_MAX = 64 * 1024 * MIB
_HEADER_MAX = 16 * MIB
"""An extended header is read as a whole; what it holds are names and a few numbers."""

_BLOCK = 512
_KINDS = {
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


class TarContainer:
    """A `contents.Container`. The compression is told by the first bytes, not by the name."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        return str(self._path)

    def members(self) -> Iterator[Member]:
        with self._open() as tar:
            yield from (_member(info) for info in _infos(tar, self.name))

    def read(self, wanted: Collection[int]) -> Iterator[tuple[int, Iterator[bytes]]]:
        with self._open() as tar:
            for index, info in enumerate(_infos(tar, self.name)):
                if index in wanted:
                    yield index, _pieces(tar, info, self.name)

    @contextmanager
    def _open(self) -> Iterator[tarfile.TarFile]:
        with ExitStack() as stack:
            stream = _Forward(_uncompressed(self._path, stack), self.name)
            stack.enter_context(_damage_told(self.name))
            try:
                # Names are bytes in truth: what is no UTF-8 is refused with the path.
                tar = tarfile.TarFile(
                    fileobj=cast(IO[bytes], stream), encoding="utf-8", errors="surrogateescape"
                )
            except tarfile.TarError as error:
                raise Refused(
                    "a directory, a tar, a wheel or an OCI image layout",
                    f"{self._path}, which is none of them",
                ) from error
            yield stack.enter_context(tar)


def normal(name: str) -> str:
    """A member's name as a path in a tree, and nothing for the root."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return "" if name == "." else name.rstrip("/")


def _infos(tar: tarfile.TarFile, where: str) -> Iterator[tarfile.TarInfo]:
    while (info := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # it would keep every header
        if normal(info.name):
            yield info
    # tarfile takes a damaged or missing header for the end.
    stream = cast(_Forward, tar.fileobj)
    if stream.last != bytes(_BLOCK):
        raise Corrupt("a block of zeros at its end", "a cut or damaged tar", where)


def _member(info: tarfile.TarInfo) -> Member:
    path = normal(info.name)
    if info.islnk():
        return Member(path, None, normal(info.linkname))
    if info.isdir():
        return Member(path, Item(Kind.DIRECTORY))
    if info.issym():
        return Member(path, Item(Kind.LINK, target=info.linkname))
    if not info.isreg():
        kind = _KINDS.get(info.type, f"a member of type {info.type!r}")
        return Member(path, Item(None, refused=f"expected a file, directory or relative link, found {kind}"))
    if info.mode & (stat.S_ISUID | stat.S_ISGID):
        return Member(
            path, Item(None, refused=f"expected no setuid or setgid bit, found mode {info.mode & 0o7777:04o}")
        )
    return Member(path, Item(Kind.FILE, bool(info.mode & stat.S_IXUSR), info.size))


def _pieces(tar: tarfile.TarFile, info: tarfile.TarInfo, where: str) -> Iterator[bytes]:
    source = tar.extractfile(info)  # opens, and knows about sparse files
    assert source is not None
    with _damage_told(where), source:
        while piece := source.read(PIECE):
            yield piece


def _uncompressed(path: Path, stack: ExitStack) -> IO[bytes]:
    file = stack.enter_context(path.open("rb"))
    head = file.peek(6)
    openers: Mapping[bytes, Callable[..., object]] = {
        b"\x1f\x8b": gzip.open,
        b"\xfd7zXZ\x00": lzma.open,
        b"BZh": bz2.open,
        b"\x28\xb5\x2f\xfd": zstd.open,
    }
    for magic, opener in openers.items():
        if head.startswith(magic):
            return stack.enter_context(cast(IO[bytes], opener(file, "rb")))
    return file


class _Forward:
    """As much of a file as `tarfile` needs, over a stream that only goes forward."""

    def __init__(self, source: IO[bytes], name: str) -> None:
        self._source, self.name = source, name
        self._at = 0
        self.last = b""

    def read(self, size: int) -> bytes:
        Limits.check(_HEADER_MAX, size, f"{self.name} (a header)")
        self.last = self._source.read(size)
        self._at += len(self.last)
        Limits.check(_STREAM_MAX, self._at, f"{self.name} (uncompressed)")
        return self.last

    def seek(self, to: int) -> int:
        if to < self._at:
            raise Corrupt("members one after the other", "one that overlaps another", self.name)
        while self._at < to and self.read(min(PIECE, to - self._at)):
            pass
        return self._at

    def tell(self) -> int:
        return self._at


@contextmanager
def _damage_told(where: str) -> Iterator[None]:
    try:
        yield
    except (
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        zstd.ZstdError,
        EOFError,
        LookupError,
        OverflowError,
        ValueError,
    ) as error:
        raise Corrupt("an intact tar", str(error) or type(error).__name__, where) from error
    except OSError as error:
        if error.errno is not None:  # the machine's fault
            raise
        raise Corrupt("an intact tar", str(error), where) from error
