"""A lab in which a service can be told where to kill itself, and cut off from its servers."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, Self

from bumpless.cli.embedded import Part
from support.crash_points import Armed
from support.fleet_lab import Lab
from support.tcp_proxy import Link, Proxies

Server = Literal["nats", "redis"]
SERVICES = ("planner", "rollback", "health-gate", "alerts", "events", "node-1")
"""What can be armed."""
LINKED: dict[str, tuple[Server, ...]] = {
    "planner": ("nats", "redis"),
    "rollback": ("nats", "redis"),
    "health-gate": ("nats", "redis"),
    "node-1": ("nats",),
}
"""What reaches its servers through a proxy of its own."""
ALERT = {"alertname": "OrdersLost", "product": "tiny", "severity": "critical"}
"""An alert that takes the product's rollouts back."""
ALERTS_FILE = {
    "built_in": False,
    "actions": [{"name": "back", "match": 'alertname="OrdersLost"', "do": "rollback"}],
}
SCRIPT = Path(__file__).resolve().with_name("crash_points.py")


class CrashLab(Lab):
    """Every service of `SERVICES` can be armed (see `crash_points`); links of `LINKED` can be hurt (see `tcp_proxy`)."""

    def __init__(self, nodes: int) -> None:
        super().__init__(nodes, events=True)

    def __enter__(self) -> Self:
        self._proxies = Proxies()
        self._links: dict[tuple[str, Server], Link] = {}
        self._direct: dict[str, Part] = {}
        self._proxies.__enter__()
        self.home.alerts.write_text(json.dumps(ALERTS_FILE))
        try:
            return super().__enter__()
        except BaseException:
            self._proxies.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self._proxies.heal()
        try:
            super().__exit__()
        finally:
            self._proxies.__exit__()

    def arranged(self, part: Part) -> Part:
        # A port that is free while a service is down may be another's when it is started again.
        ports = {name: "0" for name in part.env if name.endswith(("_OPS_PORT", "EVENTS_WEBHOOK_PORT"))}
        part = replace(part, env={**part.env, **ports})
        if part.name in LINKED:
            self._direct[part.name] = part
            part = self._linked(part)
        if part.name not in SERVICES:
            return part
        self.points(part.name).mkdir(parents=True, exist_ok=True)
        module = part.command[-1].replace("executor.launcher", "executor.app")
        return replace(part, command=(sys.executable, str(SCRIPT), str(self.points(part.name)), module))

    def _linked(self, part: Part) -> Part:
        urls = {"nats": self.nats_url, "redis": self.redis_url}
        env = dict(part.env)
        for server in LINKED[part.name]:
            link = self._links[part.name, server] = self._proxies.open(urls[server])
            name = next(key for key in env if key.endswith(f"_{server.upper()}_URL"))
            env[name] = link.url
        return replace(part, env=env)

    def heal(self) -> None:
        self._proxies.heal()
        super().heal()

    def down(self, *, besides: str) -> list[str]:
        """What ought to run and does not."""
        ought = self._parts.keys() - self._seconds - {besides}
        return sorted(name for name in ought if not self.runs(name))

    # links

    def links(self, part: str, servers: Collection[Server]) -> list[Link]:
        return [self._links[part, server] for server in servers]

    def stand_by(self, name: str) -> str:
        """A second process of a service, which reaches its servers without a proxy; its name."""
        linked, self._parts[name] = self._parts[name], self._direct[name]
        try:
            return self.start_second(name)
        finally:
            self._parts[name] = linked

    # kills

    def points(self, name: str) -> Path:
        return self.home.path / "points" / name

    def arm(self, name: str, armed: Armed) -> None:
        self.disarm(name)
        (self.points(name) / "hits").unlink(missing_ok=True)
        part = self.points(name) / "armed.part"
        part.write_text(json.dumps(asdict(armed)))
        os.replace(part, self.points(name) / "armed.json")

    def disarm(self, name: str) -> None:
        (self.points(name) / "armed.json").unlink(missing_ok=True)

    def hits(self, name: str) -> list[str]:
        file = self.points(name) / "hits"
        return file.read_text().splitlines() if file.exists() else []

    # servers

    def keep_copy(self) -> None:
        """Redis's files as they are now, to be `old_copy` later."""
        shutil.rmtree(self.home.path / "redis.old", ignore_errors=True)
        shutil.copytree(self.home.path / "redis", self.home.path / "redis.old")

    def old_copy(self) -> None:
        self.kill("redis")
        shutil.rmtree(self.home.path / "redis")
        shutil.copytree(self.home.path / "redis.old", self.home.path / "redis")
        self.start("redis")
