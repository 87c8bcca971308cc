"""What the disk tests share: one site, one process to fork nodes from, every operation prepared once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from disk.bench import Bench
from disk.site import Site
from support import syscalls
from support.nursery import Nursery
from support.power import KINDS, private_mounts, unsupported

ROOM = 1 << 30


@contextmanager
def _quick(work: Path) -> Iterator[Path]:
    """A directory in memory where there is one: a kill loses nothing that was written, so nothing need be on a disk."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < ROOM:
        yield work
        return
    with TemporaryDirectory(dir=memory, prefix="bumpless-disk-", ignore_cleanup_errors=True) as found:
        yield Path(found)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    if why := syscalls.unsupported():
        pytest.skip(why)
    with _quick(tmp_path_factory.mktemp("disk")) as work, Nursery("disk.node") as nursery:
        yield Bench(nursery, Site.make(work / "site"), work)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    work: Path = tmp_path_factory.mktemp("power")
    for why in (syscalls.unsupported(), *(unsupported(kind, work / "try") for kind in KINDS.values())):
        if why:
            pytest.skip(why)
    with private_mounts(work):
        yield work


@pytest.fixture(scope="module")
def powered(place: Path) -> Iterator[Bench]:
    """Its nodes see the disks; its own files are in memory."""
    with Nursery("disk.node") as nursery:
        yield Bench(nursery, Site.make(place / "site"), place)
