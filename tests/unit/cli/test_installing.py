"""What `bumpless node install` writes: ours anew, the site's only where nothing else is there."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from bumpless.cli.identities import Identities
from bumpless.cli.installing import (
    PARTS,
    Broker,
    NodeParts,
    Wanted,
    control_files,
    lacking,
    node_files,
    write,
)
from bumpless.cli.units import PREFIX, units
from bumpless.common.errors import Refused

BROKER = Broker("nats://10.0.0.1:4222")


def text(root: Path, path: str) -> str:
    return (root / path).read_text()


def test_an_executor_gets_its_unit_its_settings_and_copies_of_its_keys(tmp_path: Path) -> None:
    trust, ca = tmp_path / "trusted.json", tmp_path / "ca.pem"
    trust.write_text("{}")
    ca.write_text("pem")
    known = Identities(tmp_path / "access")
    key = known.enroll("web-1")
    node = NodeParts("web-1", trust, key, "10.0.0.5", {"zone": "a"})
    root = tmp_path / "root"
    done = write(root, node_files(node, Broker(BROKER.url, ca), PREFIX), replace=False)
    assert set(done.values()) == {"written"}
    assert (
        text(root, "etc/systemd/system/bumpless-executor.service")
        == units(PREFIX)["bumpless-executor.service"]
    )
    assert text(root, "etc/bumpless/executor.env").splitlines() == [
        "BUMPLESS_EXECUTOR_NODE=web-1",
        "BUMPLESS_EXECUTOR_ADDRESS=10.0.0.5",
        "BUMPLESS_EXECUTOR_DATA_DIR=/var/lib/bumpless",
        "BUMPLESS_EXECUTOR_NATS_URL=nats://10.0.0.1:4222",
        "BUMPLESS_EXECUTOR_TRUST=/etc/bumpless/trusted.json",
        'BUMPLESS_EXECUTOR_LABELS={"zone": "a"}',
        "BUMPLESS_EXECUTOR_NATS_SEED=/etc/bumpless/node.seed",
        "BUMPLESS_EXECUTOR_NATS_CA=/etc/bumpless/broker-ca.pem",
    ]
    assert (root / "etc/bumpless/node.seed").read_bytes() == key.read_bytes()
    assert stat.S_IMODE((root / "etc/bumpless/node.seed").stat().st_mode) == 0o600


def test_a_service_sees_its_key_as_a_copy_of_its_own(tmp_path: Path) -> None:
    known = Identities(tmp_path / "access")
    known.ensure()
    root = tmp_path / "root"
    write(root, control_files(["planner"], Broker(BROKER.url, access=known.folder), PREFIX), replace=False)
    assert text(root, "etc/systemd/system/bumpless-planner.service.d/broker.conf").splitlines()[1:] == [
        "[Service]",
        "Environment=BUMPLESS_PLANNER_NATS_URL=nats://10.0.0.1:4222",
        "LoadCredential=nats.seed:/etc/bumpless/access/services/planner.seed",
        "Environment=BUMPLESS_PLANNER_NATS_SEED=%d/nats.seed",
        "Environment=BUMPLESS_PLANNER_REDIS_SEED=%d/nats.seed",
    ]
    seed = root / "etc/bumpless/access/services/planner.seed"
    assert seed.read_bytes() == known.seed("planner").read_bytes()
    assert stat.S_IMODE(seed.stat().st_mode) == 0o600


def test_servers_know_who_comes(tmp_path: Path) -> None:
    known = Identities(tmp_path / "access")
    known.ensure()
    root = tmp_path / "root"
    parts = ["nats", "redis", "events"]
    write(root, control_files(parts, Broker(BROKER.url, access=known.folder), PREFIX), replace=False)
    assert text(root, "etc/bumpless/nats.conf").endswith('include "accounts.conf"\n')
    assert text(root, "etc/bumpless/accounts.conf") == known.accounts.read_text()
    assert text(root, "etc/bumpless/redis.acl") == known.redis_users.read_text()
    users = text(root, "etc/systemd/system/bumpless-redis.service.d/users.conf").splitlines()
    assert users[-2:] == [
        "ExecStart=",
        "ExecStart=/usr/bin/redis-server /etc/bumpless/redis.conf --supervised systemd --daemonize no "
        "--aclfile /etc/bumpless/redis.acl",
    ]
    assert "REDIS_SEED" not in text(root, "etc/systemd/system/bumpless-events.service.d/broker.conf")


def test_every_part_has_a_unit(tmp_path: Path) -> None:
    found = {wanted.path.name for wanted in control_files(PARTS, BROKER, PREFIX)}
    assert units().keys() - found == {"bumpless-executor.service"}


@pytest.mark.parametrize(
    ("before", "ours", "replace", "done", "after"),
    [
        (None, False, False, "written", "new"),
        ("new", False, False, "same", "new"),
        ("the site's", False, False, "kept", "the site's"),
        ("the site's", False, True, "written", "new"),
        ("of a version before", True, False, "written", "new"),
    ],
)
def test_what_is_there(
    before: str | None, ours: bool, replace: bool, done: str, after: str, tmp_path: Path
) -> None:
    path = Path("/etc/some/file")
    if before is not None:
        (tmp_path / "etc/some").mkdir(parents=True)
        (tmp_path / "etc/some/file").write_text(before)
    assert write(tmp_path, [Wanted(path, b"new", ours=ours)], replace=replace) == {str(path): done}
    assert text(tmp_path, "etc/some/file") == after


def test_a_service_that_lacks_keys_is_named_with_them(tmp_path: Path) -> None:
    keys = tmp_path / "etc/bumpless/keys"
    keys.mkdir(parents=True)
    (keys / "deploy.key").write_text("")
    assert lacking(tmp_path, ["planner", "health-gate", "nats"]) == {
        "planner": ["/etc/bumpless/keys/trusted.json"]
    }


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the keys that may release and deploy"):
        node_files(NodeParts("web-1", tmp_path / "none"), BROKER, PREFIX)
    with pytest.raises(Refused, match="the key of planner"):
        control_files(["planner"], Broker(BROKER.url, access=tmp_path), PREFIX)
    with pytest.raises(Refused, match="one of nats, redis, planner"):
        control_files(["nonsense"], BROKER, PREFIX)
