"""A real HTTP server that writes down what is posted to it, and answers as the test says."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


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

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                target.posted.append(Posted(self.path, dict(self.headers.items()), body))
                status, headers = target.answers.pop(0) if target.answers else (200, {})
                self.send_response(status)
                for name, value in {**headers, "Content-Length": "3"}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"ok\n")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def at(self, path: str) -> list[Any]:
        """The bodies that were posted there."""
        return [posted.json for posted in self.posted if posted.path == path]
