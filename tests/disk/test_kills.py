"""Killed before any call that changes the disk: what is there is whole, and the next start goes on.

Killed after a call is killed before the next one: nothing in between touches the disk.
"""

from __future__ import annotations

import pytest

from disk.bench import OPERATIONS, Bench, kind, sample
from support.syscalls import Call, Then

pytestmark = pytest.mark.timeout(900)
SAMPLE = 9


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_a_call_of_each_kind(bench: Bench, name: str) -> None:
    _kill(bench, name, sample(bench.begun(name).calls, OPERATIONS[name].few(SAMPLE)))


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_every_call(bench: Bench, name: str) -> None:
    calls = bench.begun(name).calls
    _kill(bench, name, calls)
    print(f"kills: {len(calls)} calls of {name}")


def _kill(bench: Bench, name: str, calls: tuple[Call, ...] | list[Call]) -> None:
    begun = bench.begun(name)
    wrong = []
    for at in calls:
        data = bench.copy(begun)

        def decide(call: Call, number: int = at.number) -> Then:
            return Then.KILL if call.number == number else Then.PERFORM

        ended = bench.run(begun, data, decide)
        broken = begun.broken(data, ended.heard) or bench.goes_on(begun, data)
        wrong += [f"killed before call {at.number} ({kind(at)}): {why}" for why in broken]
        bench.discard(data)
    assert not wrong, "\n".join(wrong)
