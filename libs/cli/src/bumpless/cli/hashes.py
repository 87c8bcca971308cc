"""Hashes of plans as people give them."""

from __future__ import annotations

import re

from bumpless.common.contract.base import PlanHash
from bumpless.common.errors import Refused

_HASH = re.compile(r"sha256:[0-9a-f]{64}")


def plan_hash(given: str) -> PlanHash:
    """Raises: Refused: it is no hash."""
    if _HASH.fullmatch(given) is None:
        raise Refused(
            "the hash of a plan: sha256: and 64 hex digits", repr(given), "copy it from `bumpless plan`"
        )
    return PlanHash(given)
