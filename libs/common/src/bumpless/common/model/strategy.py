"""How the nodes of one component are cut into batches: what a person writes."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from bumpless.common.contract.base import StrictModel

Share = Annotated[int | str, Field(description="A count of nodes, or a share of them such as '25%'")]
_SHARE = re.compile(r"^(100|[1-9]?[0-9])%$")


def share_of(share: int | str, total: int) -> int:
    """How many of `total` nodes `share` means: at least 1 where there are any; a percentage rounds down."""
    count = share if isinstance(share, int) else total * int(share.rstrip("%")) // 100
    return min(total, max(1, count))


def _checked_share(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("expected a count such as 2 or a share such as '25%'")
    if isinstance(value, int) and value < 1:
        raise ValueError(f"expected at least 1, found {value}")
    if isinstance(value, str) and not _SHARE.match(value):
        raise ValueError(f"expected a count such as 2 or a share such as '25%', found {value!r}")
    return value


CheckedShare = Annotated[Share, BeforeValidator(_checked_share)]


class StrategyKind(StrEnum):
    ROLLING = "rolling"
    CANARY = "canary"


class Strategy(StrictModel):
    """How the nodes of one component are cut into batches.

    `rolling`: batches of `batch_size`. `canary`: first `canary` nodes, then batches of `batch_size`.
    `interval_s` is waited between two batches of the component. With `approval`, every batch but the first waits
    for a person.
    """

    kind: StrategyKind = StrategyKind.ROLLING
    canary: CheckedShare = 1
    batch_size: CheckedShare = 1
    interval_s: float = Field(default=0, ge=0)
    approval: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value
