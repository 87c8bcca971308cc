"""A Starlette application under the service contract: answers, waits, streams, and keeps a count.

By hand: `python app.py`, then `curl http://127.0.0.1:8080/`.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from bumpless.asgi import serve_asgi
from bumpless.service import Handover, Service

service = Service("asgi-sample")
broken = False
count = 0


async def index(_: Request) -> JSONResponse:
    return JSONResponse({"version": service.version, "instance": service.contract.instance})


async def slow(request: Request) -> JSONResponse:
    await asyncio.sleep(int(request.query_params.get("ms", "300")) / 1000)
    return await index(request)


async def counted(request: Request) -> JSONResponse:
    global count
    count += request.method == "POST"
    return JSONResponse({"version": service.version, "count": count})


async def break_down(_: Request) -> JSONResponse:
    global broken
    broken = True
    return JSONResponse({})


async def events(_: Request) -> StreamingResponse:
    async def ticks() -> AsyncIterator[str]:
        while True:
            yield f"data: {service.version}\n\n"
            await asyncio.sleep(0.1)

    return StreamingResponse(ticks(), media_type="text/event-stream")


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


app = Starlette(
    routes=[
        Route("/", index),
        Route("/slow", slow),
        Route("/count", counted, methods=["GET", "POST"]),
        Route("/break", break_down, methods=["POST"]),
        Route("/events", events),
        WebSocketRoute("/ws", echo),
    ]
)


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


tls = {
    k: v
    for k, v in {
        "ssl_certfile": os.environ.get("SAMPLE_CERT"),
        "ssl_keyfile": os.environ.get("SAMPLE_KEY"),
    }.items()
    if v
}
serve_asgi(service, app, **tls)
service.run()
