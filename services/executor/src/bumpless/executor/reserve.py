"""Room on the disk that is given up, piece by piece, so that journals can be written when somebody else has filled it.

Whoever fills the disk may take a piece as well. So one piece is much more than a journal, and there are several.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

PIECES = 8
PIECE_BYTES = 512 << 10


class Reserve:
    """`directory` is for this alone, on the file system of the journals."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def fill(self) -> None:
        """Make what is missing, while there is room. It need not survive a power cut."""
        with contextlib.suppress(OSError):
            self._directory.mkdir(exist_ok=True, mode=0o700)
            for number in range(PIECES):
                self._make(self._directory / str(number))

    def release(self) -> bool:
        """Give one piece back to the disk; False: there is none left."""
        with contextlib.suppress(OSError):
            for piece in self._directory.iterdir():
                piece.unlink()
                return True
        return False

    def _make(self, piece: Path) -> None:
        if piece.exists():
            return
        fd = os.open(piece, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, PIECE_BYTES)
        except OSError:
            piece.unlink()
            raise
        finally:
            os.close(fd)
