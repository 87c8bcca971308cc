"""Versions and ranges, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bumpless.common.model.version import InvalidVersion, Version, VersionRange

# The example of semver.org, section 11, with its neighbours.
ORDERED = (
    "0.9.9",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1",
    "1.2.0",
    "1.10.0",
    "2.0.0",
    "10.0.0",
)


@pytest.mark.parametrize(
    ("lower", "higher"), [(a, b) for i, a in enumerate(ORDERED) for b in ORDERED[i + 1 :]]
)
def test_precedence(lower: str, higher: str) -> None:
    assert Version.parse(lower) < Version.parse(higher)
    assert Version.parse(higher) > Version.parse(lower)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("v2", "2.0.0"), ("2.0", "2.0.0"), ("V1.2.3", "1.2.3"), (" 1 ", "1.0.0"), ("v2-rc.1", "2.0.0-rc.1")],
)
def test_what_people_write(written: str, meant: str) -> None:
    assert Version.parse(written) == Version.parse(meant)
    assert hash(Version.parse(written)) == hash(Version.parse(meant))
    assert str(Version.parse(written)) == meant


@pytest.mark.parametrize(
    "written",
    ["", "latest", "1.2.3.4", "01.0.0", "1..2", "1.0.0-", "v", "1.0.0-01", "-1", "1" * 300, "१.0.0"],
)
def test_what_is_no_version_is_said_so(written: str) -> None:
    with pytest.raises(InvalidVersion, match="expected a version such as"):
        Version.parse(written)


def test_build_metadata_tells_apart_and_does_not_decide() -> None:
    one, other = Version.parse("1.0.0+5"), Version.parse("1.0.0+7")
    assert one != other
    assert VersionRange.parse("=1.0.0").admits(one)
    assert sorted([other, one]) == [one, other]


@pytest.mark.parametrize(
    ("range_", "inside", "outside"),
    [
        (">=1,<3", ["1.0.0", "2.9.9", "2.5.0-rc.1"], ["0.9", "3.0.0", "3.0.0-rc.1", "1.0.0-rc.1"]),
        ("^1.2", ["1.2.0", "1.99.0"], ["1.1.9", "2.0.0", "2.0.0-a"]),
        ("^0.2.3", ["0.2.3", "0.2.9"], ["0.3.0", "0.2.2"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4"]),
        ("~1.2.3", ["1.2.3", "1.2.9"], ["1.3.0", "1.2.2"]),
        ("~1", ["1.0.0", "1.9.0"], ["2.0.0"]),
        ("2.0.x", ["2.0.0", "2.0.17"], ["2.1.0"]),
        ("2.*", ["2.0.0", "2.17.0"], ["3.0.0", "1.9.9"]),
        ("*", ["0.0.1", "99.0.0"], []),
        ("1.2", ["1.2.0", "1.2.9"], ["1.3.0"]),
        ("1.2.3", ["1.2.3"], ["1.2.4", "1.2.3-rc.1"]),
        ("<=2", ["2.9.9", "1.0.0"], ["3.0.0"]),
        ("<=2.0.0", ["2.0.0", "2.0.0-rc.1"], ["2.0.1"]),
        (">2", ["3.0.0"], ["2.0.0", "2.9.9"]),
        (">2.0.0", ["2.0.1"], ["2.0.0"]),
        ("<3.0.0-rc.2", ["3.0.0-rc.1", "2.0.0"], ["3.0.0-rc.2", "3.0.0"]),
        ("1.x || >=3", ["1.5.0", "3.0.0"], ["2.0.0"]),
    ],
)
def test_ranges(range_: str, inside: list[str], outside: list[str]) -> None:
    found = VersionRange.parse(range_)
    assert [v for v in inside if Version.parse(v) not in found] == []
    assert [v for v in outside if Version.parse(v) in found] == []


@pytest.mark.parametrize("written", ["", ">=", "=>1", "1,,2", "> *", ">=1 <3", "abc", ">=1,", "||"])
def test_what_is_no_range_is_said_so(written: str) -> None:
    with pytest.raises(InvalidVersion, match="expected"):
        VersionRange.parse(written)


NUMBERS = st.tuples(*[st.integers(0, 12)] * 3)


@given(NUMBERS, NUMBERS)
def test_the_order_is_that_of_the_numbers(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    a, b = (Version.parse(".".join(map(str, v))) for v in (one, other))
    assert (a < b) == (one < other)
    assert (a == b) == (one == other)


@given(NUMBERS, NUMBERS)
def test_a_range_and_its_complement(limit: tuple[int, ...], version: tuple[int, ...]) -> None:
    bound = ".".join(map(str, limit))
    found = Version.parse(".".join(map(str, version)))
    assert (found in VersionRange.parse(f"<{bound}")) != (found in VersionRange.parse(f">={bound}"))
