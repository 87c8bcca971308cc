"""The suites that talk to a broker and a store, once more against the servers of the images."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SUITES = (
    "contract/test_store_conformance.py",
    "unit/shell/test_broker.py",
    "unit/shell/test_consume.py",
    "unit/shell/test_state.py",
    "unit/shell/test_topology.py",
    "integration/test_broker_rights.py",
    "integration/test_watch_lost_progress.py",
)


@pytest.mark.timeout(900)
def test_the_suites_pass_in_containers() -> None:
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *(str(TESTS / suite) for suite in SUITES)]
    env = {**os.environ, "TEST_SERVERS": "containers"}
    ended = subprocess.run(
        [sys.executable, *words], cwd=TESTS.parent, env=env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    assert "skipped" not in ended.stdout.splitlines()[-1], ended.stdout[-2000:]
