"""Unpacks a package into a new directory.

Invariants: nothing is written before the package's claims add up to the expected root; the base is only read; on any
error, also a cancellation, the new directory is gone; on return every byte has been read back, hashed and flushed to
the disk. Kept files are copied, sharing blocks where the file system can: a hard link would let whoever writes one
release in place damage the other, which is the way back.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from .beneath import Beneath, fsync_directory
from .codecs import CODECS
from .errors import Corrupt, TooLarge, WrongBase
from .extent import Extent, Stream, write_all
from .limits import PIECE, Limits
from .package import Package, base_entry, kept_entries, parse, result_tree
from .tree import Entry, Kind, Tree, scan, verify

_NO_KERNEL_COPY = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM)


def rebuild(
    package_path: Path,
    out_dir: Path,
    *,
    expected_root: str,
    base_dir: Path | None = None,
    limits: Limits | None = None,
) -> None:
    """Make the tree `expected_root` in `out_dir`, which must not exist, from a package and, for a delta, its base.

    Raises:
        WrongBase: the package needs another base than the one in `base_dir`.
        Corrupt: the package, or the base while it was read, is not what it says.
        TooLarge: it asks for more than `limits`, or than the free space.
        UnsafePath, UnsupportedFormat: see `errors`.
        FileExistsError: `out_dir` exists; it is left alone.
        OSError: the machine failed (disk full, no permission).
    """
    limits = limits or Limits()
    with ExitStack() as stack:
        fd = os.open(package_path, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, fd)
        whole = Extent(fd, 0, os.fstat(fd).st_size, str(package_path))
        package = parse(whole.read, whole.size, limits, whole.name)
        if package.new_root != expected_root:
            raise Corrupt(f"a package of the tree {expected_root}", package.new_root, whole.name)
        base = _base_tree(package, base_dir)
        tree = result_tree(package, base, limits)
        _check_space(out_dir.parent, tree)
        os.mkdir(out_dir, 0o700)
        undo = stack.enter_context(ExitStack())
        undo.callback(shutil.rmtree, out_dir, ignore_errors=True)
        with ExitStack() as directories:
            out = directories.enter_context(Beneath(out_dir))
            source = directories.enter_context(Beneath(base_dir)) if base_dir else None
            _Writer(package, whole, tree, base, out, source).write()
            os.chmod(out_dir, 0o755)
            verify(out_dir, tree)
            _flush(out, tree)
        fsync_directory(out_dir.parent)
        undo.pop_all()


def _base_tree(package: Package, base_dir: Path | None) -> Tree:
    if package.is_full:
        return Tree(())
    if base_dir is None:
        raise WrongBase(package.old_root, "no base")
    try:
        base = scan(base_dir)
    except (FileNotFoundError, NotADirectoryError):
        raise WrongBase(package.old_root, f"no directory at {base_dir}") from None
    # An interpreter that ran from the base may have left caches there; they take no part in the rebuild.
    return base if base.root == package.old_root else base.without_bytecode()


def _check_space(directory: Path, tree: Tree) -> None:
    space = os.statvfs(directory)
    # Files take whole blocks. File systems without a fixed inode table report 0 inodes.
    needed = sum(-(-e.size // space.f_frsize) for e in tree.entries)
    if needed > space.f_bavail:
        raise TooLarge(space.f_bavail * space.f_frsize, needed * space.f_frsize, f"free space at {directory}")
    if space.f_files and len(tree.entries) > space.f_favail:
        raise TooLarge(space.f_favail, len(tree.entries), f"free inodes at {directory}")


class _Writer:
    """Writes directories first and links last, so that no write can pass a link of the same package."""

    def __init__(
        self, package: Package, whole: Extent, tree: Tree, base: Tree, out: Beneath, source: Beneath | None
    ) -> None:
        self._package, self._whole, self._base = package, whole, base
        self._tree, self._out, self._source = tree, out, source

    def write(self) -> None:
        for e in self._tree.entries:
            if e.kind is Kind.DIRECTORY:
                self._out.mkdir(e.path, e.mode)
        self._solid()
        self._coded()
        for row in self._package.manifest.copies:
            self._copy(self._tree.files[row.path], base_entry(row.base, self._base))
        for e in kept_entries(self._package, self._base):
            if e.kind is Kind.FILE:
                self._copy(e, e)
        for e in self._tree.entries:
            if e.kind is Kind.LINK:
                self._out.symlink(e.path, e.content)

    def _solid(self) -> None:
        manifest = self._package.manifest
        blob = self._blob(0, manifest.solid_blob, "solid blob")
        total = sum(row.size for row in manifest.solid)
        stream = Stream(CODECS[manifest.solid_codec].decode(blob, None, total), blob.name)
        for row in manifest.solid:
            self._put(self._tree.files[row.path], stream.pieces(row.size))
        stream.end()

    def _coded(self) -> None:
        at = self._package.manifest.solid_blob
        for row in self._package.manifest.files:
            blob = self._blob(at, row.blob, row.path)
            at += row.blob
            decode = CODECS[row.codec].decode
            if row.base is None:
                self._put(self._tree.files[row.path], decode(blob, None, row.size))
                continue
            base = base_entry(row.base, self._base)
            fd = self._open_base(base)
            try:
                _check_base(Extent(fd, 0, base.size, base.path), base)
                self._put(
                    self._tree.files[row.path], decode(blob, Extent(fd, 0, base.size, base.path), row.size)
                )
            finally:
                os.close(fd)

    def _blob(self, at: int, size: int, name: str) -> Extent:
        return Extent(
            self._whole.fd, self._package.blobs_at + at, size, f"{self._whole.name} (blob of {name})"
        )

    def _open_base(self, base: Entry) -> int:
        if self._source is None:
            raise WrongBase(self._package.old_root, "no base")
        return self._source.open(base.path, os.O_RDONLY)

    def _put(self, e: Entry, pieces: Iterable[bytes]) -> None:
        hasher = hashlib.sha256()
        size = 0
        with open(self._out.create(e.path), "wb", buffering=0) as file:
            for piece in pieces:
                size += len(piece)
                if size > e.size:
                    break
                hasher.update(piece)
                write_all(file.fileno(), piece)
            os.fchmod(file.fileno(), e.mode)
        if size != e.size:
            raise Corrupt(f"{e.size} bytes", f"{'more' if size > e.size else size}", e.path)
        if hasher.hexdigest() != e.content:
            raise Corrupt(f"sha256 {e.content}", hasher.hexdigest(), e.path)

    def _copy(self, e: Entry, base: Entry) -> None:
        # Not hashed here: the kernel copies, and the finished tree is read back as a whole.
        with (
            open(self._open_base(base), "rb", buffering=0) as source,
            open(self._out.create(e.path), "wb", buffering=0) as target,
        ):
            _copy_bytes(Extent(source.fileno(), 0, base.size, base.path), target.fileno())
            os.fchmod(target.fileno(), e.mode)


def _check_base(extent: Extent, e: Entry) -> None:
    """The base was hashed with its tree; again right before use, so a patch never runs over changed bytes."""
    hasher = hashlib.sha256()
    for piece in extent.pieces():
        hasher.update(piece)
    if hasher.hexdigest() != e.content:
        raise WrongBase(f"sha256:{e.content} ({e.path})", f"sha256:{hasher.hexdigest()}")


def _copy_bytes(source: Extent, target: int) -> None:
    at = 0
    try:
        while at < source.size:
            copied = os.copy_file_range(source.fd, target, source.size - at, at)
            if not copied:
                break
            at += copied
    except OSError as error:
        if error.errno not in _NO_KERNEL_COPY:
            raise
    while at < source.size:
        piece = source.read(at, min(PIECE, source.size - at))
        write_all(target, piece)
        at += len(piece)


def _flush(out: Beneath, tree: Tree) -> None:
    """Files, then directories from the bottom up. After all writes: one journal commit then covers many files."""
    for e in tree.entries:
        if e.kind is Kind.FILE:
            out.fsync(e.path)
    for e in reversed(tree.entries):
        if e.kind is Kind.DIRECTORY:
            out.fsync(e.path)
    out.fsync()
