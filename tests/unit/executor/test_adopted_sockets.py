"""A listening socket taken out of the process that serves it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bumpless.executor.drivers import sockets


@pytest.fixture
def gone() -> Iterator[int]:
    """A pidfd of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        pidfd = os.pidfd_open(process.pid)
    yield pidfd
    os.close(pidfd)


def test_it_is_found_by_its_inode() -> None:
    pidfd = os.pidfd_open(os.getpid())
    with sockets.bind("tcp://127.0.0.1:0") as served:
        found = sockets.adopt(os.getpid(), pidfd, sockets.inode_of(served))
        assert found is not None
        with found:
            assert found.getsockname() == served.getsockname()
            assert found.fileno() != served.fileno()
    os.close(pidfd)


def test_a_process_that_ends_while_it_is_looked_at_holds_nothing(gone: int) -> None:
    """Its descriptors are still listed, as those of this process are here, and none can be taken."""
    with sockets.bind("tcp://127.0.0.1:0") as served:
        assert sockets.adopt(os.getpid(), gone, sockets.inode_of(served)) is None
