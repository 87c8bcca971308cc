"""The units of deploy/systemd are those of the table, and confined as far as is promised."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bumpless.cli.units import EXPOSURE_MOST, units
from support.snapshots import Snapshots

FOLDER = Path(__file__).resolve().parents[2] / "deploy/systemd"


@pytest.mark.parametrize("name", sorted(units()))
def test_the_stored_unit_is_that_of_the_table(name: str, snapshots: Snapshots) -> None:
    snapshots.check(f"deploy/systemd/{name}", units()[name])


def test_no_other_unit_is_stored() -> None:
    assert {path.name for path in FOLDER.glob("*.service")} == units().keys()


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze: apt-get install systemd"
)
@pytest.mark.parametrize("name", sorted(units()))
def test_no_unit_is_exposed_more_than_is_promised(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(units()[name])
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(tmp_path / name)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", run.stdout)
    assert found is not None, run.stdout + run.stderr
    assert float(found[1]) <= EXPOSURE_MOST
