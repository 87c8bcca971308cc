"""What the shop shows of a product and of an order, now with the time of delivery.

This is the bad release: the table of carriers was made without three of the ten categories, and the rates
are asked for anew for every answer.
"""

import asyncio
from typing import Any

from shop import VERSION

DAYS = {"books": 2, "garden": 4, "kitchen": 3, "music": 2, "office": 2, "sports": 3, "toys": 3}


async def delivery(entry: dict[str, Any]) -> int:
    await asyncio.sleep(0.15)  # the rates service
    return DAYS[entry["category"]]


async def product_view(product: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    days = await delivery(entry)
    return {**product, **entry, "available": product["stock"] > 0, "delivery_days": days, "version": VERSION}


async def order_view(order: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": order["id"],
        "product": order["product"],
        "name": entry["name"],
        "status": "accepted",
        "delivery_days": await delivery(entry),
        "version": VERSION,
    }
