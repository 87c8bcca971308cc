"""Killed during a switch of real processes: they go on answering, and the next executor brings the switch to its end."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable

import pytest

from disk import promises
from disk.bench import Bench, kind, sample
from support.syscalls import Call, Then

pytestmark = pytest.mark.timeout(900)
SAMPLE = 3
PATIENCE_S = 60.0


def test_a_killed_switch_keeps_serving(bench: Bench) -> None:
    _kill(bench, sample(_while_switching(bench), SAMPLE))


@pytest.mark.faults
@pytest.mark.timeout(7200)
def test_a_switch_killed_at_every_call_keeps_serving(bench: Bench) -> None:
    _kill(bench, _while_switching(bench))


def _while_switching(bench: Bench) -> list[Call]:
    return [call for call in bench.begun("switch").calls if call.number > 10]


def _kill(bench: Bench, calls: Iterable[Call]) -> None:
    begun = bench.begun("switch")
    for at in calls:
        where = f"killed before call {at.number} ({kind(at)})"
        data = bench.copy(begun)

        def decide(call: Call, number: int = at.number) -> Then:
            return Then.KILL if call.number == number else Then.PERFORM

        try:
            started = bench.starts(data, None, real=True)
            assert _answering(bench) == "v1", started
            bench.child("switch", data, real=True).run(decide, outlived=True)
            assert _answering(bench) in ("v1", "v2"), where
            ended = bench.starts(data, "switch", real=True)
            if ended.answer is not None and ended.answer["outcome"] == "failed":
                ended = bench.starts(data, "switch", attempt=1, real=True)
            assert ended.answer is not None, f"{where}: {ended}"
            assert (ended.answer["over"], ended.answer["serving"]) == (True, "v2"), f"{where}: {ended}"
            assert _answering(bench) == "v2", where
            found = promises.broken(data, begun.before, begun.after, promises.record_of(data), ended.heard)
            assert not found, f"{where}: {found}"
        finally:
            bench.starts(data, None, real=True, stop=True)
        bench.discard(data)


def _answering(bench: Bench) -> str:
    """The version that answers a request, once."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(PATIENCE_S)
        line.connect(str(bench.site.socket))
        line.sendall(b"GET / HTTP/1.1\r\nHost: disk\r\nConnection: close\r\n\r\n")
        body = b"".join(iter(lambda: line.recv(1 << 16), b"")).partition(b"\r\n\r\n")[2]
    return str(json.loads(body)["version"])
