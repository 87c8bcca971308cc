"""What the disk tests share: one site, one process to fork nodes from, every operation prepared once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from disk.bench import Bench
from disk.site import Site
from support import syscalls
from support.nursery import Nursery


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    if why := syscalls.unsupported():
        pytest.skip(why)
    work: Path = tmp_path_factory.mktemp("disk")
    with Nursery("disk.node") as nursery:
        yield Bench(nursery, Site.make(work / "site"), work)
