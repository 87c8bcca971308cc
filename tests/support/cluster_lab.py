"""A lab on a broker of three servers, as `bumpless cluster init` writes it: TLS, identities, three replicas.

Routes between servers go through proxies, so that one server can be cut off from the others while its clients keep it.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sysconfig
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

from bumpless.cli import embedded
from bumpless.cli.cluster_files import Cluster, ClusterFolder, Server
from bumpless.cli.embedded import Layout, Part
from bumpless.cli.identities import Identities
from bumpless.common.access.entry import Entry
from bumpless.common.access.rights import ADMIN
from bumpless.common.contract import subjects
from bumpless.common.contract.subjects import STREAM_SUBJECTS, Stream
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.nats_client import Away
from bumpless.common.shell.topology import DURABLES
from support.crash_lab import CrashLab
from support.fleet_lab import Lab
from support.tcp_proxy import Link
from support.waiting import eventually

NAMES = ("nats-1", "nats-2", "nats-3")
NOWHERE = "127.0.0.1:1"
WHOLE_S = 90.0
BUCKETS = (subjects.ARTIFACT_BUCKET, subjects.PLAN_BUCKET, subjects.SHOWN_BUCKET)
OWNERS = frozenset(durable.name for durable in DURABLES)


class ClusterLab(CrashLab):
    """As `CrashLab`, whose services cannot be armed here, with three servers in place of its broker."""

    def brokering(self, where: Layout) -> list[Part]:
        self._identities = Identities(self.home.path / "access")
        self._identities.ensure(self.nodes)
        folder = ClusterFolder(self.home.path / "cluster")
        servers = [Server(name, "127.0.0.1", embedded.free_port(), embedded.free_port()) for name in NAMES]
        cluster = Cluster(
            "lab", tuple(servers), str(folder.folder / "{name}"), str(self.home.path / "streams" / "{name}")
        )
        folder.init(cluster, self._identities.accounts, clock.now(), 30)
        self.nats_url, self.ca = cluster.urls, folder.ca
        self._looked = {name: embedded.free_port() for name in NAMES}
        self._routes: dict[frozenset[str], Link] = {}
        for number, server in enumerate(servers):
            self._lead_routes(folder.of(server) / "nats.conf", server, servers[number + 1 :])
        binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        return [Part(each.name, (str(binary), "-c", str(folder.of(each) / "nats.conf"))) for each in servers]

    def _lead_routes(self, file: Path, server: Server, later: list[Server]) -> None:
        """Each two servers have one way to each other, through a proxy: no server tells others where else it is."""
        ways = []
        for other in later:
            link = self._proxies.open(f"nats-route://{other.for_routes}")
            self._routes[frozenset((server.name, other.name))] = link
            ways.append(link.url)
        ways = ways or [f"nats-route://{NOWHERE}"]  # without any, no streams
        text = re.sub(r"routes: .*", f"routes: {json.dumps(ways)}", file.read_text())
        text = re.sub(r"  advertise: .*", f'  advertise: "{NOWHERE}"', text)
        file.write_text(f'{text}http: "127.0.0.1:{self._looked[server.name]}"\n')

    def arranged(self, part: Part) -> Part:
        part = Lab.arranged(self, part)
        prefix = next((name.removesuffix("NATS_URL") for name in part.env if name.endswith("_NATS_URL")), "")
        if not prefix:
            return part
        node = part.name in self.nodes
        env = {
            prefix + "NATS_URL": self.nats_url,
            prefix + "NATS_CA": str(self.ca),
            prefix + "NATS_SEED": str(self._identities.seed(part.name, "nodes" if node else "services")),
        }
        if not node:
            env[prefix + "REPLICAS"] = "3"
        return replace(part, env={**part.env, **env})

    @property
    def entry(self) -> Entry:
        return Entry(self.nats_url, self._identities.seed(ADMIN), self.ca)

    # servers

    async def leader(self, stream: Stream) -> str:
        """The server that leads a stream, as soon as one does."""
        async with self.client() as found:

            async def read() -> str:
                return await _leader(found.connection, stream.value)

            return await eventually(read, bool, f"a leader of {stream}")

    async def whole(self) -> None:
        """Wait until every server runs and has all of every stream and of every consumer."""
        async with self.client() as found:
            await eventually(
                lambda: _behind(found.connection),
                lambda behind: not behind,
                "every replica to have everything",
                WHOLE_S,
            )

    def wipe(self, name: str) -> None:
        """The server comes back with an empty disk."""
        self.kill(name)
        shutil.rmtree(self.home.path / "streams" / name)
        self.start(name)

    def cut_off(self, name: str) -> None:
        """No route leads to the server, or from it, any more; nothing closes them either."""
        for pair, link in self._routes.items():
            if name in pair:
                link.silence()

    async def clients_of(self, name: str) -> list[str]:
        """The names of the clients that a server has."""
        shown = await asyncio.to_thread(_shown, f"http://127.0.0.1:{self._looked[name]}/connz?limit=10000")
        return sorted(str(each.get("name")) for each in shown["connections"] if each["kind"] == "Client")


def _shown(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


async def _leader(connection: Connection, stream: str) -> str:
    try:
        info = await connection.js.stream_info(stream)
    except Away:
        return ""
    return (info.cluster and info.cluster.leader) or ""


async def _behind(connection: Connection) -> list[str]:
    """What is not where it ought to be, in words."""
    names = [stream.value for stream in STREAM_SUBJECTS] + [subjects.bucket_stream(each) for each in BUCKETS]
    found = []
    for name in names:
        try:
            info = await connection.js.stream_info(name)
            consumers = await connection.js.consumers_info(name)
        except Away as error:
            found.append(f"{name}: {error!r}")
            continue
        durables = [(f"{name}/{each.name}", each.cluster) for each in consumers if each.name in OWNERS]
        for what, cluster in [(name, info.cluster), *durables]:
            peers = (cluster and cluster.replicas) or []
            late = [peer.name for peer in peers if not peer.current or peer.offline]
            if cluster is None or not cluster.leader or len(peers) != len(NAMES) - 1 or late:
                found.append(f"{what}: leader {cluster and cluster.leader}, behind {late}")
    return found
