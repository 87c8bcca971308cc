"""Reading the environment and telling the executor."""

import socket
from pathlib import Path

import pytest

from bumpless.service.contract import ContractError, Notifier, bind, read_contract, split_address


def test_a_process_started_by_hand_has_defaults() -> None:
    contract = read_contract({}, 7)
    assert not contract.managed
    assert contract.sockets == {}
    assert (contract.lame_duck_s, contract.drain_timeout_s) == (2.0, 30.0)


def test_descriptors_for_another_process_are_left_alone() -> None:
    assert not read_contract({"LISTEN_PID": "8", "LISTEN_FDS": "1"}, 7).managed


def test_identity_and_limits() -> None:
    contract = read_contract(
        {
            "LISTEN_PID": "7",
            "BUMPLESS_NODE": "n",
            "BUMPLESS_VERSION": "v2",
            "BUMPLESS_STATE_DIR": "/var/lib/x",
            "BUMPLESS_LAME_DUCK_MS": "1500",
            "BUMPLESS_DRAIN_TIMEOUT_MS": "9000",
        },
        7,
    )
    assert contract.managed
    assert (contract.node, contract.version, contract.state_dir) == ("n", "v2", Path("/var/lib/x"))
    assert (contract.lame_duck_s, contract.drain_timeout_s) == (1.5, 9.0)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"BUMPLESS_LAME_DUCK_MS": "2s"}, "expected a whole number in BUMPLESS_LAME_DUCK_MS, found '2s'"),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a"}, "expected 2 names in LISTEN_FDNAMES"),
    ],
)
def test_a_malformed_environment_is_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        read_contract(environ, 7)


def test_addresses() -> None:
    assert split_address("127.0.0.1:80") == ("127.0.0.1", 80)
    assert split_address("[::1]:80") == ("::1", 80)
    with pytest.raises(ContractError):
        split_address("nowhere")


def test_a_socket_bound_by_hand_replaces_what_a_dead_process_left(tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'deep' / 's'}"
    bind(address).close()
    with bind(address) as listener:
        assert listener.getsockname() == str(tmp_path / "deep" / "s")


def test_notifications_arrive_as_one_datagram_and_their_loss_is_ignored(tmp_path: Path) -> None:
    path = str(tmp_path / "n")
    Notifier(None).send("READY=1")
    Notifier(path).send("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        Notifier(path).send("READY=1", "STATUS=fine")
        assert receiver.recv(100) == b"READY=1\nSTATUS=fine"
