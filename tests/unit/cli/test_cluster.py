"""What `cluster init` and `renew` write, and what they refuse."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bumpless.cli.cluster_files import Cluster, ClusterFolder, Server, configuration
from bumpless.common.access.certificates import Authority, expires, holds_for
from bumpless.common.errors import Refused

NOW = datetime(2026, 11, 1, tzinfo=UTC)
THREE = tuple(Server.given(each) for each in ("a=10.0.0.1", "b=nats.example.org", "c=[fd00::1]:4223:6223"))
CLUSTER = Cluster("fleet", THREE, "/etc/{name}", "/var/lib/{name}")


def test_what_stands_in_a_configuration() -> None:
    text = configuration(CLUSTER, THREE[1], accounts=True)
    assert 'listen: "0.0.0.0:4222"' in text
    assert 'client_advertise: "nats.example.org:4222"' in text
    assert 'routes: ["nats-route://10.0.0.1:6222", "nats-route://[fd00::1]:6223"]' in text
    assert '"key_file": "/etc/b/server.key"' in text
    assert 'store_dir: "/var/lib/b", sync_interval: always' in text
    assert text.endswith("include accounts.conf\n")
    assert 'listen: "[fd00::1]:4223"' in configuration(CLUSTER, THREE[2], accounts=False)
    assert CLUSTER.urls == "tls://10.0.0.1:4222,tls://nats.example.org:4222,tls://[fd00::1]:4223"


@pytest.mark.parametrize("text", ["a", "a=", "a=10.0.0.1:4222", "A=10.0.0.1", "a=http://10.0.0.1"])
def test_servers_that_are_none(text: str) -> None:
    with pytest.raises(Refused, match="NAME=HOST"):
        Server.given(text)


@pytest.mark.parametrize(
    ("servers", "wanted"),
    [
        (THREE[:2], "3 servers"),
        ((*THREE[:2], Server("a", "10.0.0.9")), "a name of its own"),
        ((*THREE[:2], Server("c", "10.0.0.1")), "an address of its own"),
        ((*THREE[:2], Server("c", "10.0.0.1", 4223)), "an address for routes"),
    ],
)
def test_clusters_that_are_none(servers: tuple[Server, ...], wanted: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=wanted):
        ClusterFolder(tmp_path / "x").init(Cluster("fleet", servers, "/etc", "/var"), None, NOW, 30)
    assert not (tmp_path / "x").exists()


def test_keys_are_their_owners_alone_and_are_never_overwritten(tmp_path: Path) -> None:
    kept = ClusterFolder(tmp_path / "x")
    kept.init(CLUSTER, None, NOW, 30)
    keys = sorted(kept.folder.rglob("*.key"))
    assert [str(each.relative_to(kept.folder)) for each in keys] == [
        "a/server.key",
        "b/server.key",
        "c/server.key",
        "ca.key",
    ]
    assert {stat.S_IMODE(each.stat().st_mode) for each in keys} == {0o600}
    before = [each.read_bytes() for each in keys]
    with pytest.raises(Refused, match="cluster renew"):
        kept.init(CLUSTER, None, NOW, 30)
    kept.renew(NOW, 60)
    assert [each.read_bytes() for each in keys] == before
    (kept.folder / "cluster.json").unlink()
    with pytest.raises(Refused, match="no key yet"):
        kept.init(CLUSTER, None, NOW, 30)


def test_certificates_are_renewed_by_the_same_authority(tmp_path: Path) -> None:
    kept = ClusterFolder(tmp_path / "x")
    kept.init(CLUSTER, None, NOW, 30)
    authority = kept.ca.read_bytes()
    assert expires(kept.of(THREE[0]) / "server.pem") == NOW + timedelta(days=30)
    assert kept.renew(NOW, 60) == CLUSTER
    assert expires(kept.of(THREE[0]) / "server.pem") == NOW + timedelta(days=60)
    assert kept.ca.read_bytes() == authority
    for each in THREE:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(kept.ca))
        context.load_cert_chain(kept.of(each) / "server.pem", kept.of(each) / "server.key")


def test_the_key_of_another_authority_is_refused(tmp_path: Path) -> None:
    kept, other = ClusterFolder(tmp_path / "x"), ClusterFolder(tmp_path / "y")
    kept.init(CLUSTER, None, NOW, 30)
    other.init(CLUSTER, None, NOW, 30)
    (kept.folder / "ca.key").write_bytes((other.folder / "ca.key").read_bytes())
    with pytest.raises(Refused, match="another one"):
        kept.renew(NOW, 30)


def test_a_certificate_tells_for_whom_it_holds(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "ca.pem", tmp_path / "ca.key", "test", NOW)
    file = tmp_path / "own.pem"
    authority.certify(["nats", "127.0.0.1"], tmp_path / "own.key", file, NOW, 30)
    assert holds_for(file, ["127.0.0.1", "nats"])
    assert not holds_for(file, ["nats"])
    assert not holds_for(file, ["nats", "127.0.0.1", "broker.example.org"])
