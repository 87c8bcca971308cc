"""The ops port: on this machine alone, or on the address that the settings name."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from bumpless.common.settings import BrokerSettings
from bumpless.common.shell.ops import serve_ops


async def test_the_ops_port_is_on_the_address_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BrokerSettings().ops_host == "127.0.0.1"
    with socket.socket() as probe:
        probe.bind(("127.0.0.9", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("OPS_HOST", "127.0.0.9")
    served = await serve_ops(port, lambda: True, host=BrokerSettings.read().ops_host)
    assert served is not None
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.9:{port}/healthz") as answer:
                assert answer.status == 200
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(f"http://127.0.0.1:{port}/healthz")
    finally:
        await served.cleanup()
