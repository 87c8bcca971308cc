"""Those who watch wait for those who work: this process gives way to others."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NICER = 19
"""About a seventieth of what a process of the usual priority gets, where both want all there is."""
AUTOGROUP = Path("/proc/self/autogroup")


def give_way() -> None:
    """Take the processor only while nobody else of our session wants it, for good.

    Beside the share it is the moment that counts: a process of a lower `nice` that wakes up waits for the turn of one of
    a higher to end, milliseconds, again and again. Under a cgroup of its own (a unit, a container) it is that one's weight
    that counts.
    """
    with contextlib.suppress(PermissionError):  # a unit that refuses it has set it already
        os.nice(NICER)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # Linux may share processors among sessions first: then all this is compared within our session, and the session has a
    # `nice` of its own. It is lowered where the session is ours alone, not that of the shell we were started from.
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            AUTOGROUP.write_text(str(NICER))
