"""The files of a cluster of nats-servers: one folder for each, to be moved to its host, and an authority for all.

FOLDER/cluster.json           the servers, and where their folders are to lie
FOLDER/ca.pem                 what clients and servers trust
FOLDER/ca.key                 makes certificates; belongs offline
FOLDER/NAME/                  nats.conf, server.pem, server.key, ca.pem, and accounts.conf if there are identities
"""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from bumpless.common.access.certificates import Authority, expires
from bumpless.common.errors import Refused

SERVERS = 3
CLIENTS, ROUTES = 4222, 6222
PINGS_S, PINGS_UNANSWERED = 2, 2
"""Between servers: one that is cut off knows it within three times as long, and its clients with it."""
_GIVEN = re.compile(
    r"(?P<name>[a-z0-9-]+)=(?P<host>\[[0-9a-f:.]+\]|[A-Za-z0-9.-]+)(:(?P<clients>\d+):(?P<routes>\d+))?"
)


@dataclass(frozen=True)
class Server:
    """One nats-server. `host` is what others reach it by, and what its certificate says."""

    name: str
    host: str
    clients: int = CLIENTS
    routes: int = ROUTES

    @classmethod
    def given(cls, text: str) -> Server:
        """NAME=HOST or NAME=HOST:CLIENTS:ROUTES. Raises: Refused."""
        found = _GIVEN.fullmatch(text)
        if found is None:
            raise Refused(
                "NAME=HOST, or NAME=HOST:PORT:ROUTES_PORT where several are on one host",
                text,
                "for example --server nats-1=10.0.0.1",
            )
        ports = (int(found["clients"] or CLIENTS), int(found["routes"] or ROUTES))
        return cls(found["name"], found["host"].strip("[]"), *ports)

    @property
    def _netloc(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def for_clients(self) -> str:
        return f"{self._netloc}:{self.clients}"

    @property
    def for_routes(self) -> str:
        return f"{self._netloc}:{self.routes}"

    def listens(self, port: int) -> str:
        """A host's name may be resolved otherwise on the host itself."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return f"0.0.0.0:{port}"
        return f"{self._netloc}:{port}"


@dataclass(frozen=True)
class Cluster:
    """What `init` was given. In `at` and `store`, paths on the hosts, `{name}` stands for the server's name."""

    name: str
    servers: tuple[Server, ...]
    at: str
    store: str

    def check(self) -> None:
        """Raises: Refused."""
        if len(self.servers) != SERVERS:
            raise Refused(
                f"{SERVERS} servers",
                str(len(self.servers)),
                "name each with --server: two of three are a majority, and two of two are no more than one",
            )
        for what, values in (
            ("a name of its own for each server", [each.name for each in self.servers]),
            ("an address of its own for each server", [each.for_clients for each in self.servers]),
            ("an address for routes of its own", [each.for_routes for each in self.servers]),
        ):
            if len(set(values)) < len(values):
                raise Refused(what, ", ".join(values))

    @property
    def urls(self) -> str:
        """As settings and commands take it."""
        return ",".join(f"tls://{each.for_clients}" for each in self.servers)


def configuration(cluster: Cluster, server: Server, *, accounts: bool) -> str:
    """The text of `nats.conf`. Pure."""
    at = cluster.at.format(name=server.name).rstrip("/")
    store = cluster.store.format(name=server.name)
    others = [f"nats-route://{each.for_routes}" for each in cluster.servers if each != server]
    tls = {
        "cert_file": f"{at}/server.pem",
        "key_file": f"{at}/server.key",
        "ca_file": f"{at}/ca.pem",
        "timeout": 5,
    }
    lines = [
        "# Written by `bumpless cluster init` (docs/cluster.md).",
        f"server_name: {json.dumps(server.name)}",
        f"listen: {json.dumps(server.listens(server.clients))}",
        f"client_advertise: {json.dumps(server.for_clients)}",
        "max_payload: 8MB",
        f"tls: {json.dumps(tls)}",
        "# What is acknowledged is on the disk.",
        f"jetstream {{ store_dir: {json.dumps(store)}, sync_interval: always, limits {{ default_max_consumers: -1 }} }}",
        "cluster {",
        f"  name: {json.dumps(cluster.name)}",
        f"  listen: {json.dumps(server.listens(server.routes))}",
        f"  advertise: {json.dumps(server.for_routes)}",
        f"  routes: {json.dumps(others)}",
        f"  tls: {json.dumps({**tls, 'verify': True})}",
        "  # Who is cut off is to know it soon, and to tell its clients.",
        f'  ping_interval: "{PINGS_S}s"',
        f"  ping_max: {PINGS_UNANSWERED}",
        "}",
    ]
    if accounts:
        lines.append("include accounts.conf")
    return "\n".join(lines) + "\n"


class ClusterFolder:
    """All files of a cluster, below one folder of the person who sets it up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "cluster.json"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def of(self, server: Server) -> Path:
        return self.folder / server.name

    def init(self, cluster: Cluster, accounts: Path | None, now: datetime, days: int) -> None:
        """Write everything. Raises: Refused: the servers make no cluster, or there is one already."""
        cluster.check()
        if self._file.exists():
            raise Refused(
                f"no cluster in {self.folder} yet",
                "one",
                "`bumpless cluster renew` makes new certificates for it",
            )
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        authority = Authority.make(self.ca, self.folder / "ca.key", f"{cluster.name} brokers", now)
        for server in cluster.servers:
            own = self.of(server)
            own.mkdir(mode=0o700, exist_ok=True)
            authority.certify([server.host], own / "server.key", own / "server.pem", now, days)
            shutil.copyfile(self.ca, own / "ca.pem")
            if accounts is not None:
                shutil.copyfile(accounts, own / "accounts.conf")
            text = configuration(cluster, server, accounts=accounts is not None)
            (own / "nats.conf").write_text(text)
        self._file.write_text(json.dumps(asdict(cluster), indent=1) + "\n")

    def renew(self, now: datetime, days: int) -> Cluster:
        """New certificates for the keys there are. Raises: Refused: no cluster, or its authority cannot be read."""
        cluster = self.read()
        authority = Authority(self.ca, self.folder / "ca.key")
        for server in cluster.servers:
            own = self.of(server)
            authority.certify([server.host], own / "server.key", own / "server.pem", now, days)
        return cluster

    def read(self) -> Cluster:
        try:
            found = json.loads(self._file.read_text())
            servers = tuple(Server(**each) for each in found.pop("servers"))
            return Cluster(servers=servers, **found)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise Refused(
                f"a cluster in {self.folder}", str(error), "make one with `bumpless cluster init`"
            ) from error

    def rows(self, cluster: Cluster) -> Sequence[tuple[str, str, str, str]]:
        """Name, address, folder, and when the certificate expires, of each server."""
        return [
            (
                each.name,
                each.for_clients,
                str(self.of(each)),
                f"{expires(self.of(each) / 'server.pem'):%Y-%m-%d}",
            )
            for each in cluster.servers
        ]
