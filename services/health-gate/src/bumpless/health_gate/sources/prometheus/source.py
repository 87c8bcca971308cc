"""A gate's samples from a Prometheus: read from a moment in the past on, and read again where it was away.

What was read of a member moves on only with a whole answer, so an outage leaves no gap: the missing time is asked for
when the Prometheus is back. The ends overlap, because a scrape is stored a little after its moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

from bumpless.common.model.metric_source import PrometheusFrom
from bumpless.common.shell.clock import Clock
from bumpless.common.shell.log import get_logger
from bumpless.health_gate.sources.prometheus import answers, queries
from bumpless.health_gate.sources.prometheus.answers import BadAnswer, Scrape, scrapes
from bumpless.health_gate.sources.prometheus.client import Away, Prometheus
from bumpless.health_gate.window import Member, Reading, SampleWindow

log = get_logger(__name__)

FIRST_READ_LIMIT = timedelta(seconds=20)
"""A first reading that takes longer holds its gate back no more; less than what the rollout waits for a verdict."""
LATE = timedelta(seconds=5)
"""How long after its moment a scrape may still become visible, beside the time it takes."""
CHUNK = timedelta(minutes=5)
"""The most that is asked for at once."""
AT_ONCE = 8
LONGEST_WAIT_S = 15.0
CANCEL_AGAIN_S = 0.5


class PrometheusSource:
    """See `ports.MetricSource`. The samples of `members`, looked for every `interval_s`. Closes `prometheus` at the end.

    Its readings have no version: who ran at their moment is for the nodes to say, see `sources.merged`.
    """

    def __init__(
        self,
        prometheus: Prometheus,
        spec: PrometheusFrom,
        members: Iterable[Member],
        families: Iterable[str],
        interval_s: float,
        clock: Clock,
    ) -> None:
        self.window = SampleWindow()
        self._prometheus, self._spec, self._clock = prometheus, spec, clock
        self._interval_s = interval_s
        self._selectors = {member: queries.selector(spec, member, families) for member in members}
        self._overlap = timedelta(seconds=spec.scrape_interval_s) + LATE
        self._read: dict[Member, datetime] = {}
        self._first: set[Member] = set()
        self._troubles: dict[Member, str] = {}
        self._away = ""
        self._started: datetime | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        if self._started is None:
            return False
        return self._first == set(self._selectors) or self._clock() - self._started > FIRST_READ_LIMIT

    @property
    def trouble(self) -> str:
        """Why there may be less than there should; empty: everything was read."""
        lines = [f"{member.node}: {text}" for member, text in sorted(self._troubles.items())]
        return self._away or "; ".join(lines)

    async def start(self, since: datetime) -> None:
        self._started = self._clock()
        self._read = dict.fromkeys(self._selectors, since)
        self._first = set()
        self._task = asyncio.create_task(self._follow(since))

    async def stop(self) -> None:
        while self._task is not None and not self._task.done():
            # Python 3.11's wait_for forgets a cancellation that meets its result, so once may not be enough.
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CANCEL_AGAIN_S)
        self._task, self._started = None, None
        await self._prometheus.close()

    async def _follow(self, since: datetime) -> None:
        wait_s = self._interval_s
        while True:
            room, failures = asyncio.Semaphore(AT_ONCE), list[str]()
            await asyncio.gather(*(self._catch_up(one, since, room, failures) for one in self._selectors))
            before, self._away = self._away, next(iter(failures), "")
            if self._away != before:
                log.warning(self._away or "it answers again", source=self._spec.title)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S) if failures else self._interval_s
            await asyncio.sleep(wait_s)

    async def _catch_up(
        self, member: Member, since: datetime, room: asyncio.Semaphore, failures: list[str]
    ) -> None:
        """Read up to now. Adds to `failures` when nobody answers, and gives up when it did not for another member."""
        async with room:
            try:
                while not failures and not await self._step(member, since):
                    pass
            except (Away, OSError) as error:
                failures.append(str(error))
            except BadAnswer as error:
                if self._troubles.get(member) != str(error):
                    log.warning("no samples", source=self._spec.title, node=member.node, reason=str(error))
                self._troubles[member] = str(error)

    async def _step(self, member: Member, since: datetime) -> bool:
        """Read one chunk; whether it went up to now."""
        start = max(since, self._read[member] - self._overlap)
        now = self._clock()
        end = min(now, start + self._overlap + CHUNK)
        promql = queries.ranged(self._selectors[member], end - start)
        for scrape in scrapes(await self._prometheus.query(promql, end)):
            self.window.put(member, self._spec.title, _reading(scrape))
        self._read[member] = end
        self._troubles.pop(member, None)
        if end == now:
            self._first.add(member)
        return end == now


async def newest(
    prometheus: Prometheus,
    spec: PrometheusFrom,
    members: Iterable[Member],
    families: Iterable[str],
    now: datetime,
) -> tuple[dict[str, dict[str, float]], str]:
    """The newest value of every series by node, and what kept the Prometheus from telling all."""
    found: dict[str, dict[str, float]] = {}
    families = tuple(families)
    troubles: list[str] = []
    for member in members:
        try:
            body = await prometheus.query(queries.selector(spec, member, families), now)
            found[member.node] = answers.newest(body)
        except BadAnswer as error:
            troubles.append(f"{member.node}: {error}")
        except (Away, OSError) as error:
            return found, str(error)
    return found, "; ".join(troubles)


def _reading(scrape: Scrape) -> Reading:
    return Reading(
        at=scrape.at,
        sequence=0,
        born=False,
        up=scrape.up,
        restarts=0,
        version="",
        root="",
        families=scrape.families if scrape.up else {},
    )
