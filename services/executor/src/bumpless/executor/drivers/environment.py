"""What every instance finds in its environment, whatever runs it (docs/service-contract.md).

Sockets and the way to say READY=1 are not here: each driver hands them over in its own way.
"""

from __future__ import annotations

import os
import sys

from bumpless.executor.ports import Launch


def base() -> dict[str, str]:
    """What everything finds that is started for a product, also what is no instance."""
    search = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    return {
        # The executor's own interpreter first, so that `python3` is the one with the service's libraries.
        "PATH": f"{os.path.dirname(sys.executable)}:{search}",
        "HOME": os.environ.get("HOME", "/"),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        # A version's directory stays as it was verified.
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def environment(node: str, launch: Launch) -> dict[str, str]:
    """Names to values. What the contract promises wins over what the release sets."""
    target = launch.instance.target
    timing = target.run.timing
    standby = {"BUMPLESS_STANDBY": "1"} if launch.instance.standby else {}
    left = {"BUMPLESS_HANDOVER_FILE": str(launch.handover.resolve())} if launch.handover else {}
    return {
        **base(),
        **target.run.env,
        **standby,
        **left,
        "BUMPLESS_NODE": node,
        "BUMPLESS_COMPONENT": launch.component,
        "BUMPLESS_VERSION": target.version,
        "BUMPLESS_DIGEST": target.root,
        "BUMPLESS_RELEASE": target.release,
        "BUMPLESS_INSTANCE": launch.instance.id,
        "BUMPLESS_STATE_DIR": str(launch.state_dir.resolve()),
        "BUMPLESS_LAME_DUCK_MS": str(int(timing.lame_duck_s * 1000)),
        "BUMPLESS_DRAIN_TIMEOUT_MS": str(int(timing.drain_timeout_s * 1000)),
    }
