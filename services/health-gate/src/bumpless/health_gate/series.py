"""What a selector keeps of the series that nodes ship.

The conditions themselves belong to the spec of a gate (`bumpless.common.model.gate.parse_selector`), so that a
wrong one is refused when it is written, not when a release is judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from bumpless.common.model.gate import Matcher, parse_selector
from bumpless.common.model.series import Labels, Series, parse_series

__all__ = ["Labels", "Series", "parse_series", "selector", "selects", "total"]


@lru_cache(maxsize=1024)
def selector(text: str) -> tuple[Matcher, ...]:
    """`parse_selector`, remembered."""
    return parse_selector(text)


@lru_cache(maxsize=65_536)
def selects(matchers: tuple[Matcher, ...], labels: Labels) -> bool:
    """Whether all conditions hold; a label that is not there is empty."""
    values = dict(labels)
    return all(matcher.matches(values.get(matcher.label, "")) for matcher in matchers)


def total(values: Iterable[tuple[Labels, float]], matchers: tuple[Matcher, ...] = ()) -> float:
    """The sum over the series that `matchers` keep."""
    return sum(value for labels, value in values if selects(matchers, labels))
