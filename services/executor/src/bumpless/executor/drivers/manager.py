"""The descriptors that the service manager kept for this executor: sd_listen_fds(3).

A stored listening socket outlives the executor and the services together, with the connections that wait in it.
"""

from __future__ import annotations

import os

FIRST_FD = 3


def stored_descriptors() -> list[tuple[str, int]]:
    """(name, descriptor) of everything the manager gave this process, taken out of the environment."""
    meant_for, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    names = os.environ.pop("LISTEN_FDNAMES", "")
    if meant_for != str(os.getpid()) or not count.isdigit():
        return []
    named = names.split(":") if names else []
    return [(named[at] if at < len(named) else "", FIRST_FD + at) for at in range(int(count))]
