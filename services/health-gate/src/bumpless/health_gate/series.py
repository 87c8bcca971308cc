"""Series as text: `name{a="b",le="0.1"}`, the way nodes ship them, and what a selector keeps of them.

The conditions themselves belong to the spec of a gate (`bumpless.common.model.gate.parse_selector`), so that a
wrong one is refused when it is written, not when a release is judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from bumpless.common.model.gate import Matcher, parse_selector, unescape

Labels = tuple[tuple[str, str], ...]
"""Label pairs, sorted by label."""

_SERIES = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?", re.DOTALL)
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"\s*(?:,|$)', re.DOTALL)


class Series(NamedTuple):
    """A metric's name and its labels."""

    name: str
    labels: Labels


@lru_cache(maxsize=65_536)
def parse_series(text: str) -> Series:
    """Read one series of the Prometheus text format, without its value.

    Raises:
        ValueError: `text` is no series, or names a label twice.
    """
    found = _SERIES.fullmatch(text)
    if found is None:
        raise ValueError(f'expected a series such as name{{label="value"}}, found {text!r}')
    labels: dict[str, str] = {}
    inside, at = found[2] or "", 0
    while at < len(inside):
        pair = _LABEL.match(inside, at)
        if pair is None or pair[1] in labels:
            raise ValueError(f'expected label="value", each label once, found {inside[at:]!r} in {text!r}')
        labels[pair[1]] = unescape(pair[2])
        at = pair.end()
    return Series(found[1], tuple(sorted(labels.items())))


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
