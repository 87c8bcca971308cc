"""The work itself: a receipt for an order, which takes 5 to 20 ms."""

import asyncio
import hashlib


async def process(job: str, body: str) -> str:
    digest = hashlib.blake2b(f"{job}\n{body}".encode(), digest_size=20).hexdigest()
    await asyncio.sleep(
        0.005 + int(digest[:4], 16) / 0xFFFF * 0.015
    )  # the slow part, without heating the host
    return digest
