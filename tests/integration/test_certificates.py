"""Servers whose certificate does not hold: nobody connects, and whoever tried says why and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bumpless.cli.doctor_checks import judged
from bumpless.cli.doctor_facts import State
from bumpless.cli.doctor_looking import Where, look
from bumpless.common.access.certificates import Authority
from bumpless.common.access.entry import Entry
from bumpless.common.access.redis_entry import RedisEntry
from bumpless.common.artifacts.errors import StoreUnavailable
from bumpless.common.artifacts.stores.http import HttpBlobs
from bumpless.common.artifacts.stores.store import DirectoryBlobs
from bumpless.common.errors import Retryable
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.state import RedisState
from support.servers import NatsServer, RedisServer
from support.stores import WebServer, server_context

HERE = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Fault:
    """What a certificate is made with, and what is said of it."""

    found: str
    do: str
    names: Sequence[str] = HERE
    begins: timedelta = timedelta()
    days: int = 30
    stranger: bool = False


FAULTS = {
    "expired": Fault(
        "a certificate that has expired, or whose authority has (certificate has expired)",
        "renew it, or put the clock of this machine right",
        begins=timedelta(days=-3),
        days=2,
    ),
    "of a machine whose clock is ahead, or ours behind": Fault(
        "a certificate that is not good yet (certificate is not yet valid)",
        "put the clock of this machine right",
        begins=timedelta(hours=6),
    ),
    "of another host": Fault(
        "a certificate for other names (IP address mismatch", "connect by a name", names=("10.9.9.9",)
    ),
    "of an authority that we do not know": Fault(
        "a certificate that no authority we trust vouches for (unable to get local issuer certificate)",
        "name its authority, see docs/identities.md",
        stranger=True,
    ),
}


@dataclass(frozen=True)
class Site:
    """`ca` is the authority that we trust, `certificate` what servers show, its key beside it."""

    ca: Path
    certificate: Path

    @property
    def broker(self) -> Path:
        """What a nats-server is to include."""
        file = self.ca.with_name("tls.conf")
        key = self.certificate.with_suffix(".key")
        file.write_text(
            f"tls {{ cert_file: {json.dumps(str(self.certificate))}, key_file: {json.dumps(str(key))} }}\n"
        )
        return file


def site(directory: Path, fault: Fault, now: datetime) -> Site:
    def authority(name: str, begins: datetime) -> Authority:
        return Authority.make(directory / f"{name}.pem", directory / f"{name}.key", name, begins)

    trusted = authority("trusted", now - timedelta(days=30))
    signing = authority("stranger", now) if fault.stranger else trusted
    made = Site(trusted.file, directory / "server.pem")
    signing.certify(
        fault.names, made.certificate.with_suffix(".key"), made.certificate, now + fault.begins, fault.days
    )
    return made


@pytest.fixture(params=FAULTS.values(), ids=FAULTS)
def fault(request: pytest.FixtureRequest) -> Fault:
    found: Fault = request.param
    return found


def says(fault: Fault) -> Callable[[Exception], bool]:
    return lambda error: fault.found in str(error) and fault.do in str(error)


async def wrong_at(where: Where) -> dict[str, str]:
    """What `doctor` says is wrong and what to do, by check."""
    found = judged(await look(where))
    return {one.check: f"{one.found}; {one.do}" for one in found if one.state is State.WRONG}


async def test_a_broker_is_not_come_to(tmp_path: Path, fault: Fault) -> None:
    made = site(tmp_path, fault, clock.now())
    with NatsServer(tmp_path / "nats", include=made.broker) as server:
        url = server.url.replace("tls://", "nats://")
        with pytest.raises(
            Retryable, match=r"expected a NATS server at .* that we can trust", check=says(fault)
        ):
            await Connection.connect(Entry(url, ca=made.ca), name="test", connect_timeout_s=2)
        wrong = await wrong_at(Where(Entry(url, ca=made.ca), listen_s=0))
        assert fault.found in wrong["broker"]
        shown = wrong[f"certificate of the broker at {url.removeprefix('nats://')}"]
        assert fault.found in shown
        assert fault.do in shown


async def test_a_redis_is_not_come_to(tmp_path: Path, fault: Fault) -> None:
    made = site(tmp_path, fault, clock.now())
    with RedisServer(certificate=made.certificate) as server, NatsServer(tmp_path / "nats") as broker:
        entry = RedisEntry(server.tls_url, ca=made.ca)
        with pytest.raises(Retryable, match="expected a Redis that we can trust", check=says(fault)):
            await RedisState(entry, "planner", "mine").acquire(60)
        wrong = await wrong_at(Where(Entry(broker.url), entry, listen_s=0))
        assert fault.found in wrong["state store"]
        shown = wrong[f"certificate of Redis at {server.tls_url.removeprefix('rediss://')}"]
        assert fault.found in shown
        assert fault.do in shown


async def test_a_store_is_not_fetched_from(tmp_path: Path, fault: Fault) -> None:
    made = site(tmp_path, fault, clock.now())
    stored = await DirectoryBlobs(tmp_path / "blobs").put(b"data")
    context = server_context(made.certificate, made.certificate.with_suffix(".key"))
    async with WebServer(tmp_path / "blobs").running(context) as server:
        store = HttpBlobs(server.url, ca_file=made.ca, retry_s=())
        try:
            with pytest.raises(StoreUnavailable, check=says(fault)):
                await store.has(stored.digest)
        finally:
            await store.close()


async def test_with_one_that_holds_all_are_come_to(tmp_path: Path) -> None:
    made = site(tmp_path, Fault("", ""), clock.now())
    with (
        NatsServer(tmp_path / "nats", include=made.broker) as broker,
        RedisServer(certificate=made.certificate) as redis,
    ):
        where = Where(
            Entry(broker.url.replace("tls://", "nats://"), ca=made.ca),
            RedisEntry(redis.tls_url, ca=made.ca),
            listen_s=0,
        )
        connection = await Connection.connect(where.entry, name="test", connect_timeout_s=2)
        await connection.close()
        assert await RedisState(where.store, "planner", "mine").acquire(60)
        found = [one for one in judged(await look(where)) if one.check.startswith("certificate of")]
    assert [one.check.split(" at ")[0] for one in found] == [
        f"certificate of CN=trusted in {made.ca}",
        "certificate of the broker",
        "certificate of Redis",
    ]
