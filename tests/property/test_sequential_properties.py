"""What must hold of the sequential test, whatever is counted."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from bumpless.common.model.verdict import Verdict
from bumpless.common.sequential import Counts, ErrorSpec, LatencySpec, SequentialTest, TestSpec, Tick
from bumpless.common.sequential.eprocess import CAP

SPEC = TestSpec((ErrorSpec("errors"), LatencySpec("latency", (0.1, 0.5))), batches=3)
PAST: list[Tick] = [(Counts(60, 90, (1,), (1,)), Counts(60, 90, (30, 3), (45, 4)))] * 60


@st.composite
def counts(draw: st.DrawFn, levels: int) -> Counts:
    n, m = draw(st.integers(0, 80)), draw(st.integers(0, 80))

    def events(most: int) -> tuple[int, ...]:
        return tuple(sorted((draw(st.integers(0, most)) for _ in range(levels)), reverse=True))

    return Counts(n, m, events(n), events(m))


ticks = st.lists(st.tuples(st.none() | counts(1), st.none() | counts(2)), max_size=12)


def run(given_ticks: list[Tick], past: list[Tick] = PAST) -> SequentialTest:
    found = SequentialTest.begin(SPEC, past)
    for tick in given_ticks:
        found.update(tick)
    return found


@settings(max_examples=60, deadline=None)
@given(ticks)
def test_no_tick_multiplies_the_evidence_by_more_than_ten(given_ticks: list[Tick]) -> None:
    curve = [0.0, *run(given_ticks).curve]
    assert all(after - before <= CAP + 1e-9 for before, after in pairwise(curve))


@settings(max_examples=60, deadline=None)
@given(ticks)
def test_ticks_without_counts_are_neutral_and_order_is_of_no_account(given_ticks: list[Tick]) -> None:
    holed = [tick for known in given_ticks for tick in ((None, None), known)]
    plain = run(given_ticks)
    for other in (run(holed), run(given_ticks[::-1])):
        assert abs(other.log_batch - plain.log_batch) < 1e-6
        assert abs(other.log_pass(0) - plain.log_pass(0)) < 1e-6


@settings(max_examples=60, deadline=None)
@given(ticks, st.integers(0, 11))
def test_one_more_error_never_helps(given_ticks: list[Tick], where: int) -> None:
    index = where % len(given_ticks) if given_ticks else 0
    errors = given_ticks[index][0] if given_ticks else None
    if errors is None or errors.n <= errors.x[0]:
        return
    more = errors._replace(x=(errors.x[0] + 1,))
    worse = [*given_ticks[:index], (more, given_ticks[index][1]), *given_ticks[index + 1 :]]
    before, after = run(given_ticks), run(worse)
    assert after.kinds[0].failing.log_e >= before.kinds[0].failing.log_e - 1e-9
    assert after.log_pass(0) <= before.log_pass(0) + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.none() | counts(1), st.none()), max_size=40))
def test_a_rule_that_is_never_told_of_keeps_the_test_from_passing(given_ticks: list[Tick]) -> None:
    assert run(given_ticks).verdict is not Verdict.PASS
