"""Many switches in a row of a service in systemd units, under load that retries nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from bumpless.common.contract.base import Digest
from bumpless.common.contract.events import StepOutcome
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Driver, Run, Timing
from bumpless.executor.drivers.systemd.switch import UNIT_DIR, SystemdSwitch
from bumpless.executor.drivers.systemd.units import Names
from bumpless.executor.ports import Launch
from bumpless.executor.record import Instance
from integration.test_executor import Load, Site, site  # noqa: F401 - a fixture

pytestmark = pytest.mark.booted
ROOT = Path(__file__).parents[1]
PROBE = ROOT / "drivers" / "probe.py"
LOAD = ROOT / "support" / "fleet_load.py"
SWITCHES = 8
DEADLINE_S = 60.0
TIMING = Timing(lame_duck_s=5, drain_timeout_s=10)
"""The lame duck is over as soon as every kept connection had its last answer; 5 s are for a slow machine."""


class Service:
    """One component under the systemd driver, switched as the executor does it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        for name in ("versions", "state", "log"):
            (home / "components" / "probe" / name).mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.switch = SystemdSwitch("node-a", home / "components")
        self.serving: Instance | None = None

    async def start(self, number: int) -> Instance:
        run = Run(
            driver=Driver.SYSTEMD,
            command=("python3", str(PROBE)),
            listen={"http": f"tcp://127.0.0.1:{self.port}"},
            timing=TIMING,
        )
        digest = Digest("sha256:" + f"{number:064x}")
        target = Target(
            component="probe", version=f"v{number}", root=digest, artifact=digest, artifact_size=1, run=run
        )
        listeners = await self.switch.listen("probe", run)
        instance = Instance(id=f"instance-{number}", target=target, listeners=listeners)
        place = self._home / "components" / "probe"
        launch = Launch("probe", instance, place / "versions", place / "state", place / "log")
        started = await self.switch.start(launch)
        await self.switch.wait_ready(started, DEADLINE_S)
        return started

    async def switch_to(self, number: int) -> None:
        """Start, pause the old one, let it drain, stop it."""
        old, self.serving = self.serving, await self.start(number)
        if old is not None:
            await self.switch.pause(old)
            assert await self.switch.drained(old, TIMING.lame_duck_s, TIMING.drain_timeout_s) == ()
            await self.switch.stop(old, TIMING.drain_timeout_s)
            assert "status 0" in (await self.switch.exited(old)).reason

    async def close(self) -> None:
        await self.switch.reap(())
        await self.switch.keep_only("probe", ())
        self.switch.close()


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    made = Service(tmp_path)
    yield made
    await made.close()


async def _long_requests(port: int, failures: list[str], served: set[str]) -> None:
    """Answers that take 0.3 s, on fresh connections: one is always under way."""
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/slow") as reply:
                    served.add((await reply.json())["version"])
            except (aiohttp.ClientError, TimeoutError) as error:
                failures.append(repr(error))
                await asyncio.sleep(0.1)


async def test_eight_switches_in_a_row_fail_no_request(service: Service) -> None:
    failures: list[str] = []
    served: set[str] = set()
    async with asyncio.timeout(150):
        await service.switch_to(0)
        load = await asyncio.create_subprocess_exec(
            *(sys.executable, str(LOAD), f"127.0.0.1:{service.port}", "--rate", "75"),
            stdout=asyncio.subprocess.PIPE,
        )
        long = [asyncio.create_task(_long_requests(service.port, failures, served)) for _ in range(3)]
        try:
            assert load.stdout is not None
            assert await load.stdout.readline() == b"running\n"
            for number in range(1, SWITCHES + 1):
                await service.switch_to(number)
            load.send_signal(signal.SIGTERM)
            seen = json.loads(await load.stdout.read())
            await load.wait()
        finally:
            for task in long:
                task.cancel()
            await asyncio.gather(*long, return_exceptions=True)
            if load.returncode is None:
                load.kill()
                await load.wait()
    assert (seen["failed"], seen["failures"], failures) == (0, [], [])
    assert seen["total"] > 100
    assert len(served) > SWITCHES // 2


def _in_units(target: Target) -> Target:
    run = target.run.model_copy(update={"driver": Driver.SYSTEMD, "service": {"LimitNOFILE": "4321"}})
    return target.model_copy(update={"run": run})


async def test_an_executor_killed_amid_a_switch_costs_no_request_and_the_next_one_ends_it(
    site: Site,  # noqa: F811
) -> None:
    v1, v2 = _in_units(await site.publish("v1")), _in_units(await site.publish("v2", "v1"))
    site.start()
    first = await site.apply((1, 1), v1)
    assert (first.outcome, first.version) == (StepOutcome.DONE, "v1"), first.reason
    async with Load(site.port) as load:
        await load.until("v1")
        command = site.command((2, 1), v2, v1)
        await site.send(command)
        await load.until("v2")
        await site.stop(signal.SIGKILL)
        await load.until("v2")
        site.start()
        second = await site.answer(command)
        assert (second.outcome, second.version) == (StepOutcome.DONE, "v2"), second.reason
        start = len(load.versions)
        await load.until("v2")
        assert "v1" not in load.versions[start:]
    assert load.failures == []
    await site.stop()
    assert _units(site.home / "node") == [], "a unit outlived an executor that stops its services"


def _units(data_dir: Path) -> list[str]:
    prefix = Names("node-a", (data_dir / "components").resolve()).prefix
    return sorted(path.name for path in UNIT_DIR.glob(f"{prefix}*"))
