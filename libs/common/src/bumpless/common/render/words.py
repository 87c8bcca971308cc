"""Numbers, times and names of nodes as people read them. Pure; the same for the same things in any order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

_PARTS = re.compile(r"(\d+)")
_NUMBERED = re.compile(r"^(?P<stem>.*?)(?P<number>\d{1,18})$")
SHORTEST_RUN = 4
MOST_PIECES = 6
PLURALS = {"batch": "batches"}


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts `node-2` before `node-10`."""
    parts = (p for p in _PARTS.split(text) if p)
    return tuple((0, int(p)) if p.isdecimal() and len(p) < 19 else (1, p) for p in parts)


def count(number: int, word: str) -> str:
    return f"{number:,} {word if number == 1 else PLURALS.get(word, word + 's')}"


def duration(seconds: float) -> str:
    """`4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`: two units are enough."""
    whole = round(seconds)
    if whole < 1:
        return "0 s" if seconds <= 0 else "less than 1 s"
    units = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
    for (size, name), (next_size, next_name) in pairwise(units):
        if whole >= size:
            more = whole % size // next_size
            return f"{whole // size} {name}" + (f" {more} {next_name}" if more else "")
    return f"{whole} s"


def names(found: Iterable[str]) -> str:
    """Names in natural order; numbered ones in a row as `node-1 … node-500`, long lists cut. Without a count."""
    pieces = _pieces(sorted(set(found), key=natural))
    if len(pieces) <= MOST_PIECES:
        return ", ".join(text for text, _ in pieces)
    left = sum(size for _, size in pieces[MOST_PIECES - 1 :])
    return ", ".join(text for text, _ in pieces[: MOST_PIECES - 1]) + f" and {left:,} more"


def nodes(found: Iterable[str]) -> str:
    """As `names`, with how many there are where that is not plain to see."""
    known = set(found)
    text = names(known)
    return text if len(known) < SHORTEST_RUN else f"{text} ({count(len(known), 'node')})"


def _pieces(ordered: list[str]) -> list[tuple[str, int]]:
    """Runs of consecutive numbers behind one stem: what to write, and how many names that is."""
    runs: list[list[str]] = []
    last: tuple[str, str] | None = None
    for name in ordered:
        found = _NUMBERED.match(name)
        here = None if found is None else (found["stem"], found["number"])
        if here is not None and last is not None and here[0] == last[0] and _follows(last[1], here[1]):
            runs[-1].append(name)
        else:
            runs.append([name])
        last = here
    pieces: list[tuple[str, int]] = []
    for run in runs:
        if len(run) >= SHORTEST_RUN:
            pieces.append((f"{run[0]} … {run[-1]}", len(run)))
        else:
            pieces += [(name, 1) for name in run]
    return pieces


def _follows(one: str, other: str) -> bool:
    """Whether `other` is the next number, and written like it: padded with zeros to the same width, or not at all."""
    padded = one.startswith("0") or other.startswith("0")
    return int(other) == int(one) + 1 and (not padded or len(one) == len(other))


def columns(rows: Iterable[tuple[str, ...]], *, right_from: int = 1) -> list[str]:
    """Rows as aligned columns, those from `right_from` on to the right; no blanks at the ends."""
    found = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*found, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < right_from else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in found
    ]
