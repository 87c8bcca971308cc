"""Who else works for a node: the lock of the data directory, and who speaks under the node's name."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from bumpless.common.contract.events import NodeObserved
from bumpless.common.errors import Refused
from bumpless.common.model.fleet import Node
from bumpless.executor import rivals
from unit.executor.making import T0


def observed(identity: str, age_s: float, executor: str = "pid 7 on elsewhere") -> NodeObserved:
    at = T0 - timedelta(seconds=age_s)
    node = Node(name="n1", address="10.0.0.1", observed_at=at, identity=identity, executor=executor)
    return NodeObserved.model_validate({"id": "i", "at": at, "node": node})


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (observed("theirs", 1), "pid 7 on elsewhere"),
        (observed("theirs", 1, ""), "an executor that does not say where it runs"),
        (observed("theirs", 61), None),
        (observed("ours", 1), None),
        (observed("", 1), None),
    ],
    ids=["another", "another, nameless", "long ago", "ourselves", "of an earlier version"],
)
def test_only_another_one_that_spoke_lately_is_a_rival(message: NodeObserved, expected: str | None) -> None:
    assert rivals.rival(message, "ours", T0) == expected


def test_the_holder_of_the_lock_is_named(tmp_path: Path) -> None:
    held = rivals.lock(tmp_path, "n1")
    try:
        with pytest.raises(Refused, match=rf"found the one of node n1: pid {os.getpid()} on .* started as"):
            rivals.lock(tmp_path, "n2")
    finally:
        os.close(held)
    os.close(rivals.lock(tmp_path, "n2"))


def test_a_lock_of_an_earlier_version_is_respected(tmp_path: Path) -> None:
    held = rivals.lock(tmp_path, "n1")
    try:
        (tmp_path / "lock").write_text("")
        with pytest.raises(Refused, match="found one that is running"):
            rivals.lock(tmp_path, "n1")
    finally:
        os.close(held)


def test_the_identity_is_made_once(tmp_path: Path) -> None:
    assert rivals.identity(tmp_path / "new") == rivals.identity(tmp_path / "new")
    assert rivals.identity(tmp_path / "other") != rivals.identity(tmp_path / "new")
