"""A product small enough to be upgraded in seconds: `front` answers clients and asks `core`, its own node's first.

Versions of `core` are good or bad in one of several ways. Every process writes down that it was started, so that a
test can tell how often a node started a version. Trees carry their own copy of the service helper.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from bumpless import service

Mode = Literal["good", "errors", "never-ready", "dies", "crashes"]
"""How a version of `core` is: `dies` soon after it was ready, `crashes` after it has taken over."""

PORTS = {"core": 7201, "front": 7202}
STARTED = "started.log"
PADDING_BYTES = 64 << 10
"""The same in every version, so that a delta is worth its while."""

TIMING = {"ready_timeout_s": 15, "soak_s": 0.1, "lame_duck_s": 0.5, "drain_timeout_s": 5, "warm_s": 20}
GATE: dict[str, Any] = {
    "interval_s": 0.3,
    "warm_up_s": 0.3,
    "window_s": 1.5,
    "timeout_s": 60,
    "min_samples": 20,
    "baseline": {"mode": "concurrent", "history_s": 30},
    "rules": [
        {"rule": "error_rate", "max_ratio": 3, "floor": 0.05},
        {"rule": "version", "within_s": 1},
        {"rule": "restarts", "max_restarts": 0},
    ],
}
PATIENT_GATE = {**GATE, "window_s": 300, "timeout_s": 600}
"""Bakes until a person decides."""

_MAIN = """
import sys
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "vendor"))
import app

app.service.run()
"""

_CORE = """
import asyncio
import os
from pathlib import Path

from bumpless.service import Request, Response, Service

MODE = (Path(__file__).resolve().parent / "MODE").read_text()
service = Service("core")
told = service.contract
with open(told.state_dir / "started.log", "a") as log:
    log.write(f"{told.version} {told.instance} {os.getpid()}\\n")
asked = 0


@service.on_ready
async def warm_up() -> None:
    if MODE == "never-ready":
        await asyncio.Event().wait()


async def die() -> None:
    await asyncio.sleep(0.05 if MODE == "dies" else 1.0)
    os._exit(3)


if MODE in ("dies", "crashes"):
    service.background(die)


async def handle(request: Request) -> Response:
    global asked
    if request.target == "/metrics":
        return Response(200, service.metrics.expose(), "text/plain; version=0.0.4")
    asked += 1
    if MODE == "errors" and asked % 2:
        return Response.json({"error": "a fault of this version"}, 500)
    status = 201 if request.method == "POST" else 200
    return Response.json({"version": service.version, "node": told.node, "pid": os.getpid()}, status)


service.http(default="127.0.0.1:7201", handler=handle)
"""

_FRONT = """
import os

from bumpless.service import Client, Request, RequestFailed, Response, Service, Upstream

service = Service("front")
told = service.contract
with open(told.state_dir / "started.log", "a") as log:
    log.write(f"{told.version} {told.instance} {os.getpid()}\\n")
client = Client(timeout_s=3.0, connect_timeout_s=1.0)
core: list[Upstream] = []


@service.on_ready
async def find_core() -> None:
    core.append(Upstream.parse(client, os.environ["CORE"], prefer_host=service.addresses()[0][0]))


async def handle(request: Request) -> Response:
    try:
        reply = await core[0].request(request.method, request.target, body=request.body)
    except RequestFailed as error:
        return Response.json({"error": str(error)}, 502)
    return Response(reply.status, reply.body, "application/json", {"X-Front": service.version})


service.http(default="127.0.0.1:7202", handler=handle)
"""

_SOURCES = {"core": _CORE, "front": _FRONT}


def write_tree(folder: Path, component: str, version: str, mode: Mode = "good") -> Path:
    """The tree of one version of one component, below `folder`."""
    out = folder / f"{component}-{version}"
    if out.exists():
        return out
    out.mkdir(parents=True)
    (out / "main.py").write_text(_MAIN)
    (out / "app.py").write_text(_SOURCES[component])
    (out / "MODE").write_text(mode)
    (out / "VERSION").write_text(f"{version}\n")
    blocks = (hashlib.sha256(b"%d" % number).digest() for number in range(PADDING_BYTES // 32))
    (out / "padding.bin").write_bytes(b"".join(blocks))
    helper = Path(service.__file__).resolve().parent
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(helper, out / "vendor" / "bumpless" / "service", ignore=ignored)
    return out


def write_release(
    folder: Path,
    version: str,
    *,
    core: str,
    front: str | None = "f1",
    mode: Mode = "good",
    gate: Mapping[str, Any] | None = GATE,
    product: str = "tiny",
    nodes: Sequence[str] = (),
    timing: Mapping[str, float] | None = None,
    how: Mapping[str, Any] | None = None,
    **more: Any,
) -> Path:
    """The release file, with its trees beside it. `core` and `front` are the components' versions; `gate` judges core.

    Of several nodes, core takes one as its canary and then the others, unless `more` names a strategy. `front` has no
    gate and one batch. `how` is added to how instances are run.
    """
    place = {"place": {"nodes": list(nodes)}} if nodes else {}
    limits = {**TIMING, **(timing or {})}

    def component(name: str, tree: Path, version: str, **extra: Any) -> dict[str, Any]:
        run = {
            "command": ["python3", "main.py"],
            "listen": {"http": f"tcp://{{node.address}}:{PORTS[name]}"},
            "metrics_interval_s": 0.3,
            "timing": limits,
            "env": extra.pop("env", {}),
            **(how or {}),
        }
        return {"name": name, "version": version, "artifact": str(tree), "run": run, **place, **extra}

    judged: dict[str, Any] = {} if gate is None else {"gate": dict(gate)}
    if gate is not None and "strategy" not in more:
        judged["strategy"] = {"kind": "canary", "batch_size": 8}
    components = [component("core", write_tree(folder / "trees", "core", core, mode), core, **judged)]
    if front is not None:
        tree = write_tree(folder / "trees", "front", front)
        asks = {"env": {"CORE": "{peers.core}"}, "depends_on": ["core"]}
        components.append(component("front", tree, front, **asks))
    body = {
        "product": product,
        "version": version,
        "strategy": {"kind": "rolling", "batch_size": 8},
        "components": components,
        **more,
    }
    path = folder / f"{product}-{version}.yaml"
    path.write_text(json.dumps(body, indent=1))  # JSON is YAML
    return path


def starts(node_dir: Path, component: str) -> list[tuple[str, str, int]]:
    """(version, instance, pid) of every process of the component that this node ever started, in order."""
    lines = (node_dir / "components" / component / "state" / STARTED).read_text().splitlines()
    return [(version, instance, int(pid)) for version, instance, pid in (line.split() for line in lines)]
