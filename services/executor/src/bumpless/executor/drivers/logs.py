"""What instances write, within bounds. They write to the file themselves, so no reader's death can stop them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

LIMIT = 8 << 20
"""Bytes per instance; beyond it the older half goes."""
KEPT_FILES = 10
"""Logs of past instances per component."""
TAIL_BYTES = 4096
TAIL_LINES = 12
_CUTTING = threading.Lock()
"""Whoever reads the end of a log must not meet it while it is cut."""


def tail(path: Path) -> str:
    """The last lines, for a reason that a person reads; empty if nothing was written."""
    try:
        with _CUTTING, open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            data = file.read(TAIL_BYTES)
    except OSError:
        return ""
    lines = [line.rstrip() for line in data.decode(errors="replace").splitlines() if line.strip()]
    return "\n".join(lines[-TAIL_LINES:])


def too_large(path: Path) -> bool:
    """Raises: OSError."""
    return path.stat().st_size > LIMIT


def trim(path: Path) -> None:
    """Cut a log that has grown beyond its limit to its later half. Lines written meanwhile may be lost."""
    try:
        # Appending, like the writer: whatever it writes between the two calls stays whole.
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        with _CUTTING:
            size = os.fstat(fd).st_size
            if size > LIMIT:
                kept = os.pread(fd, LIMIT // 2, size - LIMIT // 2)
                os.ftruncate(fd, 0)
                os.write(fd, kept)
    finally:
        os.close(fd)


def forget_old(directory: Path, alive: set[str]) -> None:
    """Remove the logs of all but the latest past instances."""
    past = [p for p in directory.glob("*.log") if p.stem not in alive]
    past.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    for path in past[KEPT_FILES:]:
        path.unlink(missing_ok=True)
