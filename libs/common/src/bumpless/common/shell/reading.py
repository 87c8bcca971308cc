"""Reading many messages at once: what cannot be read is left out, said once in the log, and stops nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import Message
from bumpless.common.shell.broker import Received
from bumpless.common.shell.log import get_logger

log = get_logger(__name__)
M = TypeVar("M", bound=Message)


def readable(items: Iterable[Received], kind: type[M]) -> list[M]:
    """The messages of `kind` among `items`, in their order."""
    return [message for item in items if isinstance(message := read(item), kind)]


def spoken(message: M, subject: str) -> M:
    """The message, if it came on its own subject: who may publish is decided by the subject, not by what a message says.

    Raises:
        Unreadable: it says that it is about somebody else.
    """
    if subjects.subject_of(message) != subject:
        raise wire.Unreadable(f"expected it on {subjects.subject_of(message)}, found it on {subject}")
    return message


def read(item: Received) -> Message | None:
    """The message, or None where it is none of this contract."""
    try:
        return spoken(wire.decode(item.data), item.subject)
    except wire.Unreadable as error:
        log.warning("left out", subject=item.subject, sequence=item.sequence, reason=str(error))
        return None
