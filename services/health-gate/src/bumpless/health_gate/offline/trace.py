"""Traces of a batch: one JSON object a line, each what one node had counted at one moment.

    {"t": -5, "node": "web-1", "group": "canary", "requests": 81230, "errors": 41,
     "latency_buckets": {"0.1": 80112, "0.5": 81190, "+Inf": 81230}, "restarts": 0, "up": true}

`t` is in seconds, 0 the switch (or another moment that whoever reads it names); the rows before it are the history on
which a gate is calibrated. `requests`, `errors` and the buckets are counters, as a scrape finds them: they fall only
where a process starts anew. Traces whose rows count only their own interval are understood as well (`Counting`).

What a row does not know it leaves out, or has as null or NaN: missing stays missing. What no node can have counted is
refused, with its line and field.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from statistics import median
from typing import Any, Literal, cast

from bumpless.common.errors import Refused

Group = Literal["canary", "control"]
GROUPS: tuple[Group, ...] = ("canary", "control")
MOST_NODES = 10_000
_FALLS = 0.25
"""Counters fall at restarts only. Where more of all steps than this share go down, rows count their interval."""


class TraceInvalid(Refused):
    """A line, and its field where it is one, that cannot be."""

    def __init__(self, where: str, field: str, expected: str, found: str, hint: str = "") -> None:
        super().__init__(expected, found, hint)
        self.args = (": ".join(part for part in (where, field, str(self)) if part),)


class Counting(StrEnum):
    """What a row's numbers count: everything since its process started, or its own interval."""

    AUTO = "auto"
    TOTAL = "total"
    INTERVAL = "interval"


@dataclass(frozen=True)
class Row:
    """One line. None: not known. `buckets` maps an upper bound in seconds (inf included) to a cumulative count."""

    t: float
    node: str
    group: Group
    requests: float | None = None
    errors: float | None = None
    buckets: Mapping[float, float] | None = None
    restarts: int | None = None
    up: bool = True

    def as_json(self) -> str:
        """The line, without its end."""
        found: dict[str, Any] = {"t": round(self.t, 3), "node": self.node, "group": self.group}
        for name, value in (("requests", self.requests), ("errors", self.errors)):
            if value is not None:
                found[name] = _plain(value)
        if self.buckets is not None:
            found["latency_buckets"] = {_le(le): _plain(count) for le, count in sorted(self.buckets.items())}
        if self.restarts is not None:
            found["restarts"] = self.restarts
        return json.dumps({**found, "up": self.up})


@dataclass(frozen=True)
class Trace:
    """Rows by time, then node, each pair once, with totals. `notes` say what was made of what was not as expected."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def step_s(self) -> float:
        """The usual time between two rows of a node; 0: no node has two."""
        return median(
            [later - earlier for rows in by_node(self.rows).values() for earlier, later in _times(rows)]
            or [0.0]
        )

    def nodes(self, group: Group) -> tuple[str, ...]:
        return tuple(sorted({row.node for row in self.rows if row.group == group}))


def by_node(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.node, []).append(row)
    return found


def read_trace(lines: Iterable[str], name: str, counting: Counting = Counting.AUTO) -> Trace:
    """The trace in `lines`; `name` is what errors call it. Empty lines count and say nothing.

    Raises:
        TraceInvalid: a line or field that cannot be, two accounts of one node at one time, no row at all.
    """
    seen: dict[tuple[float, str], tuple[int, Row]] = {}
    groups: dict[str, tuple[int, Group]] = {}
    latest: dict[str, float] = {}
    disorder = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        row = _row(line, where)
        before = seen.setdefault((row.t, row.node), (number, row))
        if before[1] != row:
            raise TraceInvalid(
                where, "t, node", f"one row of {row.node} at {row.t:g}", f"another one in line {before[0]}"
            )
        first = groups.setdefault(row.node, (number, row.group))
        if first[1] != row.group:
            raise TraceInvalid(
                where,
                "group",
                f"{row.node} in {first[1]}, as in line {first[0]}",
                row.group,
                "a node has one group",
            )
        disorder += row.t < latest.get(row.node, -math.inf)
        latest[row.node] = max(row.t, latest.get(row.node, -math.inf))
    if not seen:
        raise TraceInvalid(name, "", "rows of a trace, one JSON object a line", "none")
    if len(groups) > MOST_NODES:
        raise TraceInvalid(name, "node", f"at most {MOST_NODES} nodes", str(len(groups)))
    rows = [row for _, (_, row) in sorted(seen.items())]
    notes = [f"{disorder} rows were not in the order of their time"] if disorder else []
    if all(row.restarts is None for row in rows):
        notes.append("no row says how often a process restarted: only counters that fall tell of it")
    if counting is Counting.AUTO:
        counting = Counting.INTERVAL if _falling(rows) > _FALLS else Counting.TOTAL
        if counting is Counting.INTERVAL:
            notes.append("its numbers go up and down, so they are taken to count each row's own interval")
    return Trace(tuple(_totals(rows) if counting is Counting.INTERVAL else rows), tuple(notes))


def _row(line: str, where: str) -> Row:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TraceInvalid(where, "", "a JSON object", f"{line.strip()[:60]!r} ({error})") from None
    if not isinstance(found, dict):
        raise TraceInvalid(where, "", "a JSON object", f"{line.strip()[:60]!r}")
    t = _number(found.get("t"), where, "t", least=-math.inf)
    node = found.get("node")
    group = found.get("group")
    if t is None:
        raise TraceInvalid(where, "t", "seconds", repr(found.get("t", "nothing")))
    if not isinstance(node, str) or not node:
        raise TraceInvalid(where, "node", "a name", repr(found.get("node", "nothing")))
    if group not in GROUPS:
        raise TraceInvalid(where, "group", "canary or control", repr(found.get("group", "nothing")))
    up = found.get("up", True)
    if not isinstance(up, bool | None):
        raise TraceInvalid(where, "up", "true or false", repr(up))
    requests = _number(found.get("requests"), where, "requests")
    errors = _number(found.get("errors"), where, "errors")
    restarts = _number(found.get("restarts"), where, "restarts")
    if restarts is not None and not restarts.is_integer():
        raise TraceInvalid(where, "restarts", "a whole number", repr(restarts))
    buckets = _buckets(found.get("latency_buckets"), where, requests)
    return Row(
        t,
        node,
        cast(Group, group),
        requests,
        errors,
        buckets,
        restarts=None if restarts is None else int(restarts),
        up=True if up is None else up,
    )


def _number(value: Any, where: str, field: str, least: float = 0.0) -> float | None:
    """None for null and NaN, which are how scrapers say that they do not know."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TraceInvalid(where, field, "a number", repr(value))
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if math.isnan(found):
        return None
    if math.isinf(found) or found < least:
        raise TraceInvalid(where, field, f"a finite number{' >= 0' if least == 0 else ''}", f"{found:g}")
    return found


def _buckets(value: Any, where: str, requests: float | None) -> dict[float, float] | None:
    """Counts that are not known are left out. Without +Inf, that is what `requests` says."""
    if value is None:
        return None
    field = "latency_buckets"
    if not isinstance(value, dict):
        raise TraceInvalid(where, field, "an object of counts by upper bound", repr(value)[:60])
    found: dict[float, float] = {}
    for le, counted in value.items():
        try:
            bound = float(le)
        except ValueError:
            bound = math.nan
        if math.isnan(bound) or bound in found:
            raise TraceInvalid(where, field, "upper bounds in seconds, each once", repr(le))
        count = _number(counted, where, f"{field}[{le!r}]")
        if count is not None:
            found[bound] = count
    for (low, below), (high, above) in pairwise(sorted(found.items())):
        if above < below:
            raise TraceInvalid(
                where,
                field,
                "counts that rise with their bound (each has the ones below it)",
                f"{above:g} at {_le(high)} after {below:g} at {_le(low)}",
            )
    if found and math.inf not in found and requests is not None and requests >= max(found.values()):
        found[math.inf] = requests
    return found


def _falling(rows: Iterable[Row]) -> float:
    """The share of all steps from a node's row to its next at which the number of requests falls."""
    falls = steps = 0
    for found in by_node(row for row in rows if row.requests is not None).values():
        for before, after in pairwise(found):
            steps += 1
            falls += (after.requests or 0.0) < (before.requests or 0.0)
    return falls / steps if steps else 0.0


def _totals(rows: Iterable[Row]) -> list[Row]:
    """Rows that count their interval, added up by node. A number that is missing adds nothing, and stays missing."""
    sums: dict[str, tuple[float, float, dict[float, float]]] = {}
    found = []
    for row in rows:
        requests, errors, buckets = sums.get(row.node, (0.0, 0.0, {}))
        requests, errors = requests + (row.requests or 0.0), errors + (row.errors or 0.0)
        own = row.buckets or {}
        buckets = {**buckets, **{le: buckets.get(le, 0.0) + count for le, count in own.items()}}
        sums[row.node] = requests, errors, buckets
        found.append(
            replace(
                row,
                requests=None if row.requests is None else requests,
                errors=None if row.errors is None else errors,
                buckets=None if row.buckets is None else {le: buckets[le] for le in own},
            )
        )
    return found


def _times(rows: Iterable[Row]) -> Iterable[tuple[float, float]]:
    return pairwise(row.t for row in rows)


def _plain(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def _le(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else f"{bound:g}"
