"""The interface of the shop: products to look at and orders to place.

Everything may be repeated: an order carries the id its client chose.
"""

import json

from view import order_view, product_view

from bumpless.service import Client, HttpError, Reply, Request, RequestFailed, Response, Service, Upstream
from shop import TREE, VERSION, listen, peers

service = Service("api", version=VERSION)
orders = service.counter("orders_total", "Orders accepted.")
client = Client(timeout_s=3.0)
cache = Upstream.parse(client, peers("cache"))
database = Upstream.parse(client, peers("database"))
catalogue = json.loads((TREE / "catalogue.json").read_text()) if (TREE / "catalogue.json").exists() else {}


async def product(number: str) -> Reply:
    """From the cache, or without it."""
    try:
        reply = await cache.get(f"/products/{number}")
        if reply.status < 500:
            return reply
    except RequestFailed:
        pass
    return await database.get(f"/products/{number}")


def entry(number: str) -> dict[str, str]:
    return catalogue.get(number) or {"name": f"Product {number}", "category": "other"}


async def store(path: str, value: object) -> None:
    reply = await database.post(path, value)
    if reply.status != 200:
        raise HttpError(503, f"the database answered {reply.status}")


async def handle(request: Request) -> Response:
    try:
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["products", number] if number.isdigit():
                reply = await product(number)
                if reply.status != 200:
                    return Response(reply.status, reply.body, "application/json")
                return Response.json(await product_view(reply.json(), entry(number)))
            case "POST", ["orders"]:
                order = request.json()
                if not isinstance(order, dict) or not order.keys() >= {"id", "product", "quantity"}:
                    raise HttpError(400, "expected an order with id, product and quantity")
                await store("/orders", order)
                await store("/jobs", {"id": f"receipt-{order['id']}", "body": order})
                orders.inc()
                return Response.json(await order_view(order, entry(str(order["product"]))), 201)
    except RequestFailed as error:
        return Response.json({"error": str(error)}, 503)
    return Response.json({"error": "not found"}, 404)


service.http(default=listen("api"), handler=handle)
