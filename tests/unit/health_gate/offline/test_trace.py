"""Traces are read as they are written, and what cannot be is refused with its line and field."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from bumpless.health_gate.offline.trace import Counting, Row, Trace, TraceInvalid, read_trace
from support import traces


def line(**changed: Any) -> str:
    usual = {
        "t": 5, "node": "n1", "group": "canary", "requests": 10, "errors": 1,
        "latency_buckets": {"0.1": 8, "+Inf": 10}, "restarts": 0, "up": True,
    }  # fmt: skip
    return json.dumps({**usual, **changed})


def read(*lines: str, counting: Counting = Counting.TOTAL) -> Trace:
    return read_trace(lines, "t.jsonl", counting)


def test_a_row_is_read_as_it_was_written() -> None:
    row = Row(1.5, "n1", "control", 100.0, 2.0, {0.1: 90.0, math.inf: 100.0}, 1, False)
    assert read(row.as_json()).rows == (row,)
    assert json.loads(row.as_json())["latency_buckets"] == {"0.1": 90, "+Inf": 100}


def test_what_a_row_does_not_know_is_missing_and_not_zero() -> None:
    (row,) = read('{"t": 0, "node": "a", "group": "control", "requests": NaN, "latency_buckets": null}').rows
    assert (row.requests, row.errors, row.buckets, row.restarts, row.up) == (None, None, None, None, True)
    (row,) = read(line(latency_buckets={"0.1": math.nan, "0.5": 9}, errors=None)).rows
    assert row.errors is None
    assert row.buckets == {0.5: 9.0, math.inf: 10.0}


def test_a_trace_without_restarts_says_so() -> None:
    (note,) = read(line(restarts=None), line(t=10, restarts=math.nan)).notes
    assert note.startswith("no row says how often a process restarted")


def test_without_an_infinite_bucket_the_requests_stand_for_it() -> None:
    assert read(line(latency_buckets={"0.1": 8})).rows[0].buckets == {0.1: 8.0, math.inf: 10.0}
    assert read(line(latency_buckets={"0.1": 8}, requests=None)).rows[0].buckets == {0.1: 8.0}


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (line(requests=-3), "t.jsonl:2: requests: expected a finite number >= 0, found -3"),
        (line(errors="7"), "t.jsonl:2: errors: expected a number, found '7'"),
        (line(errors=True), "t.jsonl:2: errors: expected a number, found True"),
        (line(errors=math.inf), "t.jsonl:2: errors: expected a finite number >= 0, found inf"),
        (line(t=None), "t.jsonl:2: t: expected seconds, found None"),
        (line(t=math.nan), "t.jsonl:2: t: expected seconds, found nan"),
        (line(node=""), "t.jsonl:2: node: expected a name, found ''"),
        (line(group="blue"), "t.jsonl:2: group: expected canary or control, found 'blue'"),
        (line(up="yes"), "t.jsonl:2: up: expected true or false, found 'yes'"),
        (line(restarts=0.5), "t.jsonl:2: restarts: expected a whole number, found 0.5"),
        (line(latency_buckets=[1]), "t.jsonl:2: latency_buckets: expected an object of counts"),
        (line(latency_buckets={"fast": 1}), "t.jsonl:2: latency_buckets: expected upper bounds in seconds"),
        (line(latency_buckets={"0.1": 1, "0.10": 1}), "each once, found '0.10'"),
        (line(latency_buckets={"0.1": -1}), "latency_buckets['0.1']: expected a finite number >= 0, found -1"),
        (line(latency_buckets={"0.1": 9, "0.5": 8}), "found 8 at 0.5 after 9 at 0.1"),
        ("{", "t.jsonl:2: expected a JSON object, found '{'"),
        ("[1]", "t.jsonl:2: expected a JSON object, found '[1]'"),
        ("[" * 100_000, "t.jsonl:2: expected a JSON object"),
        (line(requests=12), "t.jsonl:2: t, node: expected one row of n1 at 5, found another one in line 1"),
        (line(t=9, group="control"), "t.jsonl:2: group: expected n1 in canary, as in line 1, found control"),
    ],
    ids=lambda value: value[:40],
)  # fmt: skip
def test_what_no_node_can_have_counted_is_refused_with_line_and_field(bad: str, told: str) -> None:
    with pytest.raises(TraceInvalid) as refused:
        read(line(), bad)
    assert told in str(refused.value)


def test_nothing_is_no_trace() -> None:
    with pytest.raises(TraceInvalid, match="expected rows of a trace"):
        read("", "  ")


def test_copies_are_dropped_and_disorder_is_told() -> None:
    found = read(line(t=10), line(t=5), line(t=5), "")
    assert [row.t for row in found.rows] == [5, 10]
    assert found.notes == ("2 rows were not in the order of their time",)
    assert found.step_s == 5


def test_rows_that_count_their_interval_become_totals() -> None:
    told = read_trace(traces.lines(3, totals=False, history_s=50), "t")
    wanted = read_trace(traces.lines(3, totals=False, history_s=50), "t", Counting.INTERVAL)
    assert told.rows == wanted.rows
    assert "own interval" in told.notes[-1]
    summed = [row.requests for row in told.rows if row.node == "node-1"]
    own = [row["requests"] for row in traces.rows(3, totals=False, history_s=50) if row["node"] == "node-1"]
    assert summed == [float(sum(own[: index + 1])) for index in range(len(own))]


def test_counters_that_begin_anew_now_and_then_are_no_interval_counts() -> None:
    assert not read_trace(traces.lines(3), "t").notes
