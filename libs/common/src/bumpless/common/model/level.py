"""What one version may expect of another, as two booleans.

backward: the new one reads what the old one wrote. forward: the old one reads what the new one wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Level(StrEnum):
    """`full` is both, `none` is neither."""

    FULL = "full"
    BACKWARD = "backward"
    FORWARD = "forward"
    NONE = "none"

    @property
    def backward(self) -> bool:
        return self in (Level.FULL, Level.BACKWARD)

    @property
    def forward(self) -> bool:
        return self in (Level.FULL, Level.FORWARD)

    @classmethod
    def of(cls, *, backward: bool, forward: bool) -> Level:
        match backward, forward:
            case True, True:
                return cls.FULL
            case True, False:
                return cls.BACKWARD
            case False, True:
                return cls.FORWARD
            case _:
                return cls.NONE

    @property
    def reversed(self) -> Level:
        """The level of the way back: what was the old one is the new one then."""
        return Level.of(backward=self.forward, forward=self.backward)

    @property
    def mixes(self) -> bool:
        """Whether instances of both versions may run side by side, if the order of `order` is kept."""
        return self is not Level.NONE

    @property
    def order(self) -> str:
        """Who goes first in a rolling upgrade."""
        return {
            Level.FULL: "any order",
            Level.BACKWARD: "readers first",
            Level.FORWARD: "writers first",
            Level.NONE: "never side by side: through another version, or by a second set",
        }[self]

    @property
    def way_back(self) -> str:
        """What going back costs."""
        return {
            Level.FULL: "free",
            Level.BACKWARD: "free until data of the new format is written",
            Level.FORWARD: "free",
            Level.NONE: "by a second set or a reverse copy",
        }[self]


def weakest(levels: Iterable[Level]) -> Level:
    """What holds over all of `levels`. Not assumed of stored data: that is brought forward hop by hop."""
    backward = forward = True
    for level in levels:
        backward, forward = backward and level.backward, forward and level.forward
    return Level.of(backward=backward, forward=forward)
