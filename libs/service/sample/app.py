"""The helper alone under the service contract: answers, waits, streams, datagrams, and a count that is handed over.

By hand: `python app.py`, then `curl http://127.0.0.1:8080/`.
"""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bumpless.service import Handover, HttpError, Request, Response, Service, WebSocket, websocket

service = Service("helper-sample")
broken = False
count = 0


async def answer(request: Request) -> Response:
    global broken, count
    match request.path:
        case "/":
            return Response.json({"version": service.version, "instance": service.contract.instance})
        case "/slow":
            await asyncio.sleep(int(request.query.get("ms", "300")) / 1000)
            return Response.json({"version": service.version})
        case "/count":
            count += request.method == "POST"
            return Response.json({"version": service.version, "count": count})
        case "/break":
            broken = True
            return Response.json({})
        case "/events":
            return Response(body=ticks(), content_type="text/event-stream")
        case "/ws":
            return websocket(request, echo)
    raise HttpError(404, "not found")


async def ticks() -> AsyncIterator[bytes]:
    while True:
        yield f"data: {service.version}\n\n".encode()
        await asyncio.sleep(0.1)


async def echo(socket: WebSocket) -> None:
    while (message := await socket.receive()) is not None:
        await socket.send(message)


async def echo_datagram(data: bytes, _: Any) -> bytes:
    return service.version.encode() + b" " + data


@service.on_ready
async def warm_up() -> None:
    if gate := os.environ.get("SAMPLE_GATE"):  # a named pipe: whoever opens it lets us go on
        await asyncio.to_thread(Path(gate).read_bytes)


@service.health
async def check() -> None:
    if broken:
        raise RuntimeError("out of order")


@service.on_handover
async def save() -> bytes:
    return json.dumps({"count": count}).encode()


@service.on_restore
async def load(left: Handover) -> None:
    global count
    count = json.loads(left.state)["count"]


tls = None
if cert := os.environ.get("SAMPLE_CERT"):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, os.environ["SAMPLE_KEY"])
service.http(handler=answer, tls=tls)
if os.environ.get("SAMPLE_UDP"):
    service.datagrams("echo", "udp:127.0.0.1:8081", echo_datagram)
service.run()
