"""Shared sockets stay with their names, on the way to the next executor and in the service manager's store."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bumpless.common.shell.service_manager import ServiceManager
from bumpless.executor.drivers import sockets
from bumpless.executor.drivers.kept import SOCKETS, KeptSockets
from bumpless.executor.drivers.manager import stored_descriptors

KEY = ("web", "tcp://127.0.0.1:0")
ODD = ("web-2", "unix:///run/a b:c%=.sock")


class Store:
    """What a service manager hears."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self) -> list[tuple[str, list[int]]]:
        found = []
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._socket, 4096, 8)
            except BlockingIOError:
                return found
            found.append((data.decode(), [os.fstat(fd).st_ino for fd in fds]))
            for fd in fds:
                os.close(fd)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(str(tmp_path / "notify"))
    yield made
    made.close()


def test_the_next_executor_gets_the_very_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KeptSockets()
    kept[KEY], kept[ODD] = sockets.bind(KEY[1]), sockets.bind("tcp://127.0.0.1:0")
    inodes = {key: sockets.inode_of(sock) for key, sock in kept.items()}
    left = kept.hand_over()
    assert not kept, "what was handed over is no longer closed here"
    monkeypatch.setenv(SOCKETS, left[SOCKETS])
    after = KeptSockets.of_this_process(ServiceManager(None))
    try:
        assert {key: sockets.inode_of(sock) for key, sock in after.items()} == inodes
        assert SOCKETS not in os.environ
        assert not any(os.get_inheritable(sock.fileno()) for sock in after.values())
    finally:
        after.close()


def test_what_is_listened_on_is_stored_and_what_is_let_go_is_not(tmp_path: Path, store: Store) -> None:
    kept = KeptSockets(ServiceManager(str(tmp_path / "notify")))
    sock = sockets.bind(KEY[1])
    inode = sockets.inode_of(sock)
    kept[KEY] = sock
    (said, fds), *more = store.heard()
    assert said.splitlines()[0] == "FDSTORE=1"
    name = said.splitlines()[1].removeprefix("FDNAME=")
    assert (":" in name, name.isprintable(), fds, more) == (False, True, [inode], [])
    kept.pop(KEY).close()
    assert store.heard() == [(f"FDSTOREREMOVE=1\nFDNAME={name}", [])]


def test_closing_leaves_what_is_stored(tmp_path: Path, store: Store) -> None:
    kept = KeptSockets(ServiceManager(str(tmp_path / "notify")))
    kept[KEY] = sockets.bind(KEY[1])
    store.heard()
    kept.close()
    assert store.heard() == []


def test_a_name_that_no_store_takes_is_not_sent(tmp_path: Path, store: Store) -> None:
    kept = KeptSockets(ServiceManager(str(tmp_path / "notify")))
    kept["web", "unix:///" + "x" * 300] = sockets.bind(KEY[1])
    assert store.heard() == []
    kept.close()


def test_descriptors_for_another_process_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert stored_descriptors() == []


def test_without_a_manager_nothing_is_said_and_nothing_fails(tmp_path: Path) -> None:
    for manager in (ServiceManager(None), ServiceManager(str(tmp_path / "nobody"))):
        manager.ready()
        manager.forget("web")
