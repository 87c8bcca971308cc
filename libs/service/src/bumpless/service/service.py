"""One managed process: its sockets and the order of starting and draining.

Starts: take sockets over, answer admin requests, run the `on_ready` callbacks, accept, READY=1. A standby says
READY=1 and accepts only after the first resume, which also takes over the state its predecessor left.
Drains: STOPPING=1, accept nothing, tell streams to reconnect, serve what is open until the lame duck ends, close idle
connections, finish what is in flight, leave the state, exit with 0; at the drain deadline the rest is cut. The
executor decides when any of it happens; this module only does as told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from bumpless.service.admin import Admin
from bumpless.service.consumer import Consumer
from bumpless.service.contract import Contract, ContractError, bind, notifier, read_contract
from bumpless.service.datagrams import DatagramHandler, DatagramServer
from bumpless.service.endpoint import Endpoint, Factory
from bumpless.service.handover import Keeper, Restore, Save
from bumpless.service.http import HttpServer, Limits
from bumpless.service.messages import Handler
from bumpless.service.metrics import (
    DURATION_BUCKETS,
    Counter,
    Gauge,
    Histogram,
    Metrics,
    add_process_metrics,
)

_log = logging.getLogger("bumpless.service")

ADMIN = "admin"
ACCEPT_SETTLE_S = 0.05
"""Between the last accept and closing our descriptor."""
CANCEL_GRACE_S = 2.0
"""For consumers to give work back once the drain deadline has cancelled them."""
CONSUMER_RESTART_S = 0.5
LONGEST_SPREAD_S = 5.0
"""Over which streams are told to reconnect; at most a quarter of the drain timeout, so that it ends in time."""

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "DATAGRAM"}

Callback = Callable[[], Awaitable[None]]
ConsumerFactory = Callable[[Consumer], Coroutine[Any, Any, None]]
F = TypeVar("F", bound=Callback)


@dataclass(frozen=True)
class _Declared:
    default: str
    factory: Factory


class Service:
    """Declare endpoints, consumers and metrics, then call `run`.

    `version` is for a process started by hand; a managed one is told its version.
    """

    def __init__(self, name: str, *, version: str = "dev", admin: str = "") -> None:
        self.name = name
        self.contract: Contract = read_contract(os.environ, os.getpid())
        self.version = self.contract.version or version
        self.metrics = Metrics()
        self.state = "starting"
        self._admin_default = admin or f"unix:{self.contract.state_dir / f'{name}-admin.sock'}"
        self._endpoints: dict[str, _Declared] = {}
        self._servers: dict[str, Endpoint] = {}
        self._factories: list[ConsumerFactory] = []
        self._consumers: list[Consumer] = []
        self._background: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._on_ready: list[Callback] = []
        self._on_stop: list[Callback] = []
        self._health: list[Callback] = []
        self._beside: list[asyncio.Task[None]] = []
        self._paused_at: float | None = None
        contract = self.contract
        self._keeper = Keeper(
            contract.handover_file, contract.component or name, self.version, contract.instance
        )
        self._notifier = notifier(contract.managed)
        add_process_metrics(self.metrics)
        self._requests = self.counter("http_requests_total", "Requests answered.", ("method", "status"))
        self._durations = self.histogram("http_request_duration_seconds", "From head to last byte written.")
        self.gauge("inflight_requests", "Requests being served.", read=lambda: self.inflight)
        self.gauge("open_connections", "Open connections.", read=lambda: self.connections)
        info = self.gauge("release_info", "The release this process runs.", ("version", "digest"))
        info.set(1, version=self.version, digest=self.contract.digest)

    def http(
        self,
        name: str = "http",
        default: str = "127.0.0.1:8080",
        handler: Handler | None = None,
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Serves `handler` on the inherited sockets called `name`; by hand, on `default`."""
        if handler is None:
            raise ValueError(f"expected a handler for {name!r}, found None")
        self.serve(
            name,
            default,
            lambda given, seen: HttpServer(given, handler, limits=limits, observe=seen, tls=tls),
        )

    def datagrams(self, name: str, default: str, handler: DatagramHandler) -> None:
        """Answers datagrams on the inherited sockets called `name`; by hand, on `default` (`udp:host:port`)."""
        self.serve(name, default, lambda given, seen: DatagramServer(given, handler, seen))

    def serve(self, name: str, default: str, factory: Factory) -> None:
        """Serves the sockets called `name` by an `Endpoint` of your own, which `factory(sockets, observe)` makes."""
        if name == ADMIN or name in self._endpoints:
            raise ValueError(f"expected a new endpoint name, found {name!r}")
        self._endpoints[name] = _Declared(default, factory)

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        return self.metrics.counter(name, help, labels)

    def gauge(
        self, name: str, help: str, labels: Sequence[str] = (), read: Callable[[], float] | None = None
    ) -> Gauge:
        return self.metrics.gauge(name, help, labels, read)

    def histogram(
        self, name: str, help: str, labels: Sequence[str] = (), buckets: Sequence[float] = DURATION_BUCKETS
    ) -> Histogram:
        return self.metrics.histogram(name, help, labels, buckets)

    def consumer(self, factory: ConsumerFactory, *, count: int = 1) -> None:
        """Runs `factory(consumer)` `count` times side by side; one that raises is started again."""
        self._factories += [factory] * count

    def background(self, factory: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs beside the service from ready to the end of draining."""
        self._background.append(factory)

    def on_ready(self, callback: F) -> F:
        """Must finish before the process takes traffic and says READY=1; raising ends the process."""
        self._on_ready.append(callback)
        return callback

    def on_stop(self, callback: F) -> F:
        """Runs after the last request, before the exit."""
        self._on_stop.append(callback)
        return callback

    def on_handover(self, save: Save) -> Save:
        """Gives the state to the next process, after the last request; for a component that runs once at a time."""
        self._keeper.save = save
        return save

    def on_restore(self, restore: Restore) -> Restore:
        """Takes the state that the process before left, before the first request; not called when there is none.
        Raising refuses it: this process does not begin to work."""
        self._keeper.restore = restore
        return restore

    def health(self, check: F) -> F:
        """A check behind /healthz; raising makes the process unhealthy. Ask about this process only: a
        check of a dependency makes healthy processes look bad when another one is."""
        self._health.append(check)
        return check

    @property
    def inflight(self) -> int:
        return sum(server.inflight for server in self._servers.values())

    @property
    def streams(self) -> int:
        return sum(server.streams for server in self._servers.values())

    @property
    def connections(self) -> int:
        return sum(server.connections for server in self._servers.values())

    @property
    def unacknowledged(self) -> int:
        return sum(consumer.unacknowledged for consumer in self._consumers)

    @property
    def paused(self) -> bool:
        """Whether it takes nothing, as in a pause or as a standby."""
        return self._paused_at is not None or self.state == "standby"

    @property
    def handover(self) -> str:
        """What became of the state that the process before left, in words."""
        return self._keeper.outcome

    def addresses(self, name: str = "http") -> list[Any]:
        """What the sockets of an endpoint are bound to; known from `on_ready` on."""
        return self._servers[name].addresses

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT and returns once drained. Exits with 1 if it cannot start."""
        if not logging.getLogger().handlers:
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        try:
            asyncio.run(self.main())
        except Exception:
            _log.exception("%s stopped", self.name)
            sys.exit(1)

    async def main(self) -> None:
        """The life of the process inside a running event loop."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        admin = self._open()
        try:
            if await self._start(stop):
                self._consumers += [Consumer() for _ in self._factories]
                pairs = zip(self._factories, self._consumers, strict=True)
                consuming = [loop.create_task(self._consume(factory, one)) for factory, one in pairs]
                if self.contract.standby:
                    self.state = "standby"
                else:
                    await self.resume()
                self._notifier.send("READY=1", f"STATUS={self.name} {self.version}: {self.state}")
                _log.info("%s %s ready, %s", self.name, self.version, self.state)
                await stop.wait()
                await self._drain(consuming)
                await self._end_background()
                await self._keeper.leave()
        finally:
            await self._end_background()
            for callback in self._on_stop:
                with contextlib.suppress(Exception):
                    await callback()
            if admin is not None:
                admin.close_listeners(sweep=False)
                await admin.abort()

    def _open(self) -> HttpServer | None:
        """Makes the servers, none of which accepts yet but the private one."""
        given = self.contract.sockets
        for name, endpoint in self._endpoints.items():
            sockets = given.get(name, ())
            if self.contract.managed and not sockets:
                raise ContractError(
                    f"expected a socket named {name!r} in LISTEN_FDNAMES, found {sorted(given)}"
                )
            self._servers[name] = endpoint.factory(sockets or [bind(endpoint.default)], self._observe)
        private = given.get(ADMIN, ())
        if self.contract.managed and not private:
            _log.warning("expected a socket named 'admin' in LISTEN_FDNAMES, found %s", sorted(given))
            return None
        admin = HttpServer(private or [bind(self._admin_default)], Admin(self, self._health).answer)
        admin.accept()
        return admin

    async def _start(self, stop: asyncio.Event) -> bool:
        """Runs the on_ready callbacks; False when told to stop before they were done."""

        async def callbacks() -> None:
            for callback in self._on_ready:
                await callback()

        starting = asyncio.create_task(callbacks())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                return False
            await starting
            return True
        finally:
            starting.cancel()
            stopping.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)

    async def pause(self) -> None:
        """Lame duck: takes no new connection and no new work, keeps serving what is open."""
        if self.state == "standby":
            return
        if self._paused_at is None:
            self._paused_at = time.monotonic()
        if self.state == "serving":
            self.state = "paused"
        for server in self._servers.values():
            server.pause()
        await asyncio.gather(*(consumer.pause() for consumer in self._consumers))

    async def resume(self) -> None:
        """Undoes `pause`. The first one takes over the state that was left and begins to work.

        Raises: whatever the `on_restore` callback raises.
        """
        await self._keeper.take()
        if self.state == "draining":
            return
        if not self._beside:
            loop = asyncio.get_running_loop()
            self._beside = [loop.create_task(self._run_beside(factory)) for factory in self._background]
        self._paused_at = None
        self.state = "serving"
        for server in self._servers.values():
            server.accept()
        for consumer in self._consumers:
            consumer.resume()

    async def _drain(self, consuming: list[asyncio.Task[None]]) -> None:
        began = time.monotonic()
        deadline = began + self.contract.drain_timeout_s
        self.state = "draining"
        self._notifier.send("STOPPING=1", f"STATUS={self.name} {self.version} drains")
        servers = list(self._servers.values())
        # After a pause every answer ended its connection, so what is still open has been idle since then
        # and the lame duck counts from there.
        lame_until = (self._paused_at if self._paused_at is not None else began) + self.contract.lame_duck_s
        self._paused_at = self._paused_at if self._paused_at is not None else began
        for server in servers:
            server.pause()
            server.tell_streams(min(LONGEST_SPREAD_S, self.contract.drain_timeout_s / 4))
        for consumer in self._consumers:
            consumer.drain()
        await asyncio.sleep(ACCEPT_SETTLE_S)
        for server in servers:
            server.close_listeners(sweep=not self.contract.managed)
        closed = asyncio.gather(*(server.wait_closed() for server in servers))
        await _at_most([closed], min(lame_until, deadline) - time.monotonic())
        for server in servers:
            server.close_idle()
        await _at_most([closed, *consuming], deadline - time.monotonic())
        closed.cancel()
        left = sum(task.cancel() for task in consuming)
        await _at_most(consuming, CANCEL_GRACE_S)
        left += sum([await server.abort() for server in servers])
        if left:
            _log.warning("drain deadline reached: cut %d connections and consumers", left)
            self._notifier.send(f"STATUS=drain deadline reached, {left} cut")
        _log.info("%s %s drained in %.2f s", self.name, self.version, time.monotonic() - began)

    async def _consume(self, factory: ConsumerFactory, consumer: Consumer) -> None:
        while not consumer.draining:
            try:
                await factory(consumer)
                break
            except Exception:
                _log.exception("consumer failed, starting it again")
            await asyncio.sleep(CONSUMER_RESTART_S)

    async def _end_background(self) -> None:
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)

    async def _run_beside(self, factory: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await factory()
        except Exception:
            _log.exception("background task failed")

    def _observe(self, method: str, status: int, seconds: float) -> None:
        self._requests.inc(method=method if method in _METHODS else "OTHER", status=str(status))
        self._durations.observe(seconds)


async def _at_most(futures: Sequence[asyncio.Future[Any]], seconds: float) -> None:
    if futures:
        await asyncio.wait(futures, timeout=max(0.0, seconds))
