"""What 200 browsers ask for, without drawing it: each logs in, follows the list of rollouts, and the page of the one under way.

Or, for comparison, as many consumers of their own at the broker.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import nats
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from bumpless.common.access.entry import Entry
from bumpless.common.contract import subjects
from bumpless.common.contract.subjects import Stream
from bumpless.common.model.rollout import TERMINAL, RolloutStatus
from bumpless.common.shell import clock
from bumpless.dashboard.one_time import make_token, secret_at

LOGGING_IN_AT_ONCE = 20
AGAIN_S = 0.5


class Browser:
    """`succeeded`: the rollouts that it was shown the success of."""

    def __init__(self, http: aiohttp.ClientSession, address: str) -> None:
        self._http, self._address = http, address
        self._cookie: dict[str, str] = {}
        self._page: asyncio.Task[None] | None = None
        self._shown = ""
        self.succeeded: set[str] = set()

    async def log_in(self, token: str) -> None:
        async with self._http.post(f"{self._address}/api/login", json={"token": token}) as answer:
            answer.raise_for_status()
            name, value = answer.headers["Set-Cookie"].split(";")[0].split("=", 1)
            self._cookie = {"Cookie": f"{name}={value}"}

    async def follow(self, topic: str) -> None:
        """A snapshot and then changes; a new snapshot where changes are no longer kept."""
        url = f"{self._address}/api/topics/{topic}"
        while True:
            async with self._http.get(url, headers=self._cookie) as answer:
                if answer.status == 404:  # its first message is on its way
                    await asyncio.sleep(AGAIN_S)
                    continue
                answer.raise_for_status()
                mark = answer.headers["X-Mark"]
                self._take(topic, (await answer.json())["values"])
            async with self._http.get(
                f"{url}/changes", params={"after": mark}, headers=self._cookie
            ) as answer:
                answer.raise_for_status()
                async for line in answer.content:
                    if line.startswith(b"data: {"):
                        self._take(topic, json.loads(line[6:])["values"])

    def _take(self, topic: str, values: dict[str, Any]) -> None:
        if topic != "rollouts":
            return
        for rollout, row in values.items():
            if row is None:
                continue
            if row["status"] == RolloutStatus.SUCCEEDED:
                self.succeeded.add(rollout)
            elif row["status"] not in TERMINAL and rollout != self._shown:
                self._open(rollout)

    def _open(self, rollout: str) -> None:
        if self._page is not None:
            self._page.cancel()
        self._shown = rollout
        self._page = asyncio.create_task(self.follow(rollout))


class Audience:
    """`seen`: how many successes all of them together were shown."""

    def __init__(self) -> None:
        self._browsers: list[Browser] = []
        self._direct = 0
        self._reading: list[asyncio.Task[None]] = []

    @property
    def seen(self) -> int:
        return self._direct + sum(len(browser.succeeded) for browser in self._browsers)

    async def at_dashboard(self, number: int, address: str, secret: Path) -> None:
        http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=1 << 22,
        )
        self._browsers = [Browser(http, address) for _ in range(number)]
        gate = asyncio.Semaphore(LOGGING_IN_AT_ONCE)

        async def enter(browser: Browser) -> None:
            async with gate:
                await browser.log_in(make_token(secret_at(secret), "bench", clock.now()))

        await asyncio.gather(*(enter(browser) for browser in self._browsers))
        self._reading = [asyncio.create_task(browser.follow("rollouts")) for browser in self._browsers]

    async def at_broker(self, number: int, entry: Entry) -> None:
        for _ in range(number):
            broker = await nats.connect(entry.url, **entry.options(), max_reconnect_attempts=-1)
            await broker.jetstream().subscribe(
                subjects.progress_subjects(),
                stream=Stream.PROG.value,
                ordered_consumer=True,
                deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
                cb=self._direct_one,
            )

    async def _direct_one(self, message: Msg) -> None:
        self._direct += message.data.count(b'"status":"succeeded"')

    def check(self) -> None:
        """Raises: whatever ended a browser."""
        for task in self._reading:
            if task.done():
                task.result()


async def watch(kind: str, number: int, address: str, secret: str) -> None:
    """The process of the browsers, who come with the dashboard's secret or a key for the broker: prints how many successes they were shown, for every line that comes in."""
    audience = Audience()
    if kind == "direct":
        await audience.at_broker(number, Entry(address, Path(secret)))
    else:
        await audience.at_dashboard(number, address, Path(secret))
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        audience.check()
        print(audience.seen, flush=True)
