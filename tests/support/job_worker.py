"""A worker over a folder of jobs that many share. JOBS has `new`, `taken` and `done`; a job is a file that is moved.

Whoever takes a job moves it first, so that nobody else does it; `done` gets a line for every time it was done.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from bumpless.service import Consumer, Request, Response, Service

JOBS = Path(os.environ["JOBS"])
service = Service("worker")


async def lease() -> Path | None:
    for job in sorted((JOBS / "new").iterdir()):
        mine = JOBS / "taken" / job.name
        try:
            os.rename(job, mine)
        except FileNotFoundError:  # somebody else has it
            continue
        return mine
    await asyncio.sleep(0.01)
    return None


def note(job: Path) -> None:
    with open(JOBS / "done" / job.name, "a") as file:
        file.write(f"{service.contract.instance}\n")
    job.unlink()


async def consume(consumer: Consumer) -> None:
    async for job in consumer.jobs(lease):
        await asyncio.sleep(0.05)
        note(job)


async def answer(request: Request) -> Response:
    return Response.json({"version": service.version})


service.consumer(consume, count=2)
service.run()
