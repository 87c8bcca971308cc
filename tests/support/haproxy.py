"""A real HAProxy for tests, with a backend whose servers are out until somebody says that they are ready."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pytest

from bumpless.cli.embedded import free_port

START_S = 30.0
CONFIG = """
global
  maxconn 500
  stats socket {socket} mode 600 level admin
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout queue 60s
  retries 3
  option redispatch
frontend clients
  bind 127.0.0.1:{port}
  default_backend web
backend web
{servers}
"""


class Haproxy:
    """`servers` are names to ports of 127.0.0.1, or to addresses. Its frontend is at `port`, its runtime API at `socket`."""

    def __init__(self, servers: Mapping[str, int | str]) -> None:
        self.program = shutil.which("haproxy", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
        if self.program is None:
            pytest.skip("needs haproxy: apt-get install haproxy")
        self.servers = servers
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="ha"))
        self.socket = self._directory / "s"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        places = {n: f"127.0.0.1:{p}" if isinstance(p, int) else p for n, p in self.servers.items()}
        rows = "\n".join(f"  server {name} {place} disabled" for name, place in places.items())
        config = self._directory / "haproxy.cfg"
        config.write_text(CONFIG.format(socket=self.socket, port=self.port, servers=rows))
        log = self._directory / "log.txt"
        with open(log, "wb") as file:
            self._process = subprocess.Popen(
                [str(self.program), "-db", "-f", config], stdout=file, stderr=file, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self.socket.exists()
        except OSError:
            return False
