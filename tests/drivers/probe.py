"""The service that the driver tests run: answers with its version, and misbehaves as PROBE_MODE says."""

from __future__ import annotations

import asyncio
import os

from bumpless.service import Consumer, Handover, Request, Response, Service

MODE = os.environ.get("PROBE_MODE", "")
service = Service("probe")


async def answer(request: Request) -> Response:
    if request.path == "/slow":
        await asyncio.sleep(0.3)
    if request.path == "/die":
        os._exit(7)
    return Response.json(
        {"version": service.version, "instance": service.contract.instance, "worked": worked}
    )


async def hold_a_job(consumer: Consumer) -> None:
    await consumer.wait_taking()
    with consumer.holding():
        await asyncio.Event().wait()


async def die_soon() -> None:
    await asyncio.sleep(0.5)
    print("the probe gives up on purpose", flush=True)
    os._exit(3)


worked = [service.version]


@service.on_handover
async def save() -> bytes:
    return " ".join(worked).encode()


@service.on_restore
async def restore(left: Handover) -> None:
    if MODE == "refuses-state":
        raise ValueError("no such state")
    worked[:0] = left.state.decode().split()


@service.on_ready
async def get_ready() -> None:
    if MODE == "never-ready":
        await asyncio.Event().wait()
    if MODE == "dies-early":
        print("no database, no service", flush=True)
        os._exit(9)


if MODE == "dies-after-ready":
    service.background(die_soon)
if MODE == "will-not-drain":
    service.consumer(hold_a_job)
if os.environ.get("PROBE_HTTP", "1") == "1":
    service.http(handler=answer)
service.run()
