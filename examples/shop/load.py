"""Client load for the shop, and the judgement over it: what failed, how long nothing succeeded, what got lost.

The clients repeat nothing and treat every status of 500 or above, refused or reset connection and timeout as
a failed request. Half of the keep-alive clients look whether an idle connection was closed before they use
it again; the other half do not, as many clients in the field.

    python examples/shop/load.py 127.0.0.1:7104 --seconds 10 --database 127.0.0.1:7101
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import signal
import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bumpless.service import Client, RequestFailed

PRODUCTS = 1000
SAMPLE = 20
Window = tuple[float, float]
"""Begin and end in Unix seconds."""


@dataclass(frozen=True)
class LoadReport:
    """What the clients saw. `starts`, `ends` (Unix seconds) and `statuses` (0: no answer) run in parallel,
    in the order of completion."""

    starts: array[float]
    ends: array[float]
    statuses: array[int]
    failures: tuple[str, ...]
    orders_accepted: tuple[str, ...]

    @property
    def requests_total(self) -> int:
        return len(self.ends)

    @property
    def requests_failed(self) -> int:
        return sum(not _good(status) for status in self.statuses)

    def gap_ms_max(self, windows: Iterable[Window] | None = None) -> float:
        """The longest time between two consecutive successful completions that reaches into a window.

        Without windows, over the whole run. Infinite where a window saw fewer than two.
        """
        good = [end for end, status in zip(self.ends, self.statuses, strict=True) if _good(status)]
        if len(good) < 2:
            return float("inf")
        asked = list(windows) if windows is not None else [(good[0], good[-1])]
        pairs = list(itertools.pairwise(good))
        gaps = [
            max(
                (after - before for before, after in pairs if after > begin and before < end),
                default=float("inf"),
            )
            for begin, end in asked
        ]
        return max(gaps, default=0.0) * 1000

    def latency_ms(self, share: float, windows: Iterable[Window] | None = None) -> float:
        """The given quantile (0..1) of the time of the successful requests that ended in a window."""
        asked = list(windows) if windows is not None else [(float("-inf"), float("inf"))]
        times = sorted(
            end - start
            for start, end, status in zip(self.starts, self.ends, self.statuses, strict=True)
            if _good(status) and any(low <= end <= high for low, high in asked)
        )
        return times[min(len(times) - 1, int(share * len(times)))] * 1000 if times else float("nan")


@dataclass(frozen=True)
class JobsReport:
    """What became of the jobs of the accepted orders."""

    jobs_total: int
    jobs_lost: int
    jobs_duplicated: int
    settled: bool
    """Whether the queue ran empty before the deadline."""


def _good(status: int) -> bool:
    return 0 < status < 500


class Load:
    """Paced clients over several gateways. `start`, let it run, `stop`.

    `rate` is in requests per second over all clients; `fresh` of the clients make a new connection for every
    request; `orders` is the share of requests that place an order.
    """

    def __init__(
        self,
        gateways: Sequence[str],
        *,
        rate: float = 250.0,
        keep_alive: int = 32,
        fresh: int = 8,
        orders: float = 0.2,
        timeout_s: float = 10.0,
        run: str = "load",
    ) -> None:
        if not gateways or keep_alive + fresh < 1:
            raise ValueError("expected a gateway and a client, found none")
        self._gateways = list(gateways)
        self._clients, self._fresh = keep_alive + fresh, fresh
        self._interval = self._clients / rate
        self._orders = orders
        self._timeout_s = timeout_s
        self._run = run
        self._starts, self._ends, self._statuses = array("d"), array("d"), array("H")
        self._failures: list[str] = []
        self._accepted: list[str] = []
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        # Unix time that no clock correction moves while we measure.
        self._epoch = time.time() - time.monotonic()

    @property
    def requests_total(self) -> int:
        return len(self._ends)

    @property
    def requests_failed(self) -> int:
        return sum(not _good(status) for status in self._statuses)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(self._clients)]

    async def stop(self) -> LoadReport:
        """Lets requests under way finish."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        return self.report()

    def report(self) -> LoadReport:
        """What there is so far."""
        return LoadReport(
            self._starts[:], self._ends[:], self._statuses[:], tuple(self._failures), tuple(self._accepted)
        )

    async def _client(self, number: int) -> None:
        fresh, careful = number < self._fresh, number % 2 == 0
        client = Client(timeout_s=self._timeout_s, check_idle=careful, retry_stale=False, idle_s=60.0)
        kind = "fresh" if fresh else "careful" if careful else "naive"
        due = time.monotonic() + self._interval * number / self._clients
        step = 0
        try:
            while not await self._wait(due):
                # A keep-alive client stays with one gateway, as behind a connection-level balancer.
                at = number if not fresh else number + step
                await self._once(
                    client, kind, self._gateways[at % len(self._gateways)], number, step, not fresh
                )
                step += 1
                due = max(due + self._interval, time.monotonic())
        finally:
            client.close()

    async def _wait(self, due: float) -> bool:
        """Until `due`; True when told to stop."""
        try:
            async with asyncio.timeout(max(0.0, due - time.monotonic())):
                await self._stopping.wait()
        except TimeoutError:
            pass
        return self._stopping.is_set()

    async def _once(
        self, client: Client, kind: str, gateway: str, number: int, step: int, keep_alive: bool
    ) -> None:
        serial = step * self._clients + number
        product = 1 + serial * 379 % PRODUCTS  # coprime, so that every product gets its turn
        ordering = (serial * 0.6180339887) % 1.0 < self._orders  # evenly spread, the same in every run
        order = f"{self._run}-{number}-{step}"
        started, status = time.monotonic(), 0
        try:
            if ordering:
                value = {"id": order, "product": product, "quantity": 1 + step % 3}
                reply = await client.post(gateway, "/orders", value, keep_alive=keep_alive)
            else:
                reply = await client.get(gateway, f"/products/{product}", keep_alive=keep_alive)
            status = reply.status
            reason = f"status {status}: {reply.body[:120].decode(errors='replace')}"
        except RequestFailed as error:
            reason = str(error)
        ended = time.monotonic()
        self._starts.append(self._epoch + started)
        self._ends.append(self._epoch + ended)
        self._statuses.append(status)
        if ordering and status in (200, 201):
            self._accepted.append(order)
        if not _good(status) and len(self._failures) < SAMPLE:
            what = "POST /orders" if ordering else f"GET /products/{product}"
            self._failures.append(f"{self._epoch + ended:.3f} {kind} {gateway} {what}: {reason}")


async def verify_jobs(
    database: str, orders: Sequence[str], *, deadline_s: float = 60.0, poll_s: float = 0.2
) -> JobsReport:
    """Waits until the queue is empty, then looks for the job of every accepted order."""
    client = Client(timeout_s=10.0)
    until = time.monotonic() + deadline_s
    settled = False
    while not settled and time.monotonic() < until:
        try:
            stats = (await client.get(database, "/stats")).json()
            settled = stats["pending"] + stats["leased"] == 0
        except (RequestFailed, ValueError, KeyError):
            settled = False
        if not settled:
            await asyncio.sleep(poll_s)
    counts: dict[str, int] = {}
    for at in range(0, len(orders), 500):
        ids = [f"receipt-{order}" for order in orders[at : at + 500]]
        counts |= (await client.post(database, "/jobs/completions", {"ids": ids}, idempotent=True)).json()
    client.close()
    return JobsReport(
        jobs_total=len(counts),
        jobs_lost=sum(count == 0 for count in counts.values()),
        jobs_duplicated=sum(count > 1 for count in counts.values()),
        settled=settled,
    )


async def _measure(options: argparse.Namespace) -> None:
    load = Load(options.gateways, rate=options.rate, run=f"load-{time.time_ns()}")
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    load.start()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(told.wait(), options.seconds or None)
    report = await load.stop()
    result: dict[str, object] = {
        "requests_total": report.requests_total,
        "requests_failed": report.requests_failed,
        "failures": report.failures,
        "gap_ms_max": round(report.gap_ms_max(), 1),
        "p50_ms": round(report.latency_ms(0.5), 1),
        "p99_ms": round(report.latency_ms(0.99), 1),
    }
    if options.database:
        jobs = await verify_jobs(options.database, report.orders_accepted)
        result |= {
            "jobs_total": jobs.jobs_total,
            "jobs_lost": jobs.jobs_lost,
            "jobs_duplicated": jobs.jobs_duplicated,
        }
    print(json.dumps(result, indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("gateways", nargs="+", help="host:port")
    parser.add_argument("--rate", type=float, default=250.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=10.0, help="0: until SIGTERM or SIGINT")
    parser.add_argument("--database", default="", help="host:port, to check the jobs at the end")
    asyncio.run(_measure(parser.parse_args()))


if __name__ == "__main__":
    main()
