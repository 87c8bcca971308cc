"""A gate's peers and the stream of alerts, on a real broker."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bumpless.common.shell.broker import Connection
from bumpless.common.shell.topology import ensure_topology
from bumpless.health_gate.sources.alerted import AlertedPeers
from unit.health_gate.scenes import Scene
from unit.health_gate.test_peers import alert, silence


@pytest.fixture
async def connection(nats_url: str) -> AsyncIterator[Connection]:
    found = await Connection.connect(nats_url, name="test")
    await ensure_topology(found)
    yield found
    await found.close()


async def test_peers_in_trouble_are_read_out_of_the_log_the_same_after_a_restart(
    connection: Connection,
) -> None:
    gate = Scene(control=("n2", "n3", "n4")).gate
    for message in (alert(node="n3"), silence(node="n4"), alert("resolved", 30, node="n3")):
        await connection.publish(message, source="alerts")
    peers = AlertedPeers(connection)
    for chosen in (
        await peers.chosen(gate),
        await peers.chosen(gate),
        await AlertedPeers(connection).chosen(gate),
    ):
        assert chosen is not None
        assert [member.node for member in chosen.control] == ["n2"]


async def test_without_alerts_every_peer_is_one(connection: Connection) -> None:
    gate = Scene(control=("n2", "n3")).gate
    assert await AlertedPeers(connection).chosen(gate) == gate
