"""Conditions on labels, and names of metrics, as a gate's rules have them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(,|$)')
_ESCAPE = re.compile(r"\\(.)")


def unescape(quoted: str) -> str:
    """The text between the quotes of a label value: `\\n` is a line break, `\\x` is x for every other x."""
    return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], quoted)


@dataclass(frozen=True)
class Matcher:
    """One condition on one label. A label that is not there has the empty value; expressions match as a whole."""

    label: str
    operator: str
    value: str

    def matches(self, found: str) -> bool:
        if self.operator in ("=", "!="):
            holds = found == self.value
        else:
            holds = re.fullmatch(self.value, found) is not None
        return holds is not self.operator.startswith("!")


def parse_selector(text: str) -> tuple[Matcher, ...]:
    """The conditions of a selector such as `status=~"5..", method!="GET"`; all of them must hold.

    Operators: `=`, `!=`, and `=~`, `!~` with a regular expression over the whole value.

    Raises:
        ValueError: what was expected, and where `text` is something else.
    """
    matchers: list[Matcher] = []
    at = 0
    while at < len(text) or not matchers:
        found = _MATCHER.match(text, at)
        if found is None or (found[4] == "," and found.end() == len(text)):
            raise ValueError(
                f'expected a selector such as status=~"5..",method="GET", found {text!r} (at position {at})'
            )
        label, operator, value = (
            found[1],
            found[2],
            unescape(found[3]) if found[2] in ("=", "!=") else found[3],
        )
        if operator.endswith("~"):
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"expected a regular expression, found {value!r}: {error}") from error
        matchers.append(Matcher(label, operator, value))
        at = found.end()
    return tuple(matchers)


def _checked_selector(text: str) -> str:
    parse_selector(text)
    return text


Selector = Annotated[str, AfterValidator(_checked_selector)]
"""Conditions on labels, checked when the spec is loaded; see `parse_selector`."""

MetricName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
"""The name of a metric family, without labels. A histogram's is the name without `_bucket`."""
