"""A provider of files in a process of its own, for contracts: `good`, or `renamed`, whose `size` is called otherwise.

Prints its port. A file exists once a state change asked for it. POST /messages answers a message.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    field = "size"
    token = ""
    files: set[int] = set()

    def do_GET(self) -> None:
        number = int(self.path.rsplit("/", 1)[-1])
        if self.token and self.headers.get("Authorization") != self.token:
            self._answer(401, {})
        elif number in self.files:
            self._answer(200, {"id": number, self.field: 7, "owner": {"user": "bob"}, "more": True})
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if self.path == "/messages":
            self._answer(200, {"file": 1})
            return
        if asked.get("state") == "file 1 exists":
            self.files.add(asked["params"]["id"])
        self._answer(200, {})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def provider(kind: str, token: str = "") -> Iterator[str]:
    """Its URL, while it runs."""
    process = subprocess.Popen([sys.executable, __file__, kind, token], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    Handler.field = "size" if sys.argv[1] == "good" else "file_size"
    Handler.token = sys.argv[2]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
