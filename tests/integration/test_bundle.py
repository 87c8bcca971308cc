"""The bundle for sites without a network: made, carried over, installed with nothing else, and installed again."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"
LIMIT_S = 280
pytestmark = pytest.mark.timeout(LIMIT_S + 20)


def run(*command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Without pip's configuration, which says where to fetch from."""
    given = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    return subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env={**given, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )


def fetched() -> bool:
    """Whether the wheels of just these requirements are in build/wheels."""
    mark = ROOT / "build" / "wheels.mark"
    if not (mark.exists() and Path(PYTHON).exists()):
        return False
    version = subprocess.run([PYTHON, "--version"], capture_output=True, text=True, check=True).stdout
    digest = hashlib.sha256((ROOT / "requirements" / "runtime.txt").read_bytes()).hexdigest()
    return mark.read_text().split() == [*version.split(), digest, "-"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that a site unpacks."""
    if not fetched():
        pytest.skip(
            "needs the wheels of requirements/runtime.txt in build/wheels: `make images` or `make bundle`"
        )
    made = run("deploy/bundle.sh")
    assert made.returncode == 0, made.stdout + made.stderr
    file = ROOT / made.stdout.split(": sha256 ")[0]
    assert made.stdout.split()[-1] == hashlib.sha256(file.read_bytes()).hexdigest()
    site = tmp_path_factory.mktemp("site")
    with tarfile.open(file) as packed:
        packed.extractall(site, filter="fully_trusted")
    (folder,) = site.iterdir()
    yield folder
    file.unlink()


def install(bundle: Path, prefix: Path) -> subprocess.CompletedProcess[str]:
    """With an index that nobody answers for, should anything ask for one."""
    return run(bundle / "install.sh", prefix, PYTHON=PYTHON, PIP_INDEX_URL="http://127.0.0.1:9/")


def test_a_bundle_installs_and_installs_again(bundle: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "bumpless"
    first = install(bundle, prefix)
    assert first.returncode == 0, first.stdout + first.stderr
    version = (bundle / "VERSION").read_text().strip()
    assert prefix.readlink() == tmp_path / f"bumpless-{version}"
    for command in (("bin/bumpless", "--help"), ("bin/nats-server", "--version")):
        ran = run(prefix / command[0], *command[1:])
        assert ran.returncode == 0, ran.stderr
    for service in ("planner", "health_gate", "rollback", "alerts", "events", "dashboard", "executor"):
        ran = run(prefix / "bin/python", "-c", f"import bumpless.{service}.app")
        assert ran.returncode == 0, ran.stderr
    again = install(bundle, prefix)
    assert again.returncode == 0
    assert "is there already" in again.stdout


def test_a_damaged_bundle_installs_nothing(bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    wheel = sorted((damaged / "wheels").iterdir())[0]
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"x")
    ran = install(damaged, tmp_path / "bumpless")
    assert ran.returncode == 1
    assert "expected the files of SHA256SUMS" in ran.stderr
    assert not (tmp_path / "bumpless").is_symlink()


def test_another_python_is_refused(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    (other / "PYTHON").write_text("2.7\n")
    sums = "".join(
        line
        for line in (other / "SHA256SUMS").read_text().splitlines(keepends=True)
        if not line.endswith("./PYTHON\n")
    )
    (other / "SHA256SUMS").write_text(sums)
    ran = install(other, tmp_path / "bumpless")
    assert ran.returncode == 1
    assert "expected Python 2.7" in ran.stderr
