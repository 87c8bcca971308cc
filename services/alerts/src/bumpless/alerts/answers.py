"""What rules answer."""

from __future__ import annotations

from dataclasses import dataclass

from bumpless.alerts.samples import Group


@dataclass(frozen=True)
class Answer:
    """A rule's answer for one group; `detail` is a sentence with the numbers."""

    holds: bool | None
    value: float | None = None
    detail: str = ""


Answers = dict[Group, Answer]
