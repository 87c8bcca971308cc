"""Versions and ranges of versions, by the precedence of Semantic Versioning 2.0.0.

What people write is accepted: a leading `v`, and one or two numbers for three (`v2`, `2.0`). Two spellings of one
version are equal. Build metadata does not decide which of two versions is newer; it only tells them apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

import semver

_SHORT = re.compile(r"^[vV]?(?P<numbers>\d+(?:\.\d+){0,2})(?P<rest>[-+].*)?$")
_COMPARATOR = re.compile(r"^(?P<sign>>=|<=|>|<|=|\^|~)?\s*(?P<version>\S+)$")
_PARTIAL = re.compile(r"^[vV]?(?P<numbers>\d+(?:\.\d+)?)(?:\.[xX*]){0,2}$|^(?P<any>[xX*])$")
_LONGEST = 256


class InvalidVersion(ValueError):
    """The text says what was expected and what was found."""


@total_ordering
@dataclass(frozen=True, eq=False)
class Version:
    """One version. Equal and hashed by what it means, not by how it was written; `str` gives the full form."""

    meaning: semver.Version

    @classmethod
    def parse(cls, text: str) -> Version:
        """Raises: InvalidVersion."""
        found = _SHORT.match(text.strip()) if len(text) <= _LONGEST else None
        try:
            if found is None:
                raise ValueError
            numbers = ".".join([*found["numbers"].split("."), "0", "0"][:3])
            return cls(semver.Version.parse(numbers + (found["rest"] or "")))
        except ValueError:
            raise InvalidVersion(
                f"expected a version such as 2.1.0, v2 or 2.1.0-rc.1, found {text[:80]!r}"
            ) from None

    @property
    def core(self) -> tuple[int, int, int]:
        return self.meaning.major, self.meaning.minor, self.meaning.patch

    @property
    def prerelease(self) -> bool:
        return self.meaning.prerelease is not None

    def __str__(self) -> str:
        return str(self.meaning)

    def __hash__(self) -> int:
        return hash(str(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and str(self) == str(other)

    def __lt__(self, other: Version) -> bool:
        """By precedence; versions that differ only in build metadata are ordered by its text, so that sorting is stable."""
        order = self.meaning.compare(other.meaning)
        return order < 0 or (order == 0 and (self.meaning.build or "") < (other.meaning.build or ""))


@dataclass(frozen=True)
class _Bound:
    """`version` and everything above it (or below it, with `upper`); the version itself only if `inclusive`."""

    version: Version
    upper: bool
    inclusive: bool

    def admits(self, version: Version) -> bool:
        order = version.meaning.compare(self.version.meaning)
        if order == 0:
            return self.inclusive
        if not self.upper:
            return order > 0
        # 3.0.0-rc.1 precedes 3.0.0, but nobody who writes <3 means it.
        early = version.prerelease and version.core == self.version.core and not self.version.prerelease
        return order < 0 and not (early and not self.inclusive)


@dataclass(frozen=True)
class VersionRange:
    """Comparators joined by commas (all must hold); alternatives joined by `||`. `*` admits everything.

    `>=1.2,<3`   `2.0.x`, `2.*`   `^1.2` (up to the next major)   `~1.2` (up to the next minor)   `=1.0.0`, `1.0.0`

    A number that is left out is any number: `1.2` alone is every 1.2.x. A pre-release of an excluded upper bound is
    excluded with it.
    """

    text: str
    alternatives: tuple[tuple[_Bound, ...], ...]

    @classmethod
    def parse(cls, text: str) -> VersionRange:
        """Raises: InvalidVersion."""
        alternatives = []
        for alternative in text.split("||"):
            bounds: list[_Bound] = []
            for comparator in alternative.split(","):
                bounds += _bounds(comparator.strip(), text)
            alternatives.append(tuple(bounds))
        return cls(text, tuple(alternatives))

    def admits(self, version: Version) -> bool:
        return any(all(bound.admits(version) for bound in bounds) for bounds in self.alternatives)

    def __contains__(self, version: Version) -> bool:
        return self.admits(version)

    def __str__(self) -> str:
        return self.text


def _bounds(comparator: str, whole: str) -> list[_Bound]:
    found = _COMPARATOR.match(comparator) if len(comparator) <= _LONGEST else None
    if found is None:
        raise InvalidVersion(f"expected a range such as '>=1.2,<3', '2.0.x' or '^1.2', found {whole[:80]!r}")
    sign, written = found["sign"] or "", found["version"]
    partial = _PARTIAL.match(written)
    if partial is not None and partial["any"]:
        if sign not in ("", "="):
            raise InvalidVersion(f"expected a version after {sign}, found {written!r} in {whole[:80]!r}")
        return []
    given = partial["numbers"].count(".") + 1 if partial is not None else 3
    low = Version.parse(partial["numbers"] if partial is not None else written)
    match sign:
        case ">=":
            return [_Bound(low, upper=False, inclusive=True)]
        case "<":
            return [_Bound(low, upper=True, inclusive=False)]
        case ">":
            return [_Bound(low, upper=False, inclusive=False)] if given == 3 else [_above(low, given)]
        case "<=" if given == 3:
            return [_Bound(low, upper=True, inclusive=True)]
        case "<=":
            return [_Bound(_next(low, given), upper=True, inclusive=False)]
        case "^":
            return _between(low, _next(low, 1 if low.core[0] else 2 if low.core[1] else given))
        case "~":
            return _between(low, _next(low, min(given, 2)))
        case _ if given == 3:
            return [_Bound(low, upper=upper, inclusive=True) for upper in (False, True)]
        case _:
            return _between(low, _next(low, given))


def _between(low: Version, end: Version) -> list[_Bound]:
    return [_Bound(low, upper=False, inclusive=True), _Bound(end, upper=True, inclusive=False)]


def _above(low: Version, given: int) -> _Bound:
    return _Bound(_next(low, given), upper=False, inclusive=True)


def _next(version: Version, place: int) -> Version:
    """The lowest version that differs from `version` in its first `place` numbers."""
    numbers = list(version.core[:place]) + [0] * (3 - place)
    numbers[place - 1] += 1
    return Version(semver.Version(*numbers))
