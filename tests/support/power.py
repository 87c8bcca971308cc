"""File systems whose power can be cut: on images, mounted where nobody else sees them.

Two ways to cut. `shut_down` makes a mounted file system drop all it has not written (EXT4_IOC_SHUTDOWN and
XFS_IOC_GOINGDOWN without flushing the log); it can be mounted again after. `image` copies the device as it is at that
instant, so that one run gives a cut at each of its calls; this is the only way with btrfs, which cannot be shut down.
Both know nothing of what a drive keeps in a cache of its own.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CLONE_NEWNS = 0x20000
_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2
_COPIES = 50
MIB = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Kind:
    """`size` in MiB. The options keep a file system from writing by itself, or from guessing what should be flushed."""

    name: str
    make: tuple[str, ...]
    options: str
    size: int
    package: str
    shuts_down: bool = True

    @property
    def type(self) -> str:
        return self.make[0].partition(".")[2]


KINDS = {
    kind.name: kind
    for kind in (
        Kind("ext4-ordered", ("mkfs.ext4", "-q", "-J", "size=4"), "data=ordered,noauto_da_alloc,commit=300", 64, "e2fsprogs"),
        Kind("ext4-writeback", ("mkfs.ext4", "-q", "-J", "size=4"), "data=writeback,noauto_da_alloc,commit=300", 64, "e2fsprogs"),
        Kind("xfs", ("mkfs.xfs", "-q"), "nouuid", 320, "xfsprogs"),
        Kind("btrfs", ("mkfs.btrfs", "-q"), "commit=300", 128, "btrfs-progs", shuts_down=False),
    )
}  # fmt: skip


@contextmanager
def private_mounts(at: Path) -> Iterator[None]:
    """What this thread and its children mount is theirs, and goes with them, however they end. `at` becomes a tmpfs.

    Raises:
        OSError: this process may not.
    """
    with open("/proc/thread-self/ns/mnt") as outside:
        _call("unshare", _CLONE_NEWNS)
        try:
            _run("mount", "--make-rprivate", "/")
            at.mkdir(parents=True, exist_ok=True)
            _run("mount", "-t", "tmpfs", "-o", "size=4g,mode=700", "disks", str(at))
            yield
        finally:
            _call("setns", outside.fileno(), _CLONE_NEWNS)


def unsupported(kind: Kind, work: Path) -> str | None:
    """Why there can be no such disk here; None if there can."""
    if os.geteuid() != 0:
        return "mounting a file system needs root"
    for program in (kind.make[0], "mount", "losetup"):
        if shutil.which(program) is None:
            return f"no {program} here; on Debian: apt-get install {kind.package} mount"
    try:
        with private_mounts(work), Disk.make(kind, work / "try"):
            return None
    except OSError as error:
        return f"{kind.type} cannot be mounted from an image here: {error}"


class Disk:
    """The file system in the image `at/image`, mounted at `at/mounted` while in use."""

    def __init__(self, kind: Kind, at: Path) -> None:
        self.kind = kind
        self._image, self.root = at / "image", at / "mounted"
        self.root.mkdir(parents=True, exist_ok=True)

    @classmethod
    @contextmanager
    def make(cls, kind: Kind, at: Path) -> Iterator[Disk]:
        disk = cls(kind, at)
        with open(disk._image, "wb") as image:
            image.truncate(kind.size * MIB)
        _run(*kind.make, str(disk._image))
        _run("fallocate", "--dig-holes", str(disk._image))
        with disk.mounted():
            yield disk

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Raises: OSError."""
        self.mount()
        try:
            yield
        finally:
            self.unmount()

    def mount(self) -> None:
        _run(
            "mount",
            "-t",
            self.kind.type,
            "-o",
            f"loop,noatime,{self.kind.options}",
            str(self._image),
            str(self.root),
        )

    def unmount(self) -> None:
        """With what is not flushed, unless it was shut down. Returns when the kernel has let go of the image.

        A decoder outlives a killed executor by an instant, in a mount namespace of its own. Until it is gone the file
        system is still there, and the next mount of the image would be that of the one that was shut down.
        """
        _again(lambda: _run("umount", str(self.root)))
        _again(self._require_free)

    def _require_free(self) -> None:
        if held := _run("losetup", "--associated", str(self._image)):
            raise OSError(f"expected no loop device of {self._image}, found {held}")

    def sync(self) -> None:
        fd = os.open(self.root, os.O_RDONLY)
        try:
            if _libc.syncfs(fd):
                raise OSError(ctypes.get_errno(), "syncfs")
        finally:
            os.close(fd)

    def shut_down(self) -> None:
        """From now on nothing reaches the image, and what was not flushed is lost."""
        fd = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("=I", _NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def image(self, at: Path) -> Disk:
        """A disk, not mounted, with what the device holds at this instant."""
        copied = Disk(self.kind, at)
        for _ in range(_COPIES):
            written = self._written()
            _copy(self._image, copied._image)
            # A copy made while something was written mixes two instants.
            if written == self._written() and written[1] == "0":
                return copied
        raise AssertionError(
            f"expected {self.kind.name} to be quiet for a copy in {_COPIES}, found it never was"
        )

    def remove(self) -> None:
        shutil.rmtree(self.root.parent)

    def _written(self) -> tuple[str, str]:
        """Writes done by the loop device, and requests it has under way."""
        source = next(
            line.split()[0] for line in Path("/proc/thread-self/mounts").read_text().splitlines()
            if line.split()[1] == str(self.root)
        )  # fmt: skip
        fields = Path(f"/sys/block/{source.removeprefix('/dev/')}/stat").read_text().split()
        return fields[4], fields[8]


def _copy(source: Path, target: Path) -> None:
    """What is no hole in `source`; a program that copies takes longer to start than this takes."""
    with open(source, "rb") as old, open(target, "wb") as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        at = 0
        while True:
            try:
                at = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                raise
            end = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            while at < end:
                at += os.pwrite(new.fileno(), os.pread(old.fileno(), min(end - at, MIB), at), at)


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def _again(work: Callable[[], object]) -> None:
    """Until it succeeds, for some seconds."""
    for wait_s in (0.02, 0.1, 0.5, 2.0, 10.0):
        try:
            work()
        except OSError:
            threading.Event().wait(wait_s)
        else:
            return
    work()


def _run(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()
