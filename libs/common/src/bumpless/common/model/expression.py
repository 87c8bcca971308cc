"""What a rule looks at: one metric of one instance, or the ratio of two.

    queue_length
    increase(jobs_total{outcome="failed"}) / increase(jobs_total)
    rate(process_cpu_seconds_total)

A plain name is the value as it is, summed over the labels that the selector keeps; `increase` is what a counter has
grown by since the end of the warm-up, and `rate` that per second.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator

from bumpless.common.model.selector import Matcher, parse_selector

_NAME = r"([a-zA-Z_:][a-zA-Z0-9_:]*)"
_BRACES = r"(?:\{((?:[^{}\"]|\"(?:[^\"\\]|\\.)*\")*)\})?"
_TERM = re.compile(rf"\s*(?:(rate|increase)\s*\(\s*{_NAME}{_BRACES}\s*\)|{_NAME}{_BRACES})\s*")


@dataclass(frozen=True)
class Term:
    """`how` is "", "rate" or "increase"."""

    how: str
    metric: str
    selector: tuple[Matcher, ...] = ()


@dataclass(frozen=True)
class Parsed:
    """`over` None: the term alone."""

    term: Term
    over: Term | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.term.metric,) if self.over is None else (self.term.metric, self.over.metric)


@lru_cache(maxsize=1024)
def parse_expression(text: str) -> Parsed:
    """Read an expression.

    Raises:
        ValueError: what was expected, and where `text` is something else.
    """
    first = _TERM.match(text)
    if first is not None and first.end() == len(text):
        return Parsed(_term(first))
    if first is not None and text[first.end()] == "/":
        second = _TERM.match(text, first.end() + 1)
        if second is not None and second.end() == len(text):
            return Parsed(_term(first), _term(second))
    at = 0 if first is None else first.end()
    raise ValueError(
        "expected a metric such as queue_length, rate(jobs_total) or "
        f'increase(jobs_total{{outcome="failed"}}), or one / another, found {text!r} (at position {at})'
    )


def _term(found: re.Match[str]) -> Term:
    how, inner, inner_selector, plain, plain_selector = found.groups()
    selector = inner_selector or plain_selector
    return Term(how or "", inner or plain, parse_selector(selector) if selector else ())


def _checked(text: str) -> str:
    parse_expression(text)
    return text


Expression = Annotated[str, AfterValidator(_checked)]
"""See `parse_expression`; checked when the spec is loaded."""
