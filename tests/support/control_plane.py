"""The control plane as a release for tests: trees of its services from any checkout, put into deploy/release/bumpless.yaml."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from bumpless.cli import embedded
from support.fleet_lab import Lab

ROOT = Path(__file__).resolve().parents[2]
RELEASE = ROOT / "deploy/release/bumpless.yaml"
TURN = "libs/common/src/bumpless/common/shell/turn.py"
"""Services of a commit that has it can be components."""
LISTEN = {"alerts": "WEBHOOK_PORT", "events": "WEBHOOK_PORT", "dashboard": "PORT"}
"""The setting that has the port of a service's one listener."""


def previous_commit() -> str | None:
    """The newest commit before this one whose services can be components; None: there is no history to look at."""
    found = _git("rev-list", "--max-count=200", "HEAD~1")
    commits = found.decode().split() if found is not None else []
    return next(
        (commit for commit in commits if _git("cat-file", "-e", f"{commit}:{TURN}") is not None), None
    )


def export(commit: str, folder: Path) -> Path:
    """The sources of a commit, below `folder`."""
    packed = _git("archive", "--format=tar", commit, "libs", "services")
    assert packed is not None, f"git cannot export {commit}"
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def _git(*words: str) -> bytes | None:
    """What git says; None: it fails, or there is no git."""
    try:
        run = subprocess.run(("git", *words), cwd=ROOT, capture_output=True, check=False)
    except OSError:
        return None
    return run.stdout if run.returncode == 0 else None


def write_tree(out: Path, name: str, sources: Path) -> Path:
    """The tree of one service: our own packages only, the rest comes from the environment."""
    module = name.replace("-", "_")
    ours = out / "site" / "bumpless"
    for package in ("libs/common", "libs/service", f"services/{name}"):
        last = module if package.startswith("services/") else package.partition("/")[2]
        source = sources / package / "src" / "bumpless" / last
        shutil.copytree(source, ours / last, ignore=shutil.ignore_patterns("__pycache__"))
    return out


def broken(out: Path, name: str) -> None:
    """This tree's service ends as soon as it is started."""
    app = out / "site" / "bumpless" / name.replace("-", "_") / "app.py"
    app.write_text('import sys\n\nsys.exit("a fault of this version, at its start")\n')


def write_control_release(
    lab: Lab,
    node: str,
    version: str,
    sources: Path,
    only: Sequence[str] = (),
    faulty: Sequence[str] = (),
) -> Path:
    """The release file of deploy/, with the addresses and keys of this lab: every service (or `only` some), on `node`."""
    folder = lab.home.path / f"control-{version}"
    body: dict[str, Any] = YAML(typ="safe").load(RELEASE.read_text())
    body["version"] = version
    components: dict[str, Any] = body["components"]
    body["components"] = {name: components[name] for name in only or components}
    for name, component in body["components"].items():
        tree = write_tree(folder / name, name, sources)
        if name in faulty:
            broken(tree, name)
        component["artifact"] = str(tree)
        component["depends_on"] = [
            one for one in component.get("depends_on", []) if one in body["components"]
        ]
        component["place"] = {"nodes": [node]}
        run = component["run"]
        given = _settings(lab, name)
        unknown = run["env"].keys() - given.keys() - {"PYTHONPATH"}
        assert not unknown, f"expected {RELEASE.name} to set what the service knows, found {unknown}"
        run["env"] = {"PYTHONPATH": "site", **given}
        run["timing"] = {
            "ready_timeout_s": 60,
            "soak_s": 0,
            "lame_duck_s": 0.5,
            "drain_timeout_s": 30,
            "warm_s": 1,
        }
        if "listen" in run:
            port = given[f"BUMPLESS_{name.upper()}_{LISTEN[name]}"]
            run["listen"] = dict.fromkeys(run["listen"], f"tcp://127.0.0.1:{port}")
    path = folder / "bumpless.json"
    path.write_text(json.dumps(body))  # JSON is YAML
    return path


def _settings(lab: Lab, name: str) -> dict[str, str]:
    if name == embedded.DASHBOARD:
        part = embedded.dashboard_part(lab.home, embedded.layout(lab.home, []))
    else:
        part = lab.part(name)
    return {key: value for key, value in part.env.items() if not key.endswith("_OPS_PORT")}
