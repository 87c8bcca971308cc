"""The servers of `servers.py` in containers: the same tests, and what is in the images. Chosen by TEST_SERVERS=containers.

Images are named by NATS_IMAGE and REDIS_IMAGE, as in compose.yaml.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any, Self

from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from bumpless.cli.embedded import free_port

START_S = 30.0
# What it would start to clean up is an image of its own; a test that ends removes its containers itself.
testcontainers_config.ryuk_disabled = True


def nats_image() -> str:
    return os.environ.get("NATS_IMAGE", "bumpless-nats:local")


def redis_image() -> str:
    return os.environ.get("REDIS_IMAGE", "bumpless-redis:local")


class _Server:
    """One container on one port of this machine's loopback. `stop` kills it, `start` brings it back with its files."""

    def __init__(
        self, container: DockerContainer, inside: int, first_words: bytes, asks: bytes = b""
    ) -> None:
        self._first_words, self._asks = first_words, asks
        self._port = free_port()
        self._made = container
        container.ports[f"{inside}/tcp"] = (
            "127.0.0.1",
            self._port,
        )  # of loopback, for which it has no method
        self._container: Any = None  # Docker's own object, which is not typed

    def start(self) -> None:
        if self._container is None:
            self._made.start()
            self._container = self._made.get_wrapped_container()
        else:
            self._container.start()
        deadline = time.monotonic() + START_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError(str(self._container.logs()))

    def stop(self) -> None:
        self._container.kill()
        self._container.wait()

    def remove(self) -> None:
        if self._container is not None:
            self._made.stop(force=True)

    @property
    def pid(self) -> int:
        self._container.reload()
        return int(self._container.attrs["State"]["Pid"])

    def signal(self, number: signal.Signals) -> None:
        self._container.kill(signal=number.name)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1) as found:
            found.sendall(self._asks)
            return found.recv(len(self._first_words)) == self._first_words
        return False


class NatsServer(_Server):
    def __init__(self, directory: Path, *, include: Path | None = None) -> None:
        self._directory = directory
        self._include = include
        # The files of a test belong to whoever runs it.
        container = DockerContainer(nats_image()).with_kwargs(user="0:0")
        container = container.with_volume_mapping(str(directory), "/test", "ro")
        if include is not None:
            container = container.with_volume_mapping(str(include.parent), "/access", "ro")
        super().__init__(container.with_command(["nats-server", "-c", "/test/nats.conf"]), 4222, b"INFO")
        self.url = f"nats://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True)
        more = "" if self._include is None else f'include "../access/{self._include.name}"\n'
        (self._directory / "nats.conf").write_text(
            f'jetstream {{ store_dir: "/data", sync_interval: always }}\n{more}'
        )
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class RedisServer(_Server):
    def __init__(self) -> None:
        super().__init__(DockerContainer(redis_image()), 6379, b"+PONG", b"PING\r\n")
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()
