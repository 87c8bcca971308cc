"""Snapshots of topics, and their changes as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
from collections.abc import Callable, Iterator

from aiohttp import web

from bumpless.dashboard.crowd import Crowd, Follower
from bumpless.dashboard.doors import Doors
from bumpless.dashboard.picture import Picture
from bumpless.dashboard.signals import Signals
from bumpless.dashboard.topic import Topic

HEARTBEAT_S = 10.0
MOST_STREAMS = 1_000


class Views:
    """`number` closes what has changed until now; `epoch` is of this process: numbers of an earlier one mean nothing here."""

    def __init__(
        self, picture: Picture, number: Callable[[], None], signals: Signals, doors: Doors, epoch: str
    ) -> None:
        self._picture, self._number, self._signals = picture, number, signals
        self._doors, self._epoch = doors, epoch
        self._packed: dict[str, tuple[int, bytes]] = {}
        self._crowds: dict[str, Crowd] = {}

    async def snapshot(self, request: web.Request) -> web.Response:
        """The topic as it is. Its number with our epoch is the ETag, and what a stream is asked to go on after."""
        self._doors.required(request)
        name = request.match_info["topic"]
        topic = self._topic(name)
        self._number()
        mark = f"{self._epoch}.{topic.number}"
        packed = self._packed.get(name)
        if packed is None or packed[0] != topic.number:
            packed = (topic.number, await asyncio.to_thread(gzip.compress, topic.snapshot(), 3))
            self._packed = {key: value for key, value in self._packed.items() if key in self._picture.topics}
            self._packed[name] = packed
        return web.Response(
            body=packed[1],
            content_type="application/json",
            headers={"Content-Encoding": "gzip", "X-Mark": mark, "Vary": "Accept-Encoding"},
        )

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Changes after the mark; the event `stale` where they are not kept: then a snapshot is to be taken."""
        self._doors.required(request)
        name = request.match_info["topic"]
        mark = request.headers.get("Last-Event-ID") or request.query.get("after", "")
        epoch, _, number = mark.rpartition(".")
        sent = int(number) if epoch == self._epoch and number.isascii() and number.isdigit() else -1
        if self._signals.watching >= MOST_STREAMS:
            raise web.HTTPServiceUnavailable(reason=f"{MOST_STREAMS} browsers are watching already")
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        self._signals.watching += 1
        try:
            await answer.prepare(request)
            await answer.write(b"retry: 1000\n\n")
            with self._followed(name, Follower(request, answer, sent)) as follower:
                await self._send(request, follower, name)
        except ConnectionError:
            pass
        finally:
            self._signals.watching -= 1
        return answer

    @contextlib.contextmanager
    def _followed(self, name: str, follower: Follower) -> Iterator[Follower]:
        crowd = self._crowds.get(name)
        if crowd is None:
            crowd = self._crowds[name] = Crowd(name, self._signals, functools.partial(self._after, name))
        crowd.join(follower)
        try:
            yield follower
        finally:
            if crowd.leave(follower):
                del self._crowds[name]

    async def _send(self, request: web.Request, follower: Follower, name: str) -> None:
        """What only this browser needs; the rest comes from its crowd."""
        answer, time = follower.answer, asyncio.get_running_loop().time
        looked = time()
        while not self._signals.ending:
            if time() - looked >= HEARTBEAT_S:  # also where it is always behind
                looked = time()
                if self._doors.session(request) is None:
                    await answer.write(b"event: ended\ndata:\n\n")
                    return
                await answer.write(b": still here\n\n")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await follower.alone.wait()
            if not follower.alone.is_set():
                continue
            found = self._after(name, follower.sent)
            if found is None:
                await answer.write(b"event: stale\ndata:\n\n")
                return
            if found[1]:
                follower.sent = found[0]
                await answer.write(found[1])
            elif follower.told is not self._signals.following:
                follower.told = self._signals.following
                await answer.write(b"event: broker\ndata: %s\n\n" % (b"here" if follower.told else b"away"))
            else:
                follower.alone.clear()

    def _after(self, name: str, sent: int) -> tuple[int, bytes] | None:
        topic = self._picture.topics.get(name)
        frames = None if topic is None else topic.after(sent)
        if frames is None:
            return None
        return frames[-1][0] if frames else sent, b"".join(self._event(*frame) for frame in frames)

    def _event(self, number: int, data: bytes) -> bytes:
        return b"id: %s.%d\nevent: change\ndata: %s\n\n" % (self._epoch.encode(), number, data)

    def _topic(self, name: str) -> Topic:
        found = self._picture.topics.get(name)
        if found is None:
            raise web.HTTPNotFound(reason="expected a rollout that is known here, found none")
        return found
