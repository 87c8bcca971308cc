"""What a Prometheus is asked: the raw samples of one component on one node, in PromQL. Pure.

Never rate() and never a step: a range selector gives every sample with the moment of its scrape, where query_range
repeats the last value for five minutes, which would hide that a node has fallen silent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta

from bumpless.common.model.metric_source import COMPONENT, NODE, PrometheusFrom
from bumpless.health_gate.window import Member

ALWAYS = ("up", "release_info")
"""Asked for with every query: they tell a target without a metric from a target that is not there."""
ENDINGS = "(?:_bucket|_count|_sum|_total)?"
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$])")


def selector(source: PrometheusFrom, member: Member, families: Iterable[str]) -> str:
    """`{__name__=~"…",node="n1"}`: every series of `families` that belongs to the member."""
    named = "|".join(sorted(families))
    names = f"(?:{named}){ENDINGS}|{'|'.join(ALWAYS)}" if named else "|".join(ALWAYS)
    conditions = [f"__name__=~{_quoted(names)}"]
    conditions += [f"{label}={_quoted(_filled(text, member))}" for label, text in source.labels.items()]
    conditions += [
        f"{label}=~{_quoted(_filled(text, member, escaped=True))}" for label, text in source.patterns.items()
    ]
    return "{" + ",".join(conditions) + "}"


def ranged(selected: str, span: timedelta) -> str:
    """`selected` over the `span` before the moment of the query, at least a millisecond."""
    return f"{selected}[{max(1, round(span.total_seconds() * 1000))}ms]"


def _filled(text: str, member: Member, *, escaped: bool = False) -> str:
    node, component = member
    if escaped:  # RE2, whose special characters are fewer than those that Python's re.escape marks
        node, component = _SPECIAL.sub(r"\\\1", node), _SPECIAL.sub(r"\\\1", component)
    return text.replace(NODE, node).replace(COMPONENT, component)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
