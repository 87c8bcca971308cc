"""A version directory that somebody changed is found before anything is started from it."""

from __future__ import annotations

import os
import signal

import pytest

from bumpless.common.artifacts.errors import BlobMissing
from bumpless.common.contract.events import NodeObserved, StepOutcome
from bumpless.executor import tree_watch
from support.real_node import RealNode
from support.waiting import comes_true


def reason(message: NodeObserved) -> str:
    seen = message.node.components.get("probe")
    return (seen.reason if seen else None) or ""


def spoil(node: RealNode, root: str) -> None:
    """Same size, same modification time: only the change time and the bytes tell."""
    file = node.layout.versions / root.removeprefix("sha256:") / "version"
    info = file.stat()
    file.write_text("vX")
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))


async def test_a_changed_tree_is_made_again_before_the_restart(node: RealNode) -> None:
    v1 = node.version("v1")
    await node.apply(v1)
    first = node.pid
    spoil(node, v1.root)
    os.kill(first, signal.SIGKILL)
    await comes_true(lambda: node.pid not in (0, first), "another process to serve")
    assert node.trees.staged == 2
    assert (node.layout.version(v1.root) / "version").read_text() == "v1"
    assert await node.answers() == "v1"


async def test_where_it_cannot_be_made_again_nothing_is_started_and_what_changed_is_named(
    node: RealNode,
) -> None:
    v1 = node.version("v1")
    await node.apply(v1)
    first = node.pid
    spoil(node, v1.root)
    (node.layout.version(v1.root) / "extra.py").touch()
    node.trees.error = BlobMissing("sha256:0", "the store")
    os.kill(first, signal.SIGKILL)
    said = await node.heard.wait(NodeObserved, lambda m: "version is changed" in reason(m))
    assert "extra.py is added" in reason(said)
    assert node.pid == 0
    node.trees.error = None
    await comes_true(lambda: node.pid not in (0, first), "it to serve when the store is back")


async def test_the_way_back_to_a_changed_tree_is_made_whole_first(node: RealNode) -> None:
    v1, v2 = node.version("v1"), node.version("v2", main="import sys; sys.exit('no such luck')\n")
    await node.apply(v1)
    spoil(node, v1.root)
    failed = await node.apply(v2, v1)
    assert failed.outcome is StepOutcome.FAILED
    assert "no such luck" in (failed.reason or "")
    # It was running from the changed tree, so it was not started again, and serves.
    assert await node.answers() == "v1"


async def test_a_changed_tree_that_serves_is_told_while_it_serves(
    node: RealNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_watch, "SETTLE_S", 0.05)
    monkeypatch.setattr(tree_watch, "EVERY_S", 0.2)
    v1, v2 = node.version("v1"), node.version("v2")
    await node.restart()
    await node.apply(v1)
    spoil(node, v1.root)
    said = await node.heard.wait(NodeObserved, lambda m: bool(changed(m)))
    assert changed(said) == ("version is changed",)
    assert await node.answers() == "v1"
    await node.apply(v2, v1)
    await node.heard.wait(NodeObserved, lambda m: m.at > said.at and not changed(m))
    assert await node.answers() == "v2"


def changed(message: NodeObserved) -> tuple[str, ...]:
    facts = message.node.facts
    return () if facts is None else facts.changed.get("probe", ())
