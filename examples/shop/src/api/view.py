"""What the shop shows of a product and of an order."""

from typing import Any


async def product_view(product: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    return {**product, **entry}


async def order_view(order: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    return {"id": order["id"], "product": order["product"], "name": entry["name"], "status": "accepted"}
