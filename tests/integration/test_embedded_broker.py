"""The broker of `bumpless up` lets in who has a key, with the rights of a site's."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest

from bumpless.cli import embedded
from bumpless.cli.embedded import Layout, NodeSpec
from bumpless.cli.home import Home
from bumpless.cli.identities import Identities
from bumpless.common.access.entry import Entry
from bumpless.common.access.nkey import public_key
from bumpless.common.access.rights import ADMIN, CI, OPERATOR, READER
from bumpless.common.errors import Refused
from bumpless.common.shell.broker import Connection
from support.fleet_lab import run_cli
from support.waiting import eventually

NODES = ("node-1", "node-2")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def where(home: Home) -> Layout:
    return embedded.layout(home, [])


@pytest.fixture
def broker(home: Home, where: Layout) -> Iterator[int]:
    """Its process id."""
    part = embedded.nats_part(home, where, NODES)
    with open(home.path / "nats.log", "ab") as log:
        process = subprocess.Popen(part.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def parts(home: Home, where: Layout) -> Iterator[embedded.Part]:
    for name in embedded.SERVICES:
        yield embedded.service_part(home, where, name)
    yield embedded.dashboard_part(home, where)
    for number, node in enumerate(NODES, start=1):
        yield embedded.executor_part(home, where, NodeSpec(node), number)


async def test_every_part_comes_with_a_key_of_its_own_and_nobody_without(
    home: Home, where: Layout, broker: int
) -> None:
    seeds = {}
    for part in parts(home, where):
        (seeds[part.name],) = [Path(value) for key, value in part.env.items() if key.endswith("_NATS_SEED")]
    people = {name: home.seed(name) for name in (OPERATOR, CI, READER, ADMIN)}
    for name, seed in (seeds | people).items():
        await (await Connection.connect(Entry(where.nats_url, seed), name=name)).close()
    assert len({public_key(seed) for seed in (seeds | people).values()}) == len(seeds) + len(people)
    with pytest.raises(Refused, match="a key that the broker"):
        await Connection.connect(Entry(where.nats_url), name="stranger", connect_timeout_s=2)


async def test_a_node_may_no_more_than_at_a_site(home: Home, where: Layout, broker: int) -> None:
    refused: list[str] = []

    async def told(error: Exception) -> None:
        refused.append(str(error))

    async def said() -> list[str]:
        await client.flush()
        return refused

    await (await Connection.connect(Entry(where.nats_url, home.node_seed("node-1")), name="up")).close()
    entry = Entry(where.nats_url, home.node_seed("node-1"))
    client = await nats.connect(entry.url, **entry.options(), error_cb=told, allow_reconnect=False)
    try:
        for subject in ("evt.node-1.step-finished.forward", "evt.node-2.step-finished.forward"):
            await client.publish(subject, b"{}")
        await eventually(said, bool, "what is refused")
    finally:
        await client.close()
    assert ["evt.node-2" in each for each in refused] == [True]


async def test_a_home_keeps_its_keys_and_enrolls_nodes_that_it_had_not(home: Home, where: Layout) -> None:
    embedded.nats_part(home, where, NODES[:1])
    before = {file: file.read_bytes() for file in home.access.glob("*/*.seed")}
    accounts = (home.access / "accounts.conf").read_bytes()
    embedded.nats_part(home, where)
    assert (home.access / "accounts.conf").read_bytes() == accounts
    embedded.nats_part(home, where, NODES)
    after = {file: file.read_bytes() for file in home.access.glob("*/*.seed")}
    assert before.items() < after.items()
    assert after.keys() - before.keys() == {home.node_seed("node-2")}


async def test_a_node_that_is_revoked_is_shut_out_at_once_and_up_says_so(
    home: Home, where: Layout, broker: int
) -> None:
    entry = Entry(where.nats_url, home.node_seed("node-1"))
    await (await Connection.connect(entry, name="node-1")).close()
    home.cluster_file.write_text(
        json.dumps({"nats_url": where.nats_url, "pid": 2**22 + 1, "parts": {"nats": broker}})
    )
    revoked = await run_cli(home, "node", "revoke", "node-1")
    assert (revoked.code, "not in force yet" in revoked.err) == (0, False), revoked.err

    async def refused() -> bool:
        try:
            await (await Connection.connect(entry, name="node-1", connect_timeout_s=1)).close()
        except Refused:
            return True
        return False

    await eventually(refused, bool, "the node to be shut out")
    up = await run_cli(home, "up", "--nodes", "1")
    assert up.code == 1
    assert "bumpless node enroll node-1" in up.err
    assert Identities(home.access).nodes()["node-1"] == []
