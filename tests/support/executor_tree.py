"""Trees of executors for tests: our own packages only (the rest comes from the environment), with faults on order.

A node's file `fault` in its data directory says what the executor of one version does there: `VERSION POINT`. It
strikes once where the point is a kill, and every time where the version is broken. `any NUMBER` is a kill before that
call, of any version, by which the disk is changed or flushed, counted from the order.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bumpless.common.errors
import bumpless.executor

KILLS = ("before-exchange", "after-exchange", "after-exec", "before-confirm", "after-confirm")
BROKEN = ("exits", "hangs", "raises")

_APP = '''
"""The executor, with the fault that the test ordered for this node and version."""

import os
import signal
import sys
import time
from pathlib import Path

VERSION = "@VERSION@"
ORDER = Path(os.environ["BUMPLESS_EXECUTOR_DATA_DIR"]) / "fault"


def ordered():
    version, _, point = ORDER.read_text().partition(" ") if ORDER.exists() else ("", "", "")
    return point if version == VERSION and "--check" not in sys.argv else ""


def strike(point):
    if ordered() == point:
        ORDER.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def counted(call):
    def performed(*given, **named):
        version, _, left = ORDER.read_text().partition(" ") if ORDER.exists() else ("", "", "")
        if version == "any" and "--check" not in sys.argv:
            if left == "1":
                ORDER.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            ORDER.write_text(f"any {int(left) - 1}")
        return call(*given, **named)

    return performed


for name in ("fsync", "replace", "rename", "symlink"):
    setattr(os, name, counted(getattr(os, name)))

if ordered() == "raises":
    raise RuntimeError("a fault of this version, at import")
if ordered() == "exits":
    sys.exit("a fault of this version, at its start")
if ordered() == "hangs":
    print("a fault of this version: it hangs", file=sys.stderr, flush=True)
    signal.setitimer(signal.ITIMER_REAL, 1)  # the alarm is set already; this test has no time to wait for it
    time.sleep(600)
strike("after-exec")

from bumpless.executor import durable, layout

durable.exchange = layout.exchange = counted(durable.exchange)

from bumpless.executor import real_app
from bumpless.executor.launch import Launch
from bumpless.executor.layout import Layout

point, confirm = Layout.point, Launch.confirm


def struck_point(self, current, previous):
    mine = self.home.name == "executor"
    if mine and self.current() != current:
        strike("before-exchange")
    point(self, current, previous)
    if mine:
        strike("after-exchange")


async def struck_confirm(self):
    strike("before-confirm")
    await confirm(self)
    strike("after-confirm")


Layout.point, Launch.confirm = struck_point, struck_confirm
real_app.main()
'''


def write_executor_tree(folder: Path, version: str) -> Path:
    """The tree of one version of the executor, below `folder`."""
    out = folder / f"executor-{version}"
    ours = out / "site" / "bumpless"
    for package in (bumpless.executor, bumpless.common.errors):
        source = Path(package.__file__ or "").resolve().parent
        shutil.copytree(source, ours / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    (ours / "executor" / "app.py").rename(ours / "executor" / "real_app.py")
    (ours / "executor" / "app.py").write_text(_APP.replace("@VERSION@", version))
    return out


def write_executor_release(folder: Path, version: str, ready_timeout_s: float, **more: Any) -> Path:
    """The release file of this version of the executor on every node, with its tree beside it."""
    run = {"driver": "executor", "timing": {"ready_timeout_s": ready_timeout_s, "soak_s": 0, "warm_s": 0}}
    tree = write_executor_tree(folder / "trees", version)
    body = {
        "product": "node",
        "version": version,
        "components": [{"name": "executor", "artifact": str(tree), "run": run}],
        **more,
    }
    path = folder / f"node-{version}.yaml"
    path.write_text(json.dumps(body, indent=1))  # JSON is YAML
    return path


def order_fault(node_dir: Path, version: str, point: str) -> None:
    (node_dir / "fault").write_text(f"{version} {point}")


def executor_starts(path: Path) -> Sequence[int]:
    """The pids that `keep_running` started, in order."""
    return [int(line) for line in path.read_text().split()]
