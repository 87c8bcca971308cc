"""Unpacks a package into a new directory.

Invariants: nothing is written before the package's claims make a tree; the base is only read; on any error, also a
cancellation, the new directory is gone; on return every byte was hashed on its way to the disk, the hashes make the
promised root, and all of it is flushed, but for its name. Files are read-only in the result.

Unchanged files share their blocks with the base where the file system can. Where it cannot, `share` allows them to be
the same file: a hard link costs nothing, and nobody writes to either name by accident.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from .beneath import Beneath
from .decoder import Decoder, InProcessDecoder
from .errors import Corrupt, TooLarge, WrongBase
from .extent import Extent, Stream, write_all
from .limits import MIB, Limits
from .package import CHECK, Block, Manifest, Member, Package, kept_entries, open_manifest, parse, result_tree
from .tree import Entry, Kind, Tree, scan, stamp_of

_FICLONE = 0x40049409
"""linux/fs.h: let a file have the blocks of another one."""

_CANNOT = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EPERM, errno.EMLINK)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
_NO_DIGEST = "0" * 64
_FLUSHED_ALONE = 128
_SPOOL_MAX = 64 * MIB
"""Bases of one block together, which are written to one file for the decoder."""


def rebuild(
    package_path: Path,
    out_dir: Path,
    *,
    expected_root: str | None = None,
    base_dir: Path | None = None,
    limits: Limits | None = None,
    decoder: Decoder | None = None,
    share: bool = False,
) -> str:
    """Make the tree `expected_root` in `out_dir`, which must not exist, from a package and, for a delta, its base.

    Without `expected_root`, the root the package promises. `decoder` decodes what is in the package; by default this
    process. `share` lets unchanged files be the same files as the base's, which become read-only with that. The
    directory above `out_dir` is the caller's to flush, who may move the tree first. Returns the root.

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
        if expected_root is not None and package.new_root != expected_root:
            raise Corrupt(f"a package of the tree {expected_root}", package.new_root, whole.name)
        base = _base_tree(package, base_dir)
        package, manifest = open_manifest(package, base, whole.read, limits)
        claimed = result_tree(manifest, base, [_NO_DIGEST] * (len(package.checks) // CHECK), limits)
        _check_space(out_dir.parent, claimed)
        os.mkdir(out_dir, 0o700)
        undo = stack.enter_context(ExitStack())
        undo.callback(shutil.rmtree, out_dir, ignore_errors=True)
        with ExitStack() as directories:
            out = directories.enter_context(Beneath(out_dir))
            source = directories.enter_context(Beneath(base_dir)) if base_dir else None
            writer = _Writer(package, whole, base, out, source, decoder or InProcessDecoder(), share)
            digests = writer.write(manifest, claimed)
            tree = result_tree(manifest, base, digests, limits)
            if tree.root != package.new_root:
                raise Corrupt(f"the tree {package.new_root}", tree.root, whole.name)
            os.chmod(out_dir, 0o755)
            _flush(out, tree, writer.written)
        undo.pop_all()
    return package.new_root


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
    """Writes directories first and links last, so that no write can pass a link of the same package.

    `written` are the paths of new files: what shares an inode with the base is on the disk already.
    """

    def __init__(
        self,
        package: Package,
        whole: Extent,
        base: Tree,
        out: Beneath,
        source: Beneath | None,
        decoder: Decoder,
        share: bool,
    ) -> None:
        self._package, self._whole, self._base = package, whole, base
        self._out, self._source, self._decoder, self._share = out, source, decoder, share
        self._clones = True
        self.written: set[str] = set()

    def write(self, manifest: Manifest, tree: Tree) -> list[str]:
        """The SHA-256 of every member, in hex."""
        for e in tree.entries:
            if e.kind is Kind.DIRECTORY:
                self._out.mkdir(e.path, e.mode)
        # Space first: a disk that fills up in the middle would have cost the work before.
        for member in manifest.members:
            self._reserve(tree.files[member.path])
        digests = list(self._blocks(manifest.blocks, tree))
        for copy in manifest.copies:
            self._copy(tree.files[copy.path], self._base.entries[copy.base])
        for e in kept_entries(manifest, self._base):
            if e.kind is Kind.FILE:
                self._copy(e, e)
        for e in tree.entries:
            if e.kind is Kind.LINK:
                self._out.symlink(e.path, e.content)
        return digests

    def _blocks(self, blocks: Iterable[Block], tree: Tree) -> Iterator[str]:
        """One block is asked for ahead, so that it is decoded while the one before is written."""
        at = self._package.blobs_at
        number = 0
        waiting: list[tuple[Block, Stream, ExitStack]] = []
        with ExitStack() as abandoned:
            abandoned.callback(lambda: _close(waiting))
            for block in [*blocks, None]:
                if block is not None:
                    held = ExitStack()
                    blob = Extent(
                        self._whole.fd, at, block.blob, f"{self._whole.name} ({block.members[0].path})"
                    )
                    at += block.blob
                    base = self._spool(block, held) if block.bases else None
                    waiting.append(
                        (
                            block,
                            Stream(self._decoder.decode(block.codec, blob, base, block.size), blob.name),
                            held,
                        )
                    )
                while waiting and (block is None or len(waiting) > 1):
                    ready, stream, held = waiting[0]
                    for member in ready.members:
                        yield self._put(member, tree.files[member.path], stream, number)
                        number += 1
                    stream.end()
                    held.close()
                    waiting.pop(0)

    def _spool(self, block: Block, held: ExitStack) -> Extent:
        """The files of the base as one: the file itself, or one without a name that has all of them."""
        entries = [self._base.entries[number] for number in block.bases]
        if len(entries) == 1:
            fd = self._open_base(entries[0])
            held.callback(os.close, fd)
            return Extent(fd, 0, entries[0].size, entries[0].path)
        total = sum(e.size for e in entries)
        Limits.check(_SPOOL_MAX, total, f"{self._whole.name} (bases of a block)")
        spool = held.enter_context(tempfile.TemporaryFile(buffering=0, dir=self._out.root))  # noqa: SIM115
        for e in entries:
            with open(self._open_base(e), "rb", buffering=0) as source:
                for piece in Extent(source.fileno(), 0, e.size, e.path).pieces():
                    write_all(spool.fileno(), piece)
        return Extent(spool.fileno(), 0, total, f"{len(entries)} files from {entries[0].path}")

    def _open_base(self, base: Entry) -> int:
        if self._source is None:
            raise WrongBase(self._package.old_root, "no base")
        try:
            # O_NONBLOCK: a pipe put in the file's place must not hang the call.
            fd = self._source.open(base.path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            raise WrongBase(f"sha256:{base.content} ({base.path})", str(error)) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise WrongBase(f"sha256:{base.content} ({base.path})", "no file")
        return fd

    def _reserve(self, e: Entry) -> None:
        with open(self._out.create(e.path), "wb", buffering=0) as file:
            if e.size:
                os.posix_fallocate(file.fileno(), 0, e.size)

    def _put(self, member: Member, e: Entry, stream: Stream, number: int) -> str:
        hasher = hashlib.sha256()
        with open(self._out.open(e.path, os.O_WRONLY), "wb", buffering=0) as file:
            for piece in stream.pieces(member.size):
                hasher.update(piece)
                write_all(file.fileno(), piece)
            os.fchmod(file.fileno(), _read_only(e))
        self.written.add(e.path)
        check = self._package.checks[number * CHECK : (number + 1) * CHECK]
        if hasher.digest()[:CHECK] != check:
            raise Corrupt(f"sha256 {check.hex()}…", hasher.hexdigest(), e.path)
        return hasher.hexdigest()

    def _copy(self, e: Entry, base: Entry) -> None:
        fd = self._open_base(base)
        with open(fd, "rb", buffering=0) as source:
            # What is still the file that was hashed needs no reading.
            if stamp_of(os.fstat(fd)) == base.stamp:
                if self._clones and self._clone(e, fd):
                    return
                if self._share and self._link(e, base, fd):
                    return
            hasher = hashlib.sha256()
            with open(self._out.create(e.path), "wb", buffering=0) as target:
                for piece in Extent(source.fileno(), 0, base.size, base.path).pieces():
                    hasher.update(piece)
                    write_all(target.fileno(), piece)
                os.fchmod(target.fileno(), _read_only(e))
            self.written.add(e.path)
            if hasher.hexdigest() != base.content:
                raise WrongBase(f"sha256:{base.content} ({base.path})", f"sha256:{hasher.hexdigest()}")

    def _clone(self, e: Entry, source: int) -> bool:
        with open(self._out.create(e.path), "wb", buffering=0) as target:
            try:
                fcntl.ioctl(target.fileno(), _FICLONE, source)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self._clones = False
                self._out.unlink(e.path)
                return False
            os.fchmod(target.fileno(), _read_only(e))
        self.written.add(e.path)
        return True

    def _link(self, e: Entry, base: Entry, fd: int) -> bool:
        """One inode has one mode, so a file that changes its mode is copied."""
        if e.mode != base.mode or self._source is None:
            return False
        try:
            if stat.S_IMODE(os.fstat(fd).st_mode) != _read_only(e):
                os.fchmod(fd, _read_only(e))
            self._out.link(e.path, self._source, base.path)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            return False
        return True


def _close(waiting: list[tuple[Block, Stream, ExitStack]]) -> None:
    for _, _, held in waiting:
        held.close()


def _read_only(e: Entry) -> int:
    return e.mode & ~0o222


def _flush(out: Beneath, tree: Tree, written: set[str]) -> None:
    """Files, then directories from the bottom up; many of them at once, with what else the file system holds.

    A file system commits for every file that is flushed, at milliseconds each.
    """
    if len(written) > _FLUSHED_ALONE:
        out.sync_file_system()
        return
    for e in tree.entries:
        if e.path in written:
            out.fsync(e.path)
    for e in reversed(tree.entries):
        if e.kind is Kind.DIRECTORY:
            out.fsync(e.path)
    out.fsync()
