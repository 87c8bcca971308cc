"""Versions are kept by count and age, and never at the cost of one that is named."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from bumpless.common.contract.base import Digest
from bumpless.common.model.release import Keep
from bumpless.executor.retention import spared
from unit.executor.making import T0, digest

AGES = {digest(name): T0 - timedelta(days=days) for name, days in (("a", 1), ("b", 2), ("c", 10), ("d", 40))}
A, B, C, D = AGES


def test_nothing_more_is_kept_unless_the_release_says_so() -> None:
    assert spared(AGES, {A}, Keep(), T0) == frozenset()


def test_the_newest_stay_beside_those_that_are_named() -> None:
    assert spared(AGES, {A}, Keep(versions=2), T0) == {B, C}
    assert spared(AGES, (), Keep(versions=1), T0) == {A}


def test_age_bounds_the_count() -> None:
    assert spared(AGES, {A}, Keep(versions=9, days=5), T0) == {B}
    assert spared(AGES, {A}, Keep(versions=9, days=40), T0) == {B, C, D}


@given(
    st.dictionaries(st.sampled_from(list(AGES)), st.sampled_from(list(AGES.values()))),
    st.sets(st.sampled_from(list(AGES))),
    st.integers(0, 5),
    st.floats(0.1, 60),
)
def test_any_number_of_trees(
    arrived: dict[Digest, object], named: set[Digest], versions: int, days: float
) -> None:
    kept = spared(arrived, named, Keep(versions=versions, days=days), T0)  # type: ignore[arg-type]
    assert len(kept) <= versions
    assert kept <= arrived.keys() - named
