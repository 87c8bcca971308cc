"""Those who watch wait for those who work: this process gives way to others."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NICER = 19
"""About a seventieth of what a process of the usual priority gets, where both want all there is."""
AUTOGROUP = Path("/proc/self/autogroup")


def give_way() -> None:
    """Lower our priority, for good. Under a cgroup with a CPU weight of its own it is that weight that counts."""
    with contextlib.suppress(PermissionError):  # a unit that refuses it has set it already
        os.nice(NICER)
    # Linux may share processors among sessions first: then `nice` is compared within our session, and the session has one
    # of its own. It is lowered where the session is ours alone, not that of the shell we were started from.
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            AUTOGROUP.write_text(str(NICER))
