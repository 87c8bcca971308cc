"""Trees for tests: a dict of path to content, on disk and back."""

from __future__ import annotations

import os
import random
from pathlib import Path

DIRECTORY = object()


def link(target: str) -> tuple[str, str]:
    return ("link", target)


def executable(content: bytes) -> tuple[str, bytes]:
    return ("executable", content)


def write_tree(root: Path, spec: dict) -> Path:
    """bytes is a file, `executable(bytes)` and `link(target)` what they say, DIRECTORY an empty directory."""
    root.mkdir(parents=True)
    for path, value in spec.items():
        target = root / path
        if value is DIRECTORY:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(value, bytes):
            target.write_bytes(value)
            target.chmod(0o644)
        elif value[0] == "link":
            target.symlink_to(value[1])
        else:
            target.write_bytes(value[1])
            target.chmod(0o755)
    return root


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def listing(root: Path) -> list[str]:
    return sorted(os.path.relpath(os.path.join(d, n), root) for d, ds, fs in os.walk(root) for n in ds + fs)


OLD = {
    "bin/app": executable(noise(1, 60_000) + b"v1" + noise(2, 60_000)),
    "lib/app-1.0/core.py": b"def f():\n    return 1\n" * 400,
    "lib/app-1.0/same.py": b"unchanged\n" * 100,
    "lib/app-1.0/blob-0a1b2c3d.dat": noise(3, 9_000),
    "etc/app.conf": b"port = 1\n",
    "etc/mode.sh": b"#!/bin/sh\n",
    "data/gone.txt": b"gone",
    "data/empty": b"",
    "current": link("lib/app-1.0"),
    "cache": DIRECTORY,
}
NEW = {
    "bin/app": executable(noise(1, 60_000) + b"version 2" + noise(2, 60_000)),
    "lib/app-1.1/core.py": b"def f():\n    return 1\n" * 399 + b"def g(): ...\n",
    "lib/app-1.1/same.py": b"unchanged\n" * 100,
    "lib/app-1.1/blob-99887766.dat": noise(3, 9_000) + b"tail",
    "lib/app-1.1/fresh.py": b"fresh = True\n" * 30,
    "etc/app.conf": b"port = 2\n",
    "etc/mode.sh": executable(b"#!/bin/sh\n"),
    "data/empty": b"",
    "data/also-empty": b"",
    "current": link("lib/app-1.1"),
    "bin/link": link("../current/core.py"),
    "gone-dir-becomes": DIRECTORY,
}
