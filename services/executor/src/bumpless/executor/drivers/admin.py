"""The private socket of every instance: bound by the executor, served by the instance, HTTP/1.1."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path

import aiohttp

from bumpless.executor.drivers.sockets import bind_unix
from bumpless.executor.ports import Unanswered

ANSWER_S = 5.0
"""A process that does not answer a local request in this time is not well."""
PROGRESS = ("inflight", "streams", "connections", "unacknowledged")
MAX_ANSWER = 8 << 20


class AdminSockets:
    """`run_dir` is for this node alone, mode 0700; one socket per instance, mode 0600."""

    def __init__(self, run_dir: Path) -> None:
        run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._run_dir = run_dir
        self._directory = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def bind(self, instance: str) -> socket.socket:
        """The listening socket that a new instance is given. Raises: OSError."""
        return bind_unix(self._path(instance), 0o600)

    def address(self, instance: str) -> str:
        """The path of its socket."""
        return str(self._path(instance).resolve())

    def remove(self, instance: str) -> None:
        self._path(instance).unlink(missing_ok=True)

    def names(self) -> set[str]:
        """The instances that have a socket here, alive or not."""
        return {path.name.removesuffix(".sock") for path in self._run_dir.glob("*.sock")}

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._directory)

    async def ask(self, instance: str, method: str, path: str, timeout_s: float = ANSWER_S) -> str:
        """The body of a 200. Raises: Unanswered."""
        # Through the directory's descriptor: the path itself may be longer than a socket address can hold.
        connector = aiohttp.UnixConnector(
            path=f"/proc/self/fd/{self._directory}/{instance}.sock", force_close=True
        )
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.request(method, "http://admin" + path) as answer,
            ):
                body = await answer.content.read(MAX_ANSWER)
                if answer.status != 200:
                    raise Unanswered(
                        f"expected 200 from {method} {path}, found {answer.status}: {_short(body)}"
                    )
                return body.decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unanswered(
                f"expected an answer to {method} {path} within {timeout_s:g} s, found {error!r}"
            ) from error

    async def activate(self, instance: str, timeout_s: float) -> str:
        """POST /resume, answered when a standby has taken over its state; what became of that. Raises: Unanswered."""
        body = await self.ask(instance, "POST", "/resume", timeout_s)
        try:
            return str(json.loads(body).get("handover", ""))
        except (ValueError, AttributeError):
            return ""

    async def progress(self, instance: str) -> dict[str, int]:
        """GET /drain: what is left to do. Raises: Unanswered."""
        body = await self.ask(instance, "GET", "/drain")
        try:
            raw = json.loads(body)
            return {name: int(raw.get(name, 0)) for name in PROGRESS}
        except (ValueError, TypeError, AttributeError) as error:
            raise Unanswered(
                f"expected a JSON object of numbers from GET /drain, found {body[:200]!r}"
            ) from error

    def _path(self, instance: str) -> Path:
        return self._run_dir / f"{instance}.sock"


def _short(body: bytes) -> str:
    return body[:200].decode(errors="replace").strip()
