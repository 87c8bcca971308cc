"""A service that cannot run twice: it counts in memory. What it does waits where a test wants it to.

In the folder GATES a file `hold-POINT` makes the process that comes to POINT write `at-POINT` and wait until the
first file is gone. `ill-VERSION` makes that version unhealthy. `work` has a line for every process that begins to
work and for every one that ends to.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from bumpless.service import Handover, Request, Response, Service

GATES = Path(os.environ["GATES"])
service = Service("counter")
counted = 0


async def gate(point: str) -> None:
    hold = GATES / f"hold-{point}"
    if hold.exists():
        (GATES / f"at-{point}").write_text(service.contract.instance)
        await asyncio.to_thread(wait_until_gone, hold)


def wait_until_gone(path: Path) -> None:
    while path.exists():
        time.sleep(0.005)  # noqa: TID251


def note(what: str) -> None:
    with open(GATES / "work", "a") as file:
        file.write(f"{what} {service.contract.instance}\n")


@service.on_ready
async def warm_up() -> None:
    await gate(f"ready-{service.version}")


@service.on_restore
async def restore(left: Handover) -> None:
    global counted
    await gate(f"restore-{service.version}")
    if (GATES / f"refuse-{service.version}").exists():
        raise ValueError("this version does not know that state")
    counted = int(left.state)


async def work() -> None:
    note("begins")
    try:
        await asyncio.Event().wait()
    finally:
        note("ends")


@service.on_handover
async def save() -> bytes:
    await gate(f"leave-{service.version}")
    return str(counted).encode()


@service.health
async def healthy() -> None:
    if (GATES / f"ill-{service.version}").exists():
        raise RuntimeError("ill, as the test wants it")


async def answer(request: Request) -> Response:
    global counted
    if request.path == "/slow":
        await gate("slow")
        return Response.json({})
    counted += 1
    return Response.json({"count": counted, "version": service.version})


service.background(work)
service.http(handler=answer)
service.run()
