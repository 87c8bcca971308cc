"""Real processes go on answering: killed during their switch, which the next executor brings to its end; and killed, or
with a disk that fails, during the upgrade of the executor itself.
"""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Iterable
from pathlib import Path

import pytest

from bumpless.executor.journal import Journal
from disk import promises
from disk.bench import Bench, kind, sample
from disk.site import COMPONENT
from support.syscalls import ALLOCATES, Call, Then

pytestmark = pytest.mark.timeout(900)
SAMPLE = 3
UPGRADES = 20
"""Calls of the executor's own upgrade at which it is killed, and as many that fail in each way."""
PATIENCE_S = 60.0


def test_a_killed_switch_keeps_serving(bench: Bench) -> None:
    _kill(bench, sample(_while_switching(bench), SAMPLE))


@pytest.mark.faults
@pytest.mark.timeout(7200)
def test_a_switch_killed_at_every_call_keeps_serving(bench: Bench) -> None:
    _kill(bench, _while_switching(bench))


def test_the_executor_is_killed_while_it_is_replaced_and_the_service_goes_on(bench: Bench) -> None:
    _replace(bench, _from_the_exchange_on(bench)[:1], Then.KILL)


@pytest.mark.faults
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("then", [Then.KILL, errno.EIO, errno.ENOSPC], ids=["kill", "EIO", "ENOSPC"])
def test_the_executor_is_replaced_on_a_bad_disk_and_the_service_goes_on(
    bench: Bench, then: Then | int
) -> None:
    calls = bench.begun("self-upgrade").calls
    _replace(bench, sample((c for c in calls if then != errno.ENOSPC or c.name in ALLOCATES), UPGRADES), then)


def _from_the_exchange_on(bench: Bench) -> list[Call]:
    calls = bench.begun("self-upgrade").calls
    return list(calls[next(i for i, call in enumerate(calls) if call.name == "renameat2") + 1 :])


def _replace(bench: Bench, calls: Iterable[Call], then: Then | int) -> None:
    """Beside a service of its own, an upgrade takes a few calls more; all of them of the same kinds."""
    begun = bench.begun("self-upgrade")
    for at in calls:
        where = f"{then} at call {at.number} ({kind(at)})"
        data = bench.copy(begun)
        seen: list[Call] = []

        def decide(call: Call, at: Call = at, seen: list[Call] = seen) -> Then | int:
            nth = [c.number for c in begun.calls if kind(c) == kind(at)].index(at.number)
            seen += [call] * (kind(call) == kind(at))
            return then if kind(call) == kind(at) and len(seen) == nth + 1 else Then.PERFORM

        try:
            bench.starts(data, "install")
            pid = _serving(data)
            bench.child("replace", data).run(decide, outlived=True)
            assert seen, where
            assert _answering(bench) == "v1", where
            ended = bench.starts(data, "replace")
            if ended.answer is None or ended.answer["outcome"] == "failed":
                ended = bench.starts(data, "replace", attempt=1)
            assert ended.answer is not None, f"{where}: {ended}"
            assert (ended.answer["over"], ended.answer["serving"]) == (True, "e2"), f"{where}: {ended}"
            assert _answering(bench) == "v1", where
            assert _serving(data) == pid, f"{where}: the service was started again"
        finally:
            bench.starts(data, None, stop=True)
        bench.discard(data)


def _serving(data: Path) -> int:
    record = Journal(data / "components" / COMPONENT / "journal.json").load()
    assert record is not None
    assert record.serving is not None, record
    return record.serving.pid


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
