"""The database of the shop, over HTTP: products, orders and a queue of jobs with leases."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from store import Store

from bumpless.service import HttpError, Request, Response, Service
from shop import VERSION, listen

T = TypeVar("T")

LONGEST_WAIT_S = 1.0
LOOK_AGAIN_S = 0.1
"""The process of the other version may have taken the job in: nobody tells us, so we look."""

service = Service("database", version=VERSION)
thread = ThreadPoolExecutor(1, "store")
opened: list[Store] = []
waiting: deque[asyncio.Future[None]] = deque()


async def run(call: Callable[[Store], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(thread, lambda: call(opened[0]))


@service.on_ready
async def open_store() -> None:
    path = service.contract.state_dir / "shop.sqlite"
    opened.append(await asyncio.get_running_loop().run_in_executor(thread, Store, path))


@service.health
async def store_answers() -> None:
    await run(lambda store: store.ping())


async def lease(token: str, wait_s: float) -> Response:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(wait_s, LONGEST_WAIT_S)
    while (job := await run(lambda store: store.lease(token))) is None:
        left = deadline - loop.time()
        if left <= 0 or service.state == "draining":
            return Response(204)
        woken = loop.create_future()
        waiting.append(woken)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(woken, min(left, LOOK_AGAIN_S))
    return Response.json(job)


def wake_one() -> None:
    while waiting:
        woken = waiting.popleft()
        if not woken.done():
            woken.set_result(None)
            return


async def handle(request: Request) -> Response:
    match request.method, request.path.strip("/").split("/"):
        case "GET", ["products", number] if number.isdigit():
            product = await run(lambda store: store.product(int(number)))
            return Response.json(product) if product else Response.json({"error": "no such product"}, 404)
        case "POST", ["orders"]:
            order = request.json()
            return Response.json({"created": await run(lambda store: store.put_order(order))})
        case "POST", ["jobs"]:
            job = request.json()
            created = await run(lambda store: store.enqueue(job["id"], json.dumps(job["body"])))
            wake_one()
            return Response.json({"created": created})
        case "POST", ["jobs", "lease"]:
            asked = request.json()
            return await lease(asked["token"], float(asked.get("wait_s", LONGEST_WAIT_S)))
        case "POST", ["jobs", "ack"]:
            held = request.json()
            if not await run(lambda store: store.acknowledge(held["id"], held["token"])):
                raise HttpError(404, "no such job")
            return Response(204)
        case "POST", ["jobs", "requeue"]:
            held = request.json()
            requeued = await run(lambda store: store.requeue(held["id"], held["token"]))
            wake_one()
            return Response.json({"requeued": requeued})
        case "POST", ["jobs", "completions"]:
            ids = request.json()["ids"]
            return Response.json(await run(lambda store: store.completions(ids)))
        case "GET", ["jobs", "length"]:
            return Response.json({"pending": await run(lambda store: store.length())})
        case "GET", ["stats"]:
            return Response.json(await run(lambda store: store.stats()))
    return Response.json({"error": "not found"}, 404)


service.http(default=listen("database"), handler=handle)
