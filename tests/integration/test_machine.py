"""A machine that gets all of Bumpless by `bumpless node install`, has it upgraded, and is rebooted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from support import booted
from support.machine_life import NAMES

LIMIT_S = 400


@pytest.mark.timeout(LIMIT_S + 60)
def test_installed_upgraded_rebooted(tmp_path: Path) -> None:
    if reason := booted.lacking():
        pytest.skip(reason)
    try:
        outcome = booted.run(
            [sys.executable, "-m", "support.machine_life", str(booted.SHARED)],
            shared=tmp_path,
            timeout_s=LIMIT_S,
            env={"PYTHONPATH": "tests", "PYTHONDONTWRITEBYTECODE": "1"},
        )
    except booted.CannotBootError as error:
        pytest.skip(str(error))
    assert outcome.status == 0, outcome.output[-8000:]
    active = dict.fromkeys(NAMES, "active")
    answers = "HTTP/1.1 200 OK"
    assert json.loads((tmp_path / "seen.json").read_text()) == {
        "installed": active,
        "answered": answers,
        "upgraded": active,
        "another executor": True,
        "services went on": True,
        "answered after the upgrade": answers,
        "answered after the reboot": answers,
        "runs": ["v2"],
        "answered at the end": answers,
    }
