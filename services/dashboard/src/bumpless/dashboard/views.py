"""Snapshots of topics, and their changes as server-sent events."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable

from aiohttp import web

from bumpless.dashboard.doors import Doors
from bumpless.dashboard.feeds import Feeds
from bumpless.dashboard.picture import Picture
from bumpless.dashboard.topic import Topic

HEARTBEAT_S = 10.0
MOST_STREAMS = 1_000


class Views:
    """`epoch` is of this process: numbers of an earlier one mean nothing here."""

    def __init__(
        self, picture: Picture, feeds: Feeds, doors: Doors, epoch: str, *, ending: Callable[[], bool]
    ) -> None:
        self._picture, self._feeds, self._doors, self._epoch = picture, feeds, doors, epoch
        self._ending = ending
        self._packed: dict[str, tuple[int, bytes]] = {}
        self._streams = 0

    async def snapshot(self, request: web.Request) -> web.Response:
        """The topic as it is. Its number with our epoch is the ETag, and what a stream is asked to go on after."""
        self._doors.required(request)
        name = request.match_info["topic"]
        topic = self._topic(name)
        self._feeds.number()
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
        if self._streams >= MOST_STREAMS:
            raise web.HTTPServiceUnavailable(reason=f"{MOST_STREAMS} browsers are watching already")
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        self._streams += 1
        try:
            await answer.prepare(request)
            await answer.write(b"retry: 1000\n\n")
            await self._send(request, answer, name, sent)
        except ConnectionError:
            pass
        finally:
            self._streams -= 1
        return answer

    async def _send(self, request: web.Request, answer: web.StreamResponse, name: str, sent: int) -> None:
        # A reader that is slow holds up nobody: what is new is looked up when the last write has left.
        told, time = True, asyncio.get_running_loop().time
        looked = time()
        while not self._ending():
            if time() - looked >= HEARTBEAT_S:  # also where changes never cease
                looked = time()
                if self._doors.session(request) is None:
                    await answer.write(b"event: ended\ndata:\n\n")
                    return
            changed = self._feeds.changed(name)
            topic = self._picture.topics.get(name)
            frames = None if topic is None else topic.after(sent)
            if frames is None:
                await answer.write(b"event: stale\ndata:\n\n")
                return
            if frames:
                sent = frames[-1][0]
                await answer.write(b"".join(self._event(*frame) for frame in frames))
                continue
            if told is not self._feeds.following:
                told = self._feeds.following
                await answer.write(f"event: broker\ndata: {'here' if told else 'away'}\n\n".encode())
                continue
            done, _ = await asyncio.wait((changed,), timeout=HEARTBEAT_S)
            if not done:
                await answer.write(b": still here\n\n")

    def _event(self, number: int, data: bytes) -> bytes:
        return b"id: %s.%d\nevent: change\ndata: %s\n\n" % (self._epoch.encode(), number, data)

    def _topic(self, name: str) -> Topic:
        found = self._picture.topics.get(name)
        if found is None:
            raise web.HTTPNotFound(reason="expected a rollout that is known here, found none")
        return found
