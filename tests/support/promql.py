"""What a PromQL expression asks for: metrics, and the labels it selects or groups by."""

from __future__ import annotations

import re
from dataclasses import dataclass

_STRING = r'"(?:[^"\\]|\\.)*"'
_SELECTOR = re.compile(rf"([a-zA-Z_:][\w:]*)\s*\{{((?:[^}}\"]|{_STRING})*)\}}")
_MATCHER = re.compile(rf"(\w+)\s*(?:=~|!~|!=|=)\s*({_STRING})")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_METRIC = re.compile(r"\b(?:bumpless_\w+|up)\b")


@dataclass(frozen=True)
class Asked:
    """`metrics` with the labels selected of each; `grouped` are the labels that results are grouped or joined by."""

    metrics: dict[str, frozenset[str]]
    grouped: frozenset[str]


def asked(expression: str) -> Asked:
    selected: dict[str, set[str]] = {}
    for metric, matchers in _SELECTOR.findall(expression):
        selected.setdefault(metric, set()).update(name for name, _ in _MATCHER.findall(matchers))
    bare = re.sub(_STRING, '""', expression)
    for metric in _METRIC.findall(bare):
        selected.setdefault(metric, set())
    grouped = {name.strip() for names in _GROUPING.findall(bare) for name in names.split(",") if name.strip()}
    return Asked({name: frozenset(labels) for name, labels in selected.items()}, frozenset(grouped))
