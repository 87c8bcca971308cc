"""The nodes' own past in place of a control, shared out so that no tick of it is used twice."""

from __future__ import annotations

from collections.abc import Sequence

from bumpless.common.sequential.spec import Counts, Tick


class Past:
    """`history` dealt to `most_ticks` judged ticks, the latest first; after it is used up, nothing."""

    def __init__(self, history: Sequence[Tick], most_ticks: int) -> None:
        self._history = history
        self._share = max(1, len(history) // max(1, most_ticks))
        self._left = len(history)

    def beside(self, tick: Tick) -> Tick:
        """`tick` with the next share of the past as its control."""
        start = max(0, self._left - self._share)
        share = self._history[start : self._left]
        self._left = start
        return [
            None if counts is None else _with(counts, [past[index] for past in share])
            for index, counts in enumerate(tick)
        ]


def _with(counts: Counts, past: Sequence[Counts | None]) -> Counts:
    found = [ticks for ticks in past if ticks is not None]
    y = [sum(ticks.x[level] for ticks in found) for level in range(len(counts.x))]
    return Counts(counts.n, sum(ticks.n for ticks in found), counts.x, y)
