"""A lab per module, with the first version installed on every node."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.fleet_lab import Lab
from support.fleet_product import write_release
from support.fleet_watch import ended, publish

NODES = 3


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three nodes that run `core` v1 and `front` f1."""
    with Lab(NODES) as lab:
        asyncio.run(install(lab))
        yield lab


async def install(lab: Lab) -> None:
    version = lab.fresh()
    async with lab.client() as found:
        path = write_release(lab.home.path, version, core=version, gate=None)
        await ended(found, await publish(lab, found, path), "succeeded")


@pytest.fixture(autouse=True)
def whole(lab: Lab) -> None:
    """Every test begins with everything running, whatever the one before left."""
    lab.heal()


@pytest.fixture
def folder(lab: Lab) -> Path:
    """Where release files and trees are written."""
    return lab.home.path
