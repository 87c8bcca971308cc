"""Calls that fail: the step ends in an answer and the old version stays, or the executor refuses to start; then, with a
sound disk, the same step ends right."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable

import pytest

from disk.bench import OPERATIONS, Begun, Bench, kind, sample
from support.syscalls import ALLOCATES, Call, Decide, Then

pytestmark = pytest.mark.timeout(900)
SAMPLE = 6
SLOW_S = 0.3
FULL_FOR_S = 2.0
ERRORS = (errno.EIO, errno.ENOSPC)


@pytest.mark.parametrize("name", OPERATIONS)
def test_errors_at_calls_of_each_kind(bench: Bench, name: str) -> None:
    begun = bench.begun(name)
    calls = sample(begun.calls, begun.operation.few(2 * SAMPLE))
    _fail(bench, begun, calls[0::2], errno.EIO)
    _fail(bench, begun, (c for c in calls[1::2] if c.name in ALLOCATES), errno.ENOSPC)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_error_at_every_call(bench: Bench, name: str, number: int) -> None:
    begun = bench.begun(name)
    refused = begun.calls if number == errno.EIO else [c for c in begun.calls if c.name in ALLOCATES]
    _fail(bench, begun, refused, number)
    print(f"errors: {len(refused)} calls of {name}, {errno.errorcode[number]}")


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_disk_that_stays_full(bench: Bench, name: str) -> None:
    """From a call on, nothing that needs room succeeds; then there is room again."""
    begun = bench.begun(name)
    for at in sample(begun.calls, begun.operation.few(12)):
        _fill(bench, begun, at)


def test_an_executor_that_starts_where_it_cannot_write_its_journal_ends(bench: Bench) -> None:
    begun = bench.begun("stage")
    ended = _fill(bench, begun, next(c for c in begun.calls if c.paths[0].endswith("/.journal.json.part")))
    assert ended is None, "expected the start to fail, so that it can be ended and started again"


def _fill(bench: Bench, begun: Begun, at: Call) -> dict[str, object] | None:
    def decide(call: Call) -> Then | int:
        return errno.ENOSPC if call.number >= at.number and call.name in ALLOCATES else Then.PERFORM

    return _check(bench, begun, at, "full from", decide, patience_s=FULL_FOR_S)


@pytest.mark.parametrize("name", ["install", "switch"])
def test_slow_flushes_only_take_longer(bench: Bench, name: str) -> None:
    begun = bench.begun(name)
    _slow(bench, begun, sample(_flushes(begun), 4))


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_slow_flush_at_every_call(bench: Bench, name: str) -> None:
    """Each of them alone, then all of them: nothing is given up, and the operation ends as it does on a quick disk."""
    begun = bench.begun(name)
    flushes = _flushes(begun)
    _slow(bench, begun, flushes)
    _check_slow(bench, begun, flushes[0], "slow from", lambda call: call.flushes)
    print(f"slow: {len(flushes)} flushes of {name}")


def _flushes(begun: Begun) -> list[Call]:
    return [call for call in begun.calls if call.flushes]


def _slow(bench: Bench, begun: Begun, calls: Iterable[Call]) -> None:
    for at in calls:
        _check_slow(bench, begun, at, "slow at", lambda call, number=at.number: call.number == number)


def _check_slow(bench: Bench, begun: Begun, at: Call, what: str, is_slow: Callable[[Call], bool]) -> None:
    def decide(call: Call) -> Then:
        if is_slow(call):
            threading.Event().wait(SLOW_S)
        return Then.PERFORM

    assert _check(bench, begun, at, what, decide) == begun.answer


def _fail(bench: Bench, begun: Begun, calls: Iterable[Call], error: int) -> None:
    for at in calls:

        def decide(call: Call, number: int = at.number) -> Then | int:
            return error if call.number == number else Then.PERFORM

        _check(bench, begun, at, errno.errorcode[error], decide)


def _check(
    bench: Bench, begun: Begun, at: Call, what: str, decide: Decide, **more: float
) -> dict[str, object] | None:
    where = f"{begun.operation.name}, {what} call {at.number} ({kind(at)})"
    data = bench.copy(begun)
    ended = bench.run(begun, data, decide, **more)
    if ended.fault is not None:
        # Nothing ran yet, or it cannot confirm: whoever started the executor sees the error and starts it again.
        assert any(w in ended.fault for w in ("executor.start()", "launched.confirm()")), (
            f"{where}: {ended.fault}"
        )
    else:
        assert ended.answer is not None, where
        assert ended.answer["over"] or more, f"{where}: {ended}"
    assert not begun.broken(data, ended.heard), f"{where}: {begun.broken(data, ended.heard)} {ended}"
    wrong = bench.goes_on(begun, data)
    assert not wrong, f"{where}: {wrong}"
    bench.discard(data)
    return ended.answer
