"""The file in which a process leaves its state: whole, or not read."""

import json
from pathlib import Path

import pytest

from bumpless.service.handover import Handover, HandoverError, Keeper, read_handover, write_handover

LEFT = Handover(b"\x00seven\n", "1.0", "a1")


def test_what_was_left_is_read_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "handover"
    write_handover(path, "counter", LEFT)
    assert read_handover(path, "counter") == LEFT
    assert read_handover(path, "counter") == LEFT
    assert [p.name for p in path.parent.iterdir()] == ["handover"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_was_left(tmp_path: Path) -> None:
    assert read_handover(tmp_path / "handover", "counter") is None


def test_every_flipped_bit_of_the_state_and_every_cut_is_found(tmp_path: Path) -> None:
    path = tmp_path / "handover"
    write_handover(path, "counter", LEFT)
    whole = path.read_bytes()
    start = whole.index(b"\n") + 1
    for place in range(start, len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with pytest.raises(HandoverError, match="another digest"):
                read_handover(path, "counter")
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(HandoverError):
            read_handover(path, "counter")
    path.write_bytes(whole + b"x")
    with pytest.raises(HandoverError, match="found more"):
        read_handover(path, "counter")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "bumpless-handover/2"}, "expected the format bumpless-handover/1, found"),
        ({"component": "till"}, "expected the state of 'counter', found that of 'till'"),
        ({"size": -1}, "expected a size"),
        ({"size": 1 << 40}, "expected a size"),
        ({"size": "7"}, "expected a size"),
        ({"sha256": None}, "another digest"),
    ],
)
def test_a_header_that_does_not_fit(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = tmp_path / "handover"
    write_handover(path, "counter", LEFT)
    head, state = path.read_bytes().split(b"\n", 1)
    path.write_bytes(json.dumps(json.loads(head) | changes).encode() + b"\n" + state)
    with pytest.raises(HandoverError, match=message):
        read_handover(path, "counter")


@pytest.mark.parametrize("line", [b"", b"\n", b"[]\n", b"{", b"\xff\n", b"x" * 9000])
def test_a_header_that_is_none(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "handover"
    path.write_bytes(line)
    with pytest.raises(HandoverError, match="expected a line with a JSON object"):
        read_handover(path, "counter")


def keeper(path: Path | None, instance: str, taken: list[bytes]) -> Keeper:
    made = Keeper(path, "counter", "1.0", instance)

    async def save() -> bytes:
        return b"of " + instance.encode()

    async def restore(left: Handover) -> None:
        if left.state == b"bad":
            raise ValueError("not mine")
        taken.append(left.state)

    made.save, made.restore = save, restore
    return made


async def test_one_leaves_and_the_next_takes_once(tmp_path: Path) -> None:
    path, taken = tmp_path / "handover", list[bytes]()
    first, second = keeper(path, "a", taken), keeper(path, "b", taken)
    await first.take()
    assert first.outcome == "nothing was left"
    await first.leave()
    await second.take()
    await second.take()
    assert taken == [b"of a"]
    assert second.outcome == "taken from a"


async def test_one_that_never_began_to_work_leaves_its_predecessors_state_alone(tmp_path: Path) -> None:
    path = tmp_path / "handover"
    write_handover(path, "counter", LEFT)
    await keeper(path, "b", []).leave()
    assert read_handover(path, "counter") == LEFT


async def test_damage_is_told_and_not_restored(tmp_path: Path) -> None:
    path, taken = tmp_path / "handover", list[bytes]()
    path.write_bytes(b"rubbish")
    one = keeper(path, "b", taken)
    await one.take()
    assert taken == []
    assert one.outcome.startswith("not read: expected a line")


async def test_a_refused_state_is_tried_again(tmp_path: Path) -> None:
    path, taken = tmp_path / "handover", list[bytes]()
    write_handover(path, "counter", Handover(b"bad", "1.0", "a"))
    one = keeper(path, "b", taken)
    with pytest.raises(ValueError, match="not mine"):
        await one.take()
    write_handover(path, "counter", LEFT)
    await one.take()
    assert taken == [LEFT.state]


async def test_without_a_file_nothing_is_taken_or_left() -> None:
    one = keeper(None, "a", [])
    await one.take()
    await one.leave()
    assert one.outcome == "nothing was left"
