"""Whether the node is in service, as it was told last: kept on its disk, so that a drain outlives the executor.

The word is level-triggered: the highest number stands. A drain with an end is over when the node's clock says so.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from bumpless.common.contract.commands import SetAvailability
from bumpless.common.model.fleet import Drain
from bumpless.common.shell.log import get_logger
from bumpless.executor.durable import write_file

log = get_logger(__name__)


class Availability:
    """The word in the file at `path`. Without one the node is in service."""

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        self._path, self._now = path, now
        self._word: SetAvailability | None = None
        self.known = True
        """False: there is a file that cannot be read. Components stay as they are until the standing word is heard."""

    def load(self) -> None:
        """Read the last word."""
        try:
            self._word = SetAvailability.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            self._word = None
        except (OSError, ValidationError) as error:
            self.known = False
            log.error("whether the node is drained cannot be read", path=str(self._path), error=str(error))

    @property
    def number(self) -> int:
        """Of the last word; 0: there was none."""
        return 0 if self._word is None else self._word.sequence

    def take(self, word: SetAvailability) -> bool:
        """Let a higher word stand from now on; False: it is known, or a higher one is. Raises: OSError, nothing changed."""
        if word.sequence <= self.number:
            return False
        write_file(self._path, word.model_dump_json().encode())
        self._word, self.known = word, True
        return True

    @property
    def drain(self) -> Drain | None:
        """The drain that is in force now."""
        word = self._word
        if word is None or not word.drained or (word.until is not None and word.until <= self._now()):
            return None
        return Drain(by=word.by, reason=word.reason, since=word.since, until=word.until)

    @property
    def ends_in_s(self) -> float | None:
        """Seconds until the drain in force is over; None: nothing will end by itself."""
        drain = self.drain
        return None if drain is None or drain.until is None else (drain.until - self._now()).total_seconds()
