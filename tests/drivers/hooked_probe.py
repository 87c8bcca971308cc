"""The probe of the hooks driver: a program that knows nothing of Bumpless and misbehaves as PROBE_MODE says.

`hooked_probe_ask.py` steers it over a control socket of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket

from hooked_probe_ask import CONTROL

MODE = os.environ.get("PROBE_MODE", "")
VERSION = os.environ.get("BUMPLESS_VERSION", "")


class Program:
    def __init__(self) -> None:
        self.paused = False
        self.ended = asyncio.Event()
        taken = os.environ.get("LISTEN_PID") == str(os.getpid())
        self.sockets = [socket.socket(fileno=3 + n) for n in range(int(os.environ.get("LISTEN_FDS", "0")))]
        assert taken or not self.sockets, "the sockets are meant for another process"

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.ended.set)
        if MODE == "dies-early":
            print("no database, no service", flush=True)
            os._exit(9)
        for sock in self.sockets:
            sock.setblocking(False)
        self.accept(True)
        control = await asyncio.start_unix_server(self.steer, CONTROL)
        async with control:
            await self.ended.wait()
        self.accept(False)  # what was accepted is answered before asyncio lets go of its threads
        if MODE == "will-not-drain":
            await asyncio.Event().wait()

    def accept(self, wanted: bool) -> None:
        loop = asyncio.get_running_loop()
        for sock in self.sockets:
            if wanted:
                loop.add_reader(sock.fileno(), self.accept_one, sock)
            else:
                loop.remove_reader(sock.fileno())

    def accept_one(self, sock: socket.socket) -> None:
        try:
            connection, _ = sock.accept()
        except BlockingIOError:
            return
        connection.setblocking(True)
        asyncio.get_running_loop().run_in_executor(None, answer, connection)

    async def steer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        what = (await reader.readline()).decode().strip()
        if what in ("drain", "resume"):
            self.paused = what == "drain"
            self.accept(not self.paused)
        said = {
            "ready": "no" if MODE == "never-ready" else "ok",
            "left": "1 messages unacknowledged" if MODE == "will-not-drain" else "",
            "metrics": f'release_info{{version="{VERSION}"}} 1',
        }.get(what, "ok")
        writer.write(said.encode())
        writer.write_eof()
        if what == "check" and MODE == "dies-after-ready":
            await reader.read()  # until the one who asks is gone
            asyncio.get_running_loop().call_later(0.5, os._exit, 3)


def answer(connection: socket.socket) -> None:
    with connection:
        connection.recv(4096)
        body = json.dumps({"version": VERSION}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)


if __name__ == "__main__":
    asyncio.run(Program().run())
