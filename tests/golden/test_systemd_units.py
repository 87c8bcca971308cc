"""Unit files are text that systemd reads: what it says, and that no value can say more than it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from bumpless.common.errors import Refused
from bumpless.executor.drivers.systemd import units
from support.snapshots import Snapshots

NAMES = units.Names("node-a", Path("/var/lib/bumpless/components"))


def spec(**changes: object) -> units.Service:
    unit = NAMES.instance("web", "0a1b")
    given: dict[str, object] = {
        "unit": unit,
        "instance": "0a1b",
        "component": "web",
        "version": "1.2.0",
        "command": ("/bin/sh", "-c", 'echo "100%" $HOME; exec sleep 9'),
        "directory": Path("/var/lib/bumpless/components/web/versions/aa"),
        "environment": {"PATH": "/usr/bin:/bin", "GREETING": 'two\nlines, a "quote", a \\ and 50%'},
        "sockets": [NAMES.listener("web", "tcp://127.0.0.1:8080"), f"{unit}.socket"],
        "stop_s": 41.0,
        "settings": {"MemoryMax": "50%", "ProtectSystem": "strict"},
    }
    return units.Service(**{**given, **changes})  # type: ignore[arg-type]


def test_a_service_unit_reads_as_it_is_documented(snapshots: Snapshots) -> None:
    snapshots.check("tests/golden/systemd/instance.service", units.service(spec()))


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("tcp", "tcp://127.0.0.1:8080"),
        ("ipv6", "tcp://[::1]:8080"),
        ("unix", "unix:///run/web/web.sock"),
        ("udp", "udp://127.0.0.1:5353"),
    ],
)
def test_a_listener_unit_reads_as_it_is_documented(snapshots: Snapshots, name: str, address: str) -> None:
    unit = NAMES.listener("web", address)
    snapshots.check(
        f"tests/golden/systemd/listener-{name}.socket", units.listener_socket(unit, "web", "http", address)
    )


def test_an_admin_socket_unit_reads_as_it_is_documented(snapshots: Snapshots) -> None:
    text = units.admin_socket(NAMES.instance("web", "0a1b"), Path("/run/bumpless/7f/0a1b.sock"))
    snapshots.check("tests/golden/systemd/admin.socket", text)


def test_no_value_reaches_the_next_line() -> None:
    text = units.service(
        spec(command=("/bin/sh", "a\nExecStartPre=/bin/evil"), environment={"A": "b\nUser=x"})
    )
    assert not [line for line in text.splitlines() if line.startswith(("ExecStartPre=", "User="))]
    with pytest.raises(Refused, match="one line"):
        units.service(spec(directory=Path("/bin\nUser=x")))


def test_a_program_is_named_by_its_whole_path(tmp_path: Path) -> None:
    program = tmp_path / "serve"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for command, search in ((("./serve",), ""), (("serve",), f"/nowhere:{tmp_path}")):
        found = units.service(spec(command=command, directory=tmp_path, environment={"PATH": search}))
        assert "ExecStart=:" in found
        assert "/serve" in found
    with pytest.raises(Refused, match=r"the program missing of run\.command"):
        units.service(spec(command=("missing",)))


def test_a_socket_path_that_systemd_cannot_bind_is_refused_with_what_to_do() -> None:
    with pytest.raises(Refused, match=r"at most 107 bytes.*choose a shorter path"):
        units.listen_on("unix:///" + "d" * 107)


def test_nodes_components_and_addresses_have_units_of_their_own() -> None:
    other = units.Names("node-a", Path("/var/lib/other/components"))
    assert len({NAMES.prefix, other.prefix}) == 2
    addresses = {NAMES.listener("web", f"tcp://127.0.0.1:{port}") for port in (1, 2)}
    assert len(addresses | {NAMES.listener("api", "tcp://127.0.0.1:1")}) == 3
    assert units.anchor_of("x.socket") == "bumpless-anchor@x.service"


def test_our_own_settings_are_read_back() -> None:
    text = units.listener_socket("x.socket", "web", "http", "tcp://127.0.0.1:8080")
    assert units.value_of(text, "X-Bumpless-Component") == "web"
    assert units.value_of(text, "X-Bumpless-Instance") == ""
