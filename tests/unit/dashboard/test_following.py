"""How changes reach those who follow a topic: everybody all of them, and nobody waits for who is slow."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer, get_port_socket

from bumpless.common.shell import clock
from bumpless.dashboard.doors import Doors
from bumpless.dashboard.one_time import OneTime, make_token
from bumpless.dashboard.picture import ROLLOUTS, Picture
from bumpless.dashboard.signals import Signals
from bumpless.dashboard.topic import KEPT_FRAMES
from bumpless.dashboard.users import Users
from bumpless.dashboard.views import Views

SECRET = b"s" * 32
MANY = 40

pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio]


class House:
    """The dashboard's views behind a real server, without a broker: `set` is what comes from one."""

    def __init__(self) -> None:
        self.picture, self.signals = Picture(), Signals()
        doors = Doors(Users(None), OneTime(SECRET), clock.now, secure=False)
        self.views = Views(self.picture, self.number, self.signals, doors, "epoch")
        app = web.Application()
        app.add_routes(
            [
                web.post("/api/login", doors.log_in),
                web.get("/{topic}", self.views.snapshot),
                web.get("/{topic}/changes", self.views.stream),
            ]
        )
        self.server = TestServer(app, socket_factory=_narrow)

    def set(self, key: str, value: Any) -> None:
        self.picture.topics[ROLLOUTS].set(key, value)
        self.number()

    def number(self) -> None:
        if self.picture.topics[ROLLOUTS].frame():
            self.signals.wake(ROLLOUTS)

    async def follow(self, http: aiohttp.ClientSession, after: int = 0) -> aiohttp.ClientResponse:
        url = self.server.make_url(f"/{ROLLOUTS}/changes?after=epoch.{after}")
        answer = await http.get(url)
        assert await answer.content.readline() == b"retry: 1000\n"
        return answer


def _narrow(host: str, port: int, family: socket.AddressFamily) -> socket.socket:
    """Takes little of what its clients do not read."""
    made = get_port_socket(host, port, family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 << 10)
    return made


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    async with house.server:
        yield house
        house.signals.end()


@pytest_asyncio.fixture
async def http(house: House) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.CookieJar(unsafe=True)
    ) as http:
        token = make_token(SECRET, "ada", clock.now())
        async with http.post(house.server.make_url("/api/login"), json={"token": token}) as answer:
            assert answer.status == 200
        yield http


async def event(answer: aiohttp.ClientResponse) -> tuple[str, str]:
    """The next event's name and data."""
    name = ""
    while True:
        line = (await answer.content.readline()).decode()
        assert line, "the stream ended"
        if line.startswith("event: "):
            name = line[7:-1]
        if line.startswith("data:") and name:
            return name, line[5:].strip()


async def until(answer: aiohttp.ClientResponse, number: int) -> list[int]:
    """The numbers of the changes up to `number`."""
    found: list[int] = []
    while not found or found[-1] < number:
        name, data = await event(answer)
        assert name == "change"
        found.append(json.loads(data)["number"])
    return found


async def test_everybody_has_every_change_once(house: House, http: aiohttp.ClientSession) -> None:
    answers = [await house.follow(http) for _ in range(MANY)]
    for turn in range(20):
        house.set("a", turn)
        await asyncio.sleep(0)
    late = await house.follow(http, after=7)
    house.set("a", "last")
    for answer in answers:
        assert await until(answer, 21) == list(range(1, 22))
    assert await until(late, 21) == list(range(8, 22))


async def test_nobody_waits_for_who_does_not_read(house: House, http: aiohttp.ClientSession) -> None:
    slow = await house.follow(http)
    quick = await house.follow(http)
    most = KEPT_FRAMES + 10
    for turn in range(most):
        house.set("a", str(turn) + "x" * 12_000)
        assert await until(quick, turn + 1) == [turn + 1]
    name = ""
    while name != "stale":  # what it did not take is no longer kept: it is to look anew
        name, _ = await event(slow)


async def test_all_are_told_that_the_broker_is_away(house: House, http: aiohttp.ClientSession) -> None:
    answers = [await house.follow(http) for _ in range(3)]
    for following, word in ((False, "away"), (True, "here")):
        house.signals.follow(following)
        for answer in answers:
            assert await event(answer) == ("broker", word)


async def test_a_topic_that_nobody_follows_any_more_can_be_followed_again(
    house: House, http: aiohttp.ClientSession
) -> None:
    first = await house.follow(http)
    house.set("a", 1)
    await until(first, 1)
    first.close()
    house.set("a", 2)
    second = await house.follow(http, after=2)
    house.set("a", 3)
    assert await until(second, 3) == [3]
