"""Commands that need a fleet, one after the other as the one table has them: exit codes, and the JSON they print."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bumpless.cli.client import Client
from bumpless.common.contract import events as e
from bumpless.common.contract.base import RolloutId
from bumpless.common.shell import clock
from bumpless.common.shell.reading import readable
from support.alerting import say_to
from support.command_check import Ended, faults, in_process, words_of
from support.command_table import FLEET, Run
from support.fleet_lab import Lab
from support.fleet_product import PATIENT_GATE, write_release
from support.fleet_watch import until_batch
from support.http_target import HttpTarget
from support.waiting import eventually

pytestmark = pytest.mark.timeout(600)
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(3, drills=True) as found:
        yield found


class Person:
    """Gives the commands of the table to a fleet; `fill` is what the words in braces stand for at the time."""

    def __init__(self, lab: Lab, fill: dict[str, str]) -> None:
        self._lab, self.fill = lab, fill
        self._where = ("--home", str(lab.home.path), "--nats", lab.nats_url)

    async def give(self, name: str, run: Run) -> list[str]:
        """What is wrong with it."""
        if run.first:
            await self._arrange(*run.first.split())
        await self._look()
        if name == "agent run":
            return faults(name, run, await self._agent())
        under_way = None
        if run.meanwhile:
            under_way = asyncio.create_task(self._when_it_goes_on(run.meanwhile))
        done = await asyncio.to_thread(in_process, *self._where, *words_of(name, run, self.fill))
        found = faults(name, run, done)
        if under_way is not None:
            found += await under_way
        if run.keep:
            self.fill[run.keep] = "none" if found else str(json.loads(done.out)[run.keep])
        return found

    async def _look(self) -> None:
        """The latest rollout's plan, and the latest revert."""
        async with self._lab.client() as client:
            for rollout in await client.rollouts():
                if rollout.of is not None:
                    self.fill["revert"] = rollout.rollout
                else:
                    (planned,) = readable(await client.history(rollout.rollout), e.RolloutPlanned)[:1]
                    self.fill["hash"] = planned.plan_hash

    async def _arrange(self, what: str, *names: str) -> None:
        async with self._lab.client() as client:
            match what:
                case "baking":
                    await until_batch(client, RolloutId(await client.find(None)), "core-1", "baking")
                case "planned":
                    await self._planned(client)
                case "kill":
                    self._lab.kill(*names)
                case "end":
                    self._lab.end(*names)
                case "heal":
                    self._lab.heal()
                case "alert":
                    await say_to(self._lab, "firing", {"alertname": "DiskFull", "node": "node-1"})
                case _:
                    raise AssertionError(what)

    async def _planned(self, client: Client) -> None:
        """What was announced again has a rollout that waits for its approval."""

        async def latest() -> str:
            return (await client.rollouts())[-1].status

        await eventually(latest, lambda status: status == "planned", "it to be planned again", LIMIT_S)

    async def _when_it_goes_on(self, words: str) -> list[str]:
        """Give another command, once there is another revert."""
        known = self.fill["revert"]

        async def another() -> bool:
            await self._look()
            return self.fill["revert"] != known

        try:
            await eventually(another, bool, "another revert", LIMIT_S)
        except AssertionError as error:
            return [str(error)]
        done = await self._lab.cli(*words_of(words, Run(""), self.fill))
        return [] if done.code == 0 else [done.out + done.err]

    async def _agent(self) -> Ended:
        """The executor of node-3 in the foreground, until it has said something and is ended."""
        began = clock.now()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bumpless.cli.app", "agent", "run"),
            env={**os.environ, **self._lab.part("node-3").env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:

            async def said() -> bool:
                async with self._lab.client() as client:
                    return any(
                        n.name == "node-3" and n.observed_at > began for n in (await client.fleet()).nodes
                    )

            await eventually(said, bool, "node-3 to say something", LIMIT_S)
            process.send_signal(signal.SIGTERM)
            code = await asyncio.wait_for(process.wait(), LIMIT_S)
        finally:
            if process.returncode is None:
                process.kill()
        return Ended(code, "", "")


def releases(folder: Path, lab: Lab) -> dict[str, str]:
    """Release files by the names that the table has for them. Each brings a version of its own."""

    def one(name: str, **more: object) -> str:
        version = lab.fresh()
        settings = {"gate": None, **more}
        return str(write_release(folder / name, version, core=version, **settings))  # type: ignore[arg-type]

    return {
        "first": lab.fresh(),
        "good": one("good"),
        "waits": one("waits", gate=PATIENT_GATE),
        "asks": one("asks", approval=True),
        "asked": one("asked", approval=True),
        "asks2": one("asks2", approval=True),
        "late": one("late", approval=True, limits={"approval_timeout_s": 0.5}),
        "drilled": one("drilled"),
    }


async def test_every_command(lab: Lab, folder: Path) -> None:
    fill = releases(folder, lab)
    fill |= {"home": str(lab.home.path), "digest": "sha256:" + "0" * 64, "none": "f" * 8}
    path = write_release(folder / "first", fill["first"], core=fill["first"], gate=None)
    wrong = []
    with HttpTarget() as people:
        chat = {"kind": "webhook", "url": people.url, "allow_private": True}
        lab.home.alerts.write_text(json.dumps({"built_in": False, "channels": {"chat": chat}}))
        person = Person(lab, fill)
        assert await person.give("apply", Run(str(path))) == []
        try:
            for name, run in FLEET:
                wrong += await person.give(name, run)
        finally:
            lab.heal()  # what runs on a node whose executor is gone would stay
    assert wrong == [], "\n\n".join(wrong)
