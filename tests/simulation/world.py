"""The world of one run: its loop, its chances, its trace, and who watches it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import datetime, timedelta
from random import Random

from bumpless.common.contract.base import MessageId, derive_id
from bumpless.common.shell import clock
from simulation.events import Event, Healed, Struck
from simulation.loop import VirtualLoop
from simulation.scenario import FAULTS, Scenario
from support.plans import T0

SKEW: ContextVar[Callable[[], float]] = ContextVar("skew", default=lambda: 0.0)
"""How wrong the clock of the process is in which the running code runs, in seconds."""
LATE_S = (60.0, 600.0, 3600.0)
"""The last is beyond every limit of the simulated rollouts many times over."""


class World:
    """`now` is the true time; code under test reads `clock.now`, which is that of its process."""

    def __init__(self, scenario: Scenario, watch: Callable[[Event], None], verbose: bool = False) -> None:
        self.scenario = scenario
        self.loop = VirtualLoop()
        self.faulty = False
        """Whether faults may happen: not while everything starts, and not after the healing."""
        self._watch = watch
        self._streams: dict[str, Random] = {}
        self._hash = hashlib.sha256()
        self.lines: list[str] = []
        self._verbose = verbose
        self.struck: dict[str, int] = {}
        self.ordered: set[str] = set()
        """Kinds of faults that strike at their next occasion, whatever chance says."""
        self.ids = 0
        self.events = 0

    # time ---------------------------------------------------------------------------------------------

    @property
    def clock(self) -> float:
        return self.loop.time()

    def now(self) -> datetime:
        return T0 + timedelta(seconds=self.loop.time())

    def fresh_id(self) -> MessageId:
        self.ids += 1
        return derive_id("simulated", str(self.ids))

    @contextlib.contextmanager
    def clocks(self) -> Iterator[None]:
        """The one place of the program that reads time and draws ids reads ours meanwhile."""
        before = clock.now, clock.fresh_id
        clock.now = lambda: self.now() + timedelta(seconds=SKEW.get()())  # type: ignore[assignment]
        clock.fresh_id = self.fresh_id  # type: ignore[assignment]
        try:
            yield
        finally:
            clock.now, clock.fresh_id = before  # type: ignore[assignment]

    # chance -------------------------------------------------------------------------------------------

    def stream(self, name: str) -> Random:
        found = self._streams.get(name)
        if found is None:
            found = self._streams[name] = Random(f"{name} {self.scenario.seed}")
        return found

    def strikes(self, kind: str, what: str = "") -> bool:
        """Whether a fault of `kind` happens here."""
        if self.faulty and kind in self.ordered:
            self.ordered.remove(kind)
            self.strike(kind, what)
            return True
        if not self.faulty or kind not in self.scenario.faults:
            return False
        if self.stream(kind).random() >= FAULTS[kind]:
            return False
        self.strike(kind, what)
        return True

    def strike(self, kind: str, what: str) -> None:
        self.struck[kind] = self.struck.get(kind, 0) + 1
        self.happened(Struck(kind, what), f"FAULT {kind} {what}")

    def lag(self) -> float:
        """Seconds that something takes on its way."""
        base = self.scenario.lag_s
        spread = 20 * base if self.faulty and "reorder" in self.scenario.faults else base
        return base / 2 + self.stream("lag").random() * spread

    def late(self, what: str) -> float:
        """Seconds by which a message is held up, mostly none."""
        return self.stream("late").choice(LATE_S) if self.strikes("delay", what) else 0.0

    # trace --------------------------------------------------------------------------------------------

    def happened(self, event: Event, text: str) -> None:
        """Tell the trace and the invariants."""
        self.events += 1
        self.say(text)
        self._watch(event)

    def say(self, text: str) -> None:
        line = f"{self.loop.time():10.3f} {text}"
        self._hash.update(line.encode())
        if self._verbose:
            self.lines.append(line)

    @property
    def trace(self) -> str:
        return self._hash.hexdigest()

    def heal(self) -> None:
        self.faulty = False
        self.happened(Healed(), "HEALED")
