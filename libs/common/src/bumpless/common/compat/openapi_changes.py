"""What a comparison of OpenAPI documents says: changes, and how much each of them weighs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Weight(StrEnum):
    """`breaking`: some old client fails. `warning`: one may. `info`: none does."""

    BREAKING = "breaking"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Change:
    """`removed`: something went; `unannounced`: and the old document did not call it deprecated.

    `deprecated`: only the new document calls it so.
    """

    weight: Weight
    where: str
    text: str
    unannounced: bool = False
    removed: bool = False
    deprecated: bool = False

    def __str__(self) -> str:
        return f"{self.weight} {self.where}: {self.text}"


def breaks(where: str, text: str) -> Change:
    return Change(Weight.BREAKING, where, text)


def gone(weight: Weight, where: str, text: str, was: Mapping[str, Any]) -> Change:
    """`was`: what the old document had there."""
    if was.get("deprecated") is True:
        return Change(weight, where, text, removed=True)
    what, colon, why = text.partition(":")
    more = " without having been deprecated" if what == "removed" else "; it was not deprecated before"
    return Change(weight, where, f"{what}{more}{colon}{why}", unannounced=True, removed=True)


def now_deprecated(where: str) -> Change:
    return Change(Weight.WARNING, where, "now deprecated", deprecated=True)


def unheeded(
    where: str, old: Mapping[str, Any], new: Mapping[str, Any], known: Iterable[str]
) -> Iterator[Change]:
    """Words that differ and that the comparison knows nothing about."""
    for word in sorted((old.keys() | new.keys()) - set(known)):
        if old.get(word) != new.get(word):
            weight = Weight.INFO if word.startswith("x-") else Weight.WARNING
            yield Change(weight, where, f"{word} differs, which is not compared")
