"""The service contract, one suite for the samples of every SDK, against real processes that share their sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import json
import os
import socket
import ssl
import struct
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client.parser import text_string_to_metric_families

from bumpless.service import Client, RequestFailed
from bumpless.service.handover import Handover, read_handover, write_handover
from support.contract_host import DEADLINE_S, Process, listener, until
from support.http_load import HttpLoad
from support.runtimes import GO, REPOSITORY, go, require


def _python(path: str) -> list[str]:
    return [sys.executable, str(REPOSITORY / path)]


def _node() -> list[str]:
    require("node", "nodejs")
    return ["node", str(REPOSITORY / "sdk/node/sample/app.js")]


def _go() -> list[str]:
    binary = GO / f"sample-{os.getpid()}"
    if not binary.exists():
        go("build", "-o", str(binary), "./sample")
    return [str(binary)]


SAMPLES: dict[str, Callable[[], list[str]]] = {
    "helper": lambda: _python("libs/service/sample/app.py"),
    "asgi": lambda: _python("sdk/python/sample/app.py"),
    "node": _node,
    "go": _go,
}


@pytest.fixture(scope="module", autouse=True)
def _built() -> AsyncIterator[None]:
    yield
    (GO / f"sample-{os.getpid()}").unlink(missing_ok=True)


class Host:
    """A folder, one shared listener, and the processes of one sample on it."""

    def __init__(self, folder: Path, argv: list[str]) -> None:
        self.folder, self.argv = folder, argv
        self.shared = {"http": listener()}
        self.port: int = self.shared["http"].getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._started: list[Process] = []

    def launch(self, version: str, **env: str | None) -> Process:
        process = Process(self.folder, f"p{len(self._started)}", version)
        self._started.append(process)
        process.spawn(self.argv, self.shared, env)
        return process

    async def serving(self, version: str, **env: str | None) -> Process:
        process = self.launch(version, **env)
        await process.told("READY=1")
        return process

    def end(self) -> None:
        for process in self._started:
            process.end()
        for one in self.shared.values():
            one.close()


@pytest.fixture(params=SAMPLES)
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Host]:
    argv = await asyncio.to_thread(SAMPLES[request.param])
    with tempfile.TemporaryDirectory(prefix="bl-") as folder:
        made = Host(Path(folder), argv)
        try:
            yield made
        finally:
            made.end()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    made = Client(timeout_s=DEADLINE_S)
    yield made
    made.close()


async def test_nothing_is_taken_before_it_is_ready(host: Host, client: Client) -> None:
    gate = host.folder / "gate"
    os.mkfifo(gate)
    process = host.launch("v1", SAMPLE_GATE=str(gate))
    early = asyncio.create_task(client.get(host.address, "/"))
    answer = await process.admin("GET", "/readyz")
    assert (answer.status, answer.body) == (503, b"starting\n")
    assert (await process.admin("POST", "/pause")).status == 409
    assert (await process.admin("GET", "/drain")).json()["connections"] == 0
    assert process.silent()
    assert not early.done()
    await asyncio.to_thread(gate.write_bytes, b"")  # opening it is what the reader waits for
    await process.told("READY=1")
    assert (await early).json()["version"] == "v1"
    assert (await process.admin("GET", "/readyz")).status == 200


async def test_switch_there_back_and_there_again_fails_no_request(host: Host) -> None:
    first = await host.serving("v1")
    async with HttpLoad("127.0.0.1", host.port) as load:
        second = await host.serving("v2")
        await load.more(40, "v2")
        assert (await first.admin("POST", "/pause")).json()["paused"] is True
        await load.more(40, "v2")
        assert (await first.admin("POST", "/resume")).json()["paused"] is False
        assert (await second.admin("POST", "/pause")).status == 200
        await load.more(40, "v1")
        second.terminate()
        assert await second.exit_code() == 0
        third = await host.serving("v3")
        await load.more(40, "v3")
        first.terminate()  # without a pause before
        assert await first.exit_code() == 0
        await first.told("STOPPING=1")
        await load.more(40, "v3")
    assert load.failures == []
    assert (await third.admin("GET", "/drain")).json()["paused"] is False


async def test_pause_keeps_open_connections_and_resume_takes_the_waiting_ones(
    host: Host, client: Client
) -> None:
    process = await host.serving("v1")
    assert (await client.get(host.address, "/")).headers.get("connection") != "close"
    for _ in range(2):  # a pause may be repeated
        assert (await process.admin("POST", "/pause")).status == 200
    assert (await process.admin("GET", "/readyz")).status == 503
    assert (await process.admin("GET", "/healthz")).status == 200
    last = await client.get(host.address, "/")  # on the connection opened before
    assert last.headers["connection"] == "close"
    await until(process, connections=0, paused=True)
    waiting = asyncio.create_task(client.get(host.address, "/"))
    await until(process, connections=0, inflight=0)
    assert not waiting.done()
    for _ in range(2):
        assert (await process.admin("POST", "/resume")).status == 200
    assert (await waiting).headers.get("connection") != "close"
    assert (await process.admin("GET", "/readyz")).status == 200


async def test_drain_answers_what_is_in_flight_and_closes_what_is_idle(host: Host, client: Client) -> None:
    process = await host.serving("v1")
    reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
    slow = asyncio.create_task(client.get(host.address, "/slow?ms=1200"))
    await until(process, inflight=1, connections=2)
    process.terminate()
    reply = await slow
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert await process.exit_code() == 0
    assert await reader.read() == b""
    writer.close()
    await process.told("STOPPING=1")
    # Nobody accepts now, but the listener lives: the next process answers.
    waiting = asyncio.create_task(client.get(host.address, "/"))
    await host.serving("v2")
    assert (await waiting).json()["version"] == "v2"


async def test_the_drain_deadline_cuts_and_says_so(host: Host, client: Client) -> None:
    process = await host.serving("v1", BUMPLESS_DRAIN_TIMEOUT_MS="300")
    stuck = asyncio.create_task(client.get(host.address, "/slow?ms=60000"))
    await until(process, inflight=1)
    process.terminate()
    with pytest.raises(RequestFailed):
        await stuck
    assert await process.exit_code() == 0
    await process.told("STATUS=drain deadline reached, 1 cut")


async def test_streams_stay_through_a_pause_and_are_told_to_reconnect_by_the_drain(host: Host) -> None:
    process = await host.serving("v1")
    events, events_in = await asyncio.open_connection("127.0.0.1", host.port)
    events_in.write(b"GET /events HTTP/1.1\r\nHost: sample\r\n\r\n")
    await asyncio.wait_for(events.readuntil(b"data: v1\n\n"), DEADLINE_S)
    messages, messages_in = await _websocket(host.port)
    assert await _echoed(messages, messages_in, b"before") == b"before"
    # Not in flight: nobody waits for their end. Not lost either.
    await until(process, inflight=0, streams=2, connections=2)
    assert (await process.admin("POST", "/pause")).status == 200
    assert await _echoed(messages, messages_in, b"paused") == b"paused"
    await asyncio.wait_for(events.readuntil(b"data: v1\n\n"), DEADLINE_S)
    process.terminate()
    opcode, code = await _frame(messages)
    assert (opcode, struct.unpack("!H", code[:2])[0]) == (8, 1012)
    messages_in.write(_masked(8, code[:2]))
    left = await asyncio.wait_for(events.read(), DEADLINE_S)
    assert b"event: reconnect\n" in left
    assert b"retry: " in left
    assert left.rstrip().endswith(b"0\r\n\r\n".rstrip())  # ended, not cut
    events_in.close()
    messages_in.close()
    assert await process.exit_code() == 0


async def test_admin_endpoints(host: Host, client: Client) -> None:
    process = await host.serving("v7")
    await client.get(host.address, "/")
    await client.get(host.address, "/")
    assert (await process.admin("GET", "/healthz")).body == b"ok\n"
    scraped = await process.admin("GET", "/metrics")
    assert scraped.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(scraped.body.decode())
        for sample in family.samples
    }
    assert samples["http_requests_total", (("method", "GET"), ("status", "200"))] == 2
    assert samples["http_request_duration_seconds_count", ()] == 2
    assert samples["http_request_duration_seconds_bucket", (("le", "10"),)] == 2
    assert samples["inflight_requests", ()] == 0
    assert samples["release_info", (("digest", "digest-v7"), ("version", "v7"))] == 1
    assert samples["process_start_time_seconds", ()] > 1_600_000_000
    assert (await process.admin("GET", "/nothing")).status == 404
    assert (await process.admin("GET", "/pause")).status == 405
    await client.request("POST", host.address, "/break")
    answer = await process.admin("GET", "/healthz")
    assert answer.status == 503
    assert b"out of order" in answer.body
    assert (await process.admin("GET", "/readyz")).status == 503


async def test_a_promised_socket_that_is_missing_stops_the_start(host: Host) -> None:
    host.shared["web"] = host.shared.pop("http")
    process = host.launch("v1")
    assert await process.exit_code() != 0
    assert "expected a socket named" in process.log()
    assert "LISTEN_FDNAMES" in process.log()


async def test_a_standby_takes_nothing_until_it_is_resumed_and_then_has_the_state(
    host: Host, client: Client
) -> None:
    file = str(host.folder / "handover" / "state")
    env = {"BUMPLESS_HANDOVER_FILE": file, "BUMPLESS_COMPONENT": "counter"}
    old = await host.serving("v1", **env, BUMPLESS_INSTANCE="one")
    assert (await old.admin("GET", "/drain")).json()["handover"] == "nothing was left"
    for _ in range(3):
        await client.request("POST", host.address, "/count")
    new = await host.serving("v2", **env, BUMPLESS_STANDBY="1")
    assert (await new.admin("GET", "/healthz")).status == 200
    assert (await new.admin("GET", "/readyz")).body == b"standby\n"
    assert (await new.admin("POST", "/pause")).status == 200
    client.close()
    old.terminate()
    assert await old.exit_code() == 0
    left = read_handover(Path(file), "counter")
    assert left is not None
    assert (left.version, left.instance, json.loads(left.state)) == ("v1", "one", {"count": 3})
    waiting = asyncio.create_task(client.get(host.address, "/count"))
    await until(new, connections=0, paused=True, state="standby")
    assert not waiting.done()
    assert (await new.admin("POST", "/resume")).json()["handover"] == "taken from one"
    assert (await waiting).json() == {"version": "v2", "count": 3}
    # A pause and a resume of an active process restore nothing again.
    await client.request("POST", host.address, "/count")
    assert (await new.admin("POST", "/pause")).status == 200
    assert (await new.admin("POST", "/resume")).status == 200
    assert (await client.get(host.address, "/count")).json()["count"] == 4


async def test_a_standby_that_refuses_the_state_stays_one_and_leaves_it_alone(host: Host) -> None:
    file = host.folder / "state"
    write_handover(file, "counter", Handover(b"a count nobody understands", "v1", "one"))
    written = file.read_bytes()
    env = {"BUMPLESS_HANDOVER_FILE": str(file), "BUMPLESS_COMPONENT": "counter", "BUMPLESS_STANDBY": "1"}
    new = await host.serving("v2", **env)
    assert (await new.admin("POST", "/resume")).status == 500
    assert (await new.admin("GET", "/readyz")).body == b"standby\n"
    new.terminate()
    assert await new.exit_code() == 0
    assert file.read_bytes() == written


@pytest.mark.parametrize(("component", "cut"), [("another", 0), ("counter", 1)])
async def test_a_state_that_cannot_be_read_is_told_and_gone_on_without(
    host: Host, client: Client, component: str, cut: int
) -> None:
    file = host.folder / "state"
    write_handover(file, component, Handover(b'{"count": 7}', "v1", "one"))
    written = file.read_bytes()
    file.write_bytes(written[: len(written) - cut])
    env = {"BUMPLESS_HANDOVER_FILE": str(file), "BUMPLESS_COMPONENT": "counter", "BUMPLESS_STANDBY": "1"}
    new = await host.serving("v2", **env)
    answer = await new.admin("POST", "/resume")
    assert answer.status == 200
    assert answer.json()["handover"].startswith("not read: expected ")
    assert (await client.get(host.address, "/count")).json()["count"] == 0


async def test_readiness_goes_over_the_pipe_too_and_a_dead_reader_does_no_harm(
    host: Host, client: Client
) -> None:
    process = await host.serving("v1", NOTIFY_SOCKET=None)
    process.close_pipe()
    assert (await client.get(host.address, "/")).status == 200
    process.terminate()
    assert await process.exit_code() == 0


async def test_tls_ends_in_the_service_on_the_shared_socket(host: Host) -> None:
    cert, key = _certificate(host.folder)
    trusting = ssl.create_default_context(cafile=str(cert))
    env: dict[str, str | None] = {"SAMPLE_CERT": str(cert), "SAMPLE_KEY": str(key)}
    old = await host.serving("v1", **env)
    async with HttpLoad("localhost", host.port, kept=3, fresh=1, tls=trusting) as load:
        await load.more(10, "v1")
        await host.serving("v2", **env)
        await load.more(10, "v2")
        assert (await old.admin("POST", "/pause")).status == 200
        old.terminate()
        assert await old.exit_code() == 0
        await load.more(10, "v2")
    assert load.failures == []


async def test_several_sockets_of_one_name_are_served_paused_and_resumed_together(
    host: Host, client: Client
) -> None:
    path = str(host.folder / "http.sock")
    local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    local.bind(path)
    local.listen(64)
    local.setblocking(False)
    host.shared["http#unix"] = local
    addresses = [host.address, f"unix:{path}"]
    with contextlib.suppress(OSError):  # a machine without IPv6
        host.shared["http#v6"] = listener(socket.AF_INET6)
        addresses.append(f"[::1]:{host.shared['http#v6'].getsockname()[1]}")
    process = await host.serving("v1")
    for address in addresses:
        assert (await client.get(address, "/", keep_alive=False)).json()["version"] == "v1"
    assert (await process.admin("POST", "/pause")).status == 200
    waiting = [asyncio.create_task(client.get(address, "/", keep_alive=False)) for address in addresses]
    await until(process, connections=0, inflight=0)
    assert not any(one.done() for one in waiting)
    assert (await process.admin("POST", "/resume")).status == 200
    assert [(await one).json()["version"] for one in waiting] == ["v1"] * len(addresses)


@pytest.mark.parametrize("host", ["helper", "go"], indirect=True)
async def test_both_versions_answer_datagrams_and_none_is_lost(host: Host) -> None:
    shared = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    shared.bind(("127.0.0.1", 0))
    shared.setblocking(False)
    host.shared["echo"] = shared
    old = await host.serving("v1", SAMPLE_UDP="1")
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        sender.setblocking(False)
        sender.connect(shared.getsockname())
        loop = asyncio.get_running_loop()

        async def ask(text: bytes) -> str:
            await loop.sock_sendall(sender, text)
            answer = await asyncio.wait_for(loop.sock_recv(sender, 100), DEADLINE_S)
            version, _, echoed = answer.partition(b" ")
            assert echoed == text
            return version.decode()

        assert await ask(b"one") == "v1"
        await host.serving("v2", SAMPLE_UDP="1")
        assert {await ask(b"%d" % n) for n in range(50)} <= {"v1", "v2"}
        assert (await old.admin("POST", "/pause")).status == 200
        assert {await ask(b"%d" % n) for n in range(20)} == {"v2"}
        old.terminate()
        assert await old.exit_code() == 0
        assert await ask(b"last") == "v2"


async def _websocket(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: sample\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE_S)
    assert head.startswith(b"HTTP/1.1 101 ")
    return reader, writer


async def _echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bytes:
    writer.write(_masked(1, text))
    return (await _frame(reader))[1]


def _masked(opcode: int, data: bytes) -> bytes:
    return bytes((0x80 | opcode, 0x80 | len(data), 0, 0, 0, 0)) + data


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await asyncio.wait_for(reader.readexactly(2), DEADLINE_S)
    return head[0] & 0x0F, await reader.readexactly(head[1])


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of our own making for localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert_file, key_file
