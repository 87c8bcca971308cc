"""Every decoder under a fuzzer, for a few seconds; `make fuzz` runs longer, and FUZZ_SECONDS says how long."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))
SECONDS = int(os.environ.get("FUZZ_SECONDS", "5"))

pytestmark = pytest.mark.skipif(
    find_spec("atheris") is None, reason="atheris has no wheel for this Python or machine"
)


def test_every_target_has_seeds():
    assert sorted(path.name for path in (HERE / "corpus").iterdir()) == TARGETS


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("name", TARGETS)
def test_a_decoder_holds_under_a_fuzzer(name, tmp_path):
    done = subprocess.run(
        [sys.executable, HERE / f"fuzz_{name}.py", f"-max_total_time={SECONDS}", f"-artifact_prefix={tmp_path}/"],
        capture_output=True, text=True, check=False, env=os.environ | {"FUZZ_FOUND": str(tmp_path / "found")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    executed = next(line for line in done.stderr.splitlines() if "number_of_executed_units" in line)
    assert int(executed.split()[-1]) > 100
