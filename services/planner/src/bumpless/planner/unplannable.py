"""Why there is no plan."""

from __future__ import annotations


class Unplannable(Exception):
    """The release cannot run on this fleet; `reasons` names everything found."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(reasons))
