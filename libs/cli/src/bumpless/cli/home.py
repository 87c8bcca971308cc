"""The directory where `bumpless up` keeps everything: found by --home, BUMPLESS_HOME, or `.bumpless` here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bumpless.common.access.entry import Entry
from bumpless.common.access.redis_entry import RedisEntry
from bumpless.common.errors import Refused

OPERATOR = "operator"
"""People, as `access.rights` names them; that module takes long to import."""
SOCKET_PATH_LIMIT = 100
"""A unix socket's path may have 107 bytes; the rest is for a name."""


@dataclass(frozen=True)
class Home:
    path: Path

    @classmethod
    def find(cls, given: Path | None) -> Home:
        chosen = given or Path(os.environ.get("BUMPLESS_HOME", ".bumpless"))
        return cls(chosen.absolute())

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def release_key(self) -> Path:
        return self.keys / "release.key"

    @property
    def deploy_key(self) -> Path:
        return self.keys / "deploy.key"

    @property
    def trust(self) -> Path:
        return self.keys / "trusted.json"

    @property
    def preflight(self) -> Path:
        """The rules of the fleet, where somebody wrote some before `up`."""
        return self.path / "preflight.yaml"

    @property
    def alerts(self) -> Path:
        """The alerts file of the fleet; it may be written, changed and removed at any time."""
        return self.path / "alerts.yaml"

    @property
    def events(self) -> Path:
        """The events file of the fleet; it may be written, changed and removed at any time."""
        return self.path / "events.yaml"

    @property
    def events_secret(self) -> Path:
        return self.keys / "events.secret"

    @property
    def webhook_secret(self) -> Path:
        return self.keys / "webhook.secret"

    @property
    def dashboard_users(self) -> Path:
        """Who may log in to the dashboard."""
        return self.keys / "dashboard-users.json"

    @property
    def dashboard_secret(self) -> Path:
        """What links to the dashboard that log in once are signed with."""
        return self.keys / "dashboard.secret"

    @property
    def access(self) -> Path:
        """Who may come to the broker, and with which rights."""
        return self.path / "access"

    def seed(self, name: str) -> Path:
        """The key of a service, of people (`operator`), `ci`, `reader` or `admin`."""
        return self.access / "services" / f"{name}.seed"

    def node_seed(self, node: str) -> Path:
        return self.access / "nodes" / f"{node}.seed"

    @property
    def cluster_file(self) -> Path:
        return self.path / "cluster.json"

    @property
    def work(self) -> Path:
        return self.path / "work"

    def state(self, service: str) -> Path:
        """What a service of the control plane keeps for the next process of it."""
        return self.path / "services" / service

    def node_dir(self, node: str) -> Path:
        return self.path / "nodes" / node

    def node_address(self, number: int) -> str:
        """A loopback address of its own per node, and per home, so that fleets do not meet on a port."""
        digest = hashlib.sha256(str(self.path).encode()).digest()
        return f"127.{64 + digest[0] % 64}.{digest[1]}.{number}"

    def cluster(self) -> dict[str, Any] | None:
        """What `bumpless up` wrote: addresses and process ids; None when it never ran here."""
        try:
            found = json.loads(self.cluster_file.read_text())
        except FileNotFoundError:
            return None
        return found if isinstance(found, dict) else None

    def nats_url(self, given: str | None) -> str:
        """The broker: as given, by BUMPLESS_NATS_URL, or the one that `bumpless up` started here.

        Raises:
            Refused: none of them.
        """
        url = given or os.environ.get("BUMPLESS_NATS_URL")
        cluster = self.cluster()
        if url is None and cluster is not None:
            url = str(cluster["nats_url"])
        if url is None:
            raise Refused(
                f"a control plane in {self.path}",
                "none",
                "start one with `bumpless up`, or name one with --nats URL",
            )
        return url

    def entry(self, given: str | None) -> Entry:
        """How people get to the broker: with the key BUMPLESS_NATS_SEED, or that of `operator` here, if there is one.

        BUMPLESS_NATS_CA names the authorities that vouch for the broker. Raises: Refused: no broker is named.
        """
        seed, ca = os.environ.get("BUMPLESS_NATS_SEED"), os.environ.get("BUMPLESS_NATS_CA")
        own = self.seed(OPERATOR)
        chosen = Path(seed) if seed else own if own.exists() else None
        return Entry(self.nats_url(given), chosen, Path(ca) if ca else None)

    def store(self, given: str | None) -> RedisEntry:
        """The state store, to look into: as given, by BUMPLESS_REDIS_URL, or the one that `bumpless up` started here.

        People come to this one with the key of `operator` here, to others with that which BUMPLESS_REDIS_SEED names.
        BUMPLESS_REDIS_CA names the authorities that vouch for it. Raises: Refused: no store is named.
        """
        own = None
        with contextlib.suppress(FileNotFoundError):
            own = json.loads((self.path / "ports.json").read_text()).get("redis")
        url = given or os.environ.get("BUMPLESS_REDIS_URL") or own
        if url is None:
            raise Refused(f"a state store in {self.path}", "none", "name the services' own with --redis URL")
        seed, ca = os.environ.get("BUMPLESS_REDIS_SEED"), os.environ.get("BUMPLESS_REDIS_CA")
        chosen = Path(seed) if seed else self.seed(OPERATOR) if url == own else None
        return RedisEntry(str(url), OPERATOR, chosen, Path(ca) if ca else None)
