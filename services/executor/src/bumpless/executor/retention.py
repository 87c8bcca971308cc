"""Which trees stay on a node beside those that run or may run again. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from bumpless.common.contract.base import Digest
from bumpless.common.model.release import Keep


def spared(
    arrived: Mapping[Digest, datetime], named: Collection[Digest], keep: Keep, now: datetime
) -> frozenset[Digest]:
    """The trees of `arrived` (when each came here) to keep for the policy, beside those `named`, which stay anyway.

    The newest first; which of two that came at once is the same every time.
    """
    oldest = now - timedelta(days=keep.days)
    others = [root for root, came in arrived.items() if root not in named and came >= oldest]
    others.sort(key=lambda root: (arrived[root], root), reverse=True)
    return frozenset(others[: keep.versions])
