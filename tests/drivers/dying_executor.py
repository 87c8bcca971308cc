"""Starts one instance under systemd and kills itself before the n-th thing that it does to the machine.

    python tests/drivers/dying_executor.py N HOME TARGET_JSON

With N beyond the last one it starts the instance, and leaves it without a word.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from bumpless.common.model.plan import Target
from bumpless.executor.drivers.systemd.manager import Manager
from bumpless.executor.drivers.systemd.switch import UNIT_DIR, SystemdSwitch
from bumpless.executor.ports import Launch
from bumpless.executor.record import Instance


class DyingManager(Manager):
    """systemd itself, and an executor that does not live to do the next thing."""

    def __init__(self, left: int) -> None:
        super().__init__(UNIT_DIR)
        self._left = left

    def _count(self) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    def write(self, unit: str, text: str) -> bool:
        self._count()
        return super().write(unit, text)

    async def call(self, *arguments: str) -> None:
        self._count()
        await super().call(*arguments)

    async def start_new(self, *units: str) -> None:
        self._count()
        await super().start_new(*units)

    async def show(self, unit: str) -> dict[str, str]:
        self._count()
        return await super().show(unit)

    async def require_understood(self, unit: str) -> None:
        self._count()
        await super().require_understood(unit)


async def main() -> None:
    at, home, target = int(sys.argv[1]), Path(sys.argv[2]), Target.model_validate_json(sys.argv[3])
    switch = SystemdSwitch("node-a", home / "components")
    switch._systemd = DyingManager(at)
    listeners = await switch.listen("probe", target.run)
    place = home / "components" / "probe"
    instance = Instance(id="v1-planned", target=target, listeners=listeners)
    await switch.start(Launch("probe", instance, place / "versions", place / "state", place / "log"))


asyncio.run(main())
