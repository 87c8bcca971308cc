"""The rows of the crash matrix: what is done to whom, and when, in which rollout."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bumpless.cli.watched import Watched
from support.crash_lab import LINKED, SERVICES, CrashLab, Server
from support.crash_points import Armed, Effect, Side
from support.fleet_watch import batch
from support.tcp_proxy import WAYS, Link, Way

SERVER_HUNG_S = 3.0
CUT_S = 3.0
SILENT_S = 8.0
"""Longer than the lease, and than the time in which a service notices."""
FORGOTTEN_S = 2.0
"""Too short for it to be noticed before new connections are let through again."""
SLOW_S = 0.1
BOTH_S = 2.0
"""Two processes of a service reach their servers."""

EFFECTS: tuple[Effect, ...] = ("save", "publish")
SIDES: tuple[Side, ...] = ("before", "after")
Ending = Literal["succeeded", "reverted"]
Fault = Callable[[CrashLab], Awaitable[None]]
"""Does its harm, and returns when it is over."""
Moment = Callable[[Watched], object]


def announced(seen: Watched) -> bool:
    """At once: nothing needs to have been seen."""
    return True


def reverting(seen: Watched) -> bool:
    return bool(seen.reverts)


def reached(*statuses: str) -> Moment:
    """The canary has one of these: what comes after the one that is meant counts too, for it may be missed."""
    holds = [batch("core-1", status) for status in statuses]
    return lambda seen: any(hold(seen) for hold in holds)


baking = reached("baking", "passed", "failed")
applying = reached("applying", "baking", "passed", "failed")


@dataclass(frozen=True)
class Row:
    """One rollout that ends `ending`, in which `armed` kills `part`, or `fault` is done at each of these moments.

    `lasting`: the fault goes on until the rollout has ended, so nothing resumes.
    """

    name: str
    part: str
    ending: Ending
    armed: Armed | None = None
    fault: Fault | None = None
    moments: tuple[Moment, ...] = ()
    lasting: bool = False

    @property
    def alerted(self) -> bool:
        """It is an alert that ends the rollout, and not its gate."""
        return self.part == "alerts"

    @property
    def tells(self) -> bool:
        """The part moves nothing, and tells other tools what happened."""
        return self.part == "events"


def rows() -> list[Row]:
    return [*kills(), *servers(), *links()]


def kills() -> Iterator[Row]:
    for part in SERVICES:
        for ending in endings(part):
            for effect in EFFECTS if part != "events" else ("publish",):  # it saves nothing
                for side in SIDES:
                    yield Row(f"{part}, {ending}: {side} {effect}", part, ending, Armed(effect, side))
            if part != "events":
                again = Armed("save", "after", again=True)
                yield Row(f"{part}, {ending}: after save, and again in recovery", part, ending, again)


def endings(part: str) -> tuple[Ending, ...]:
    """The rollouts in which a part has transitions."""
    return ("reverted",) if part in ("rollback", "alerts") else ("succeeded", "reverted")


def servers() -> Iterator[Row]:
    faults: list[tuple[Server, str, Fault]] = [
        ("nats", "killed", restarted("nats", CrashLab.kill)),
        ("nats", "restarted", restarted("nats", CrashLab.end)),
        ("nats", "hung", hung("nats")),
        ("redis", "killed", restarted("redis", CrashLab.kill)),
        ("redis", "hung", hung("redis")),
        ("redis", "emptied", at_once(CrashLab.flush_redis)),
        ("redis", "files lost", at_once(CrashLab.lose_redis)),
        ("redis", "restored from an old copy", at_once(CrashLab.old_copy)),
    ]
    for server, what, fault in faults:
        yield Row(f"{server} {what}", server, "succeeded", fault=fault, moments=(applying, baking))


def links() -> Iterator[Row]:
    """What a network does between one service and one server, or both."""
    moments: dict[str, tuple[Moment, ...]] = {
        "planner": (announced, baking),
        "rollback": (baking, reverting),
        "health-gate": (baking,),
        "node-1": (announced, applying),
    }
    for part, reached in LINKED.items():
        ending: Ending = "reverted" if part == "rollback" else "succeeded"
        for server in reached:
            for what, fault, lasting in harms():
                name = f"{part} and {server}: {what}"
                when = (announced,) if lasting else moments[part]
                yield Row(name, part, ending, fault=on(part, (server,), fault), moments=when, lasting=lasting)
        if len(reached) > 1:
            both = on(part, reached, silent())
            yield Row(f"{part} and every server: silent", part, ending, fault=both, moments=moments[part])
            taken = taken_over(part, both)
            name = f"{part} and every server: silent, a second process takes over and is killed"
            yield Row(name, part, ending, fault=taken, moments=moments[part][-1:])


Harm = Callable[[list[Link]], Awaitable[None]]


def harms() -> Iterator[tuple[str, Harm, bool]]:
    """What it is called, what does it, and whether it lasts."""
    yield "cut", cut, False
    yield "silent", silent(), False
    yield "silent towards the server", silent("up"), False
    yield "silent towards the service", silent("down"), False
    yield "silent, old connections for ever", silent(forget=True), False
    yield "slow", slow, True


async def cut(hurt: list[Link]) -> None:
    for link in hurt:
        link.cut()
    await asyncio.sleep(CUT_S)
    for link in hurt:
        link.heal()


def silent(*ways: Way, forget: bool = False) -> Harm:
    async def harm(hurt: list[Link]) -> None:
        for link in hurt:
            link.silence(ways or WAYS)
        await asyncio.sleep(FORGOTTEN_S if forget else SILENT_S)
        for link in hurt:
            link.heal(forget=forget)

    return harm


async def slow(hurt: list[Link]) -> None:
    for link in hurt:
        link.slow(SLOW_S)


def on(part: str, reached: tuple[Server, ...], harm: Harm) -> Fault:
    async def fault(lab: CrashLab) -> None:
        await harm(lab.links(part, reached))

    return fault


def taken_over(part: str, fault: Fault) -> Fault:
    async def harm(lab: CrashLab) -> None:
        second = lab.stand_by(part)
        try:
            await fault(lab)
            await asyncio.sleep(BOTH_S)
        finally:
            lab.kill(second)

    return harm


def restarted(name: str, stop: Callable[[CrashLab, str], None]) -> Fault:
    async def fault(lab: CrashLab) -> None:
        stop(lab, name)
        lab.start(name)

    return fault


def hung(name: str) -> Fault:
    async def fault(lab: CrashLab) -> None:
        lab.freeze(name)
        await asyncio.sleep(SERVER_HUNG_S)
        lab.thaw(name)

    return fault


def at_once(harm: Callable[[CrashLab], None]) -> Fault:
    async def fault(lab: CrashLab) -> None:
        harm(lab)  # not in a thread: what it starts would end with that thread

    return fault
