"""Series as text: `name{a="b",le="0.1"}`, the way nodes ship them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from bumpless.common.model.gate import unescape

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
