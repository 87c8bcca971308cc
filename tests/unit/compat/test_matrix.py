"""Levels, what is stated, and the way from one version of a component to another."""

from __future__ import annotations

import pytest

from bumpless.common.compat.hops import NoPath
from bumpless.common.compat.matrix import Blocked
from bumpless.common.model.level import Level, weakest
from bumpless.common.model.version import VersionRange
from unit.compat.stating import MATRIX_A, MATRIX_B, matrix, v


def test_levels_are_two_booleans() -> None:
    rows = {level: (level.backward, level.forward) for level in Level}
    assert rows == {
        Level.FULL: (True, True),
        Level.BACKWARD: (True, False),
        Level.FORWARD: (False, True),
        Level.NONE: (False, False),
    }
    assert [level.reversed for level in Level] == [Level.FULL, Level.FORWARD, Level.BACKWARD, Level.NONE]
    assert all(level.reversed.reversed is level for level in Level)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((), "full"),
        (("full", "backward"), "backward"),
        (("backward", "forward"), "none"),
        (("forward", "full", "forward"), "forward"),
        (("full", "none"), "none"),
    ],
)
def test_the_level_of_a_way_is_what_all_hops_have(levels: tuple[str, ...], expected: str) -> None:
    assert weakest(Level(level) for level in levels) is Level(expected)


def test_the_way_goes_over_every_version_in_between() -> None:
    way = MATRIX_A.way(v("1.0.0"), v("3.0.0"))
    assert [str(version) for version in way.versions[1:]] == ["1.1.0", "2.0.0", "2.1.0", "3.0.0"]
    assert way.level is Level.BACKWARD


def test_the_way_down_has_the_levels_turned_round() -> None:
    way = MATRIX_A.way(v("3.0.0"), v("1.0.0"))
    assert [str(version) for version in way.versions] == ["3.0.0", "2.1.0", "2.0.0", "1.1.0", "1.0.0"]
    assert way.level is Level.FORWARD


def test_no_path_names_what_can_be_reached_and_the_missing_hop() -> None:
    with pytest.raises(NoPath) as caught:
        MATRIX_B.way(v("1.0.0"), v("2.0.0"))
    assert [str(version) for version in caught.value.reachable] == ["1.1.0", "1.2.0"]
    assert tuple(map(str, caught.value.missing or ())) == ("1.2.0", "2.0.0")
    assert "missing is the hop 1.2.0 > 2.0.0" in str(caught.value)


def test_of_two_equally_long_ways_the_freer_one_is_taken() -> None:
    found = matrix("a", ("1", "2", "backward"), ("2", "4", "full"), ("1", "3", "full"), ("3", "4", "full"))
    assert [str(version) for version in found.way(v("1"), v("4")).versions] == ["1.0.0", "3.0.0", "4.0.0"]


def test_an_unknown_pair_is_none_and_says_so() -> None:
    found = MATRIX_B.between(v("1.2.0"), v("2.0.0"))
    assert (found.level, found.evidence) == (Level.NONE, "nothing is stated about this pair")
    assert MATRIX_B.between(v("1.0.0"), v("1.0.0")).level is Level.FULL


def test_a_required_stop_is_not_passed_over() -> None:
    stated = (("1", "2", "full"), ("2", "3", "full"), ("1", "3", "full"))
    free, stopped = matrix("a", *stated), matrix("a", *stated, stops=("2",))
    assert len(free.way(v("1"), v("3")).versions) == 2
    assert [str(version) for version in stopped.way(v("1"), v("3")).versions] == ["1.0.0", "2.0.0", "3.0.0"]


def test_a_closed_hop_is_named_with_its_reason() -> None:
    block = Blocked(VersionRange.parse("2.0.x"), VersionRange.parse("3.0.0"), "ISSUE-41")
    found = matrix("a", ("1", "2.0.5", "full"), ("2.0.5", "3", "full"), blocked=(block,))
    with pytest.raises(NoPath, match=r"the hop 2\.0\.5 > 3\.0\.0 is closed: ISSUE-41"):
        found.way(v("1"), v("3"))
    assert found.way(v("3"), v("1")).versions[-1] == v("1")


def test_versions_that_must_not_mix_are_no_rolling_hop() -> None:
    found = matrix("a", ("1", "2", "none"))
    with pytest.raises(NoPath, match="must not run side by side"):
        found.way(v("1"), v("2"))
