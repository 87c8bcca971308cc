"""Steers `hooked_probe.py`: ready, check, drain, left, resume or metrics. Imports little, because it is run often."""

from __future__ import annotations

import hashlib
import os
import socket
import sys

SCOPE = hashlib.sha256(os.environ.get("BUMPLESS_STATE_DIR", "").encode()).hexdigest()[:16]
CONTROL = f"\0hooked-probe/{SCOPE}/{os.environ.get('BUMPLESS_INSTANCE', '')}"
COMMANDS = ("ready", "check", "drain", "left", "resume", "metrics")


def hooks() -> dict[str, object]:
    """The probe's `run.switch_hooks`."""
    return {name: {"argv": ("python3", "-S", __file__, name), "timeout_s": 30} for name in COMMANDS}


def ask(what: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(CONTROL)
        sock.sendall(what.encode() + b"\n")
        said = sock.makefile().read()
    if said == "no":
        sys.exit("not yet")
    if what in ("left", "metrics") and said:
        print(said)


if __name__ == "__main__":
    ask(sys.argv[1])
