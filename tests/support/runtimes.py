"""Programs of other languages that tests build or run; where one is absent the test skips and says which package."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
GO = REPOSITORY / "build" / "go"
SLOW_S = 170


def require(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: {package})")


def go(*arguments: str) -> None:
    """Runs the go tool in sdk/go, offline, with caches of its own. Raises: CalledProcessError, with its output shown."""
    require("go", "golang-go")
    env = {"GOCACHE": str(GO / "cache"), "GOPATH": str(GO / "path"), "GOPROXY": "off", "CGO_ENABLED": "0"}
    subprocess.run(
        ["go", *arguments],
        cwd=REPOSITORY / "sdk" / "go",
        env={**os.environ, **env, "GO111MODULE": "on"},
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=SLOW_S,
    )
