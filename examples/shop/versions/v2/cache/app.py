"""A read-through cache in front of the products of the database. Starts empty."""

import asyncio
import os
import random
import time

from bumpless.service import Client, Request, RequestFailed, Response, Service, Upstream
from shop import VERSION, listen, peers

TTL_S = float(os.environ.get("TTL_S", "10"))
SPREAD = 0.2
"""Part of the time to live by which entries differ, so that they do not all expire at once."""

service = Service("cache", version=VERSION)
lookups = service.counter("cache_lookups_total", "Lookups.", ("outcome",))
database = Upstream.parse(Client(timeout_s=3.0), peers("database"))
entries: dict[str, tuple[float, Response]] = {}
fetching: dict[str, asyncio.Task[Response]] = {}

service.gauge("cache_entries", "Products held.", read=lambda: len(entries))


async def fetch(path: str) -> Response:
    """Asks the database once, however many wait for the same product."""
    try:
        reply = await database.get(path)
    except RequestFailed as error:
        return Response.json({"error": str(error)}, 503)
    answer = Response(reply.status, reply.body, "application/json")
    if reply.status == 200:
        entries[path] = (time.monotonic() + TTL_S * random.uniform(1 - SPREAD, 1), answer)
    return answer


async def handle(request: Request) -> Response:
    path = request.path
    if request.method != "GET" or not path.startswith("/products/"):
        return Response.json({"error": "not found"}, 404)
    held = entries.get(path)
    if held is not None and held[0] > time.monotonic():
        lookups.inc(outcome="hit")
        return held[1]
    lookups.inc(outcome="miss")
    if path not in fetching:
        fetching[path] = asyncio.create_task(fetch(path))
        fetching[path].add_done_callback(lambda _: fetching.pop(path))
    return await asyncio.shield(fetching[path])


service.http(default=listen("cache"), handler=handle)
