"""The tests that the SDKs bring with them, in their own language."""

from __future__ import annotations

import subprocess

import pytest

from support.runtimes import REPOSITORY, SLOW_S, go, require


@pytest.mark.timeout(SLOW_S + 10)
def test_node() -> None:
    require("node", "nodejs")
    subprocess.run(
        ["node", "--test", "test/"],
        cwd=REPOSITORY / "sdk" / "node",
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=SLOW_S,
    )


@pytest.mark.timeout(SLOW_S + 10)
def test_go() -> None:
    go("test", "-count=1", ".")
