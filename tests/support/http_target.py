"""A real HTTP server that writes down what is posted to it, and answers as the test says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Self

from support.local_http import LocalHttp, Quiet


@dataclass(frozen=True)
class Posted:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class HttpTarget:
    """Enter it, and it listens on `url`. `answers` are given one after the other, then 200 for ever."""

    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    posted: list[Posted] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> Self:
        target = self

        class Handler(Quiet):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # noqa: N802 - the name that the server calls
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                target.posted.append(Posted(self.path, dict(self.headers.items()), body))
                status, headers = target.answers.pop(0) if target.answers else (200, {})
                self.answer(status, b"ok\n", "text/plain", **headers)

        self._server = LocalHttp(Handler)
        self._server.__enter__()
        self.url = self._server.url
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()

    def at(self, path: str) -> list[Any]:
        """The bodies that were posted there."""
        return [posted.json for posted in self.posted if posted.path == path]
