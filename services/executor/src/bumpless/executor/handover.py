"""Whose state lies in a component's hand-over file, and putting aside what must not be taken over.

Reads the head only: whether the state is whole is found by the service that takes it (docs/service-contract.md).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

NAME = "handover"
STALE = "handover.stale"
MAX_HEAD = 4096


def admit(directory: Path, writers: Collection[str]) -> str | None:
    """Put the file in `directory` aside unless one of `writers` wrote it; None, or why it was put aside.

    Raises: OSError.
    """
    path = directory / NAME
    try:
        with path.open("rb") as file:
            head = file.readline(MAX_HEAD)
    except FileNotFoundError:
        return None
    writer = _writer(head)
    if writer in writers:
        return None
    path.replace(directory / STALE)
    found = f"that of {writer}, which is older" if writer else "a file that names no writer"
    return f"the state was not taken over: expected that of the last instance, found {found}; it is kept as {STALE}"


def _writer(head: bytes) -> str | None:
    try:
        found = json.loads(head)["instance"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None
