"""Hooks of a release around a real switch: when, where and with what they run, and what their failure leaves."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bumpless.common.contract.events import StepFinished, StepOutcome
from bumpless.common.model.fleet import ComponentState
from bumpless.common.model.plan import Direction, Target
from support.real_node import RealNode
from support.waiting import comes_true

NOTE = """
import json, os, sys
words = {k: v for k, v in os.environ.items() if k.startswith("BUMPLESS_") or k == "WORD"}
with open(sys.argv[1], "a") as file:
    file.write(json.dumps({"words": words, "version": open("version").read()}) + "\\n")
print("noted", words["BUMPLESS_HOOK"])
sys.exit(words["BUMPLESS_HOOK"] == os.environ.get("FAILS"))
"""
EVERY = ("pre_upgrade", "smoke_test", "pre_drain", "post_upgrade")


def noting(node: RealNode, version: str, fails: str = "", hooks: tuple[str, ...] = EVERY) -> Target:
    """A version whose hooks write down how they were run. `fails`: that one ends with status 1."""
    command = [sys.executable, "note.py", "{state}/notes"]
    return node.version(
        version,
        files={"note.py": NOTE},
        hooks={name: {"command": command, "timeout_s": 60} for name in hooks},
        env={"WORD": f"of {version}", "FAILS": fails},
    )


def notes(node: RealNode) -> list[dict[str, Any]]:
    file = node.layout.state / "notes"
    return [json.loads(row) for row in file.read_text().splitlines()] if file.exists() else []


async def test_hooks_run_in_their_order_in_their_version_with_the_words_of_the_step(node: RealNode) -> None:
    v1, v2 = noting(node, "v1"), noting(node, "v2")
    assert (await node.apply(v1)).outcome is StepOutcome.DONE
    # There was no old version to drain.
    assert [n["words"]["BUMPLESS_HOOK"] for n in notes(node)] == ["pre_upgrade", "smoke_test", "post_upgrade"]
    (node.layout.state / "notes").unlink()
    assert (await node.apply(v2, v1)).outcome is StepOutcome.DONE
    seen = notes(node)
    assert [(n["words"]["BUMPLESS_HOOK"], n["version"], n["words"]["WORD"]) for n in seen] == [
        ("pre_upgrade", "v2", "of v2"),
        ("smoke_test", "v2", "of v2"),
        ("pre_drain", "v1", "of v1"),
        ("post_upgrade", "v2", "of v2"),
    ]
    words = seen[1]["words"]
    assert (words["BUMPLESS_VERSION"], words["BUMPLESS_PREVIOUS_VERSION"]) == ("v2", "v1")
    assert (words["BUMPLESS_ROLLOUT"], words["BUMPLESS_NODE"]) == ("r1", "node-a")
    assert (words["BUMPLESS_DIGEST"], words["BUMPLESS_PREVIOUS_DIGEST"]) == (v2.root, v1.root)
    assert words["BUMPLESS_LISTEN_HTTP"] == f"tcp://127.0.0.1:{node.port}"
    assert Path(words["BUMPLESS_STATE_DIR"]) == node.layout.state.resolve()
    assert words["BUMPLESS_ADMIN_SOCKET"].endswith(f"/{words['BUMPLESS_INSTANCE']}.sock")
    assert (node.layout.log / "hooks" / "post_upgrade.log").read_text() == "noted post_upgrade\n"
    # The way back runs none.
    assert (await node.apply(v1, v2, Direction.REVERT)).outcome is StepOutcome.DONE
    assert len(notes(node)) == 4


@pytest.mark.parametrize("name", EVERY)
async def test_a_hook_that_fails_fails_the_step_and_the_old_version_serves(node: RealNode, name: str) -> None:
    v1 = noting(node, "v1", name, hooks=("pre_drain",))
    v2 = noting(node, "v2", name, hooks=("pre_upgrade", "smoke_test", "post_upgrade"))
    assert (await node.apply(v1)).outcome is StepOutcome.DONE
    failed = await node.apply(v2, v1)
    assert (failed.outcome, failed.root) == (StepOutcome.FAILED, v1.root)
    assert failed.reason is not None
    assert f"the hook {name}" in failed.reason
    assert "status 1 after" in failed.reason
    assert f"its last words: noted {name}" in failed.reason
    assert await node.answers() == "v1"
    assert node.layout.current() == v1.root
    record = node.executor.record("probe")
    assert record is not None
    assert (record.state, record.fresh) == (ComponentState.SERVING, None)


async def test_a_hook_that_does_not_end_is_killed_with_all_it_started(node: RealNode) -> None:
    script = "import os, sys, time\nos.fork()\nopen(sys.argv[1] + str(os.getpid()), 'w')\ntime.sleep(300)\n"
    v1 = node.version("v1")
    hook = {"command": [sys.executable, "hook.py", "{state}/pid-"], "timeout_s": 5}
    v2 = node.version("v2", files={"hook.py": script}, hooks={"pre_upgrade": hook})
    await node.apply(v1)
    failed = await node.apply(v2, v1)
    assert failed.outcome is StepOutcome.FAILED
    assert "to end within 5 s" in (failed.reason or "")
    pids = [int(p.name.removeprefix("pid-")) for p in node.layout.state.glob("pid-*")]
    for pid in pids:
        await comes_true(lambda pid=pid: not Path(f"/proc/{pid}/fd").exists() or _dead(pid), "it to be gone")
    assert await node.answers() == "v1"


async def test_a_hook_runs_again_after_the_executor_was_replaced(node: RealNode) -> None:
    # It waits until the test lets it end, which the first run never does.
    script = (
        "import os, sys, time\nopen(sys.argv[1] + str(os.getpid()), 'w')\n"
        "while not os.path.exists(sys.argv[2]): time.sleep(0.02)\n"
    )
    v1 = node.version("v1")
    argv = [sys.executable, "hook.py", "{state}/pid-", "{state}/go"]
    v2 = node.version("v2", files={"hook.py": script}, hooks={"smoke_test": argv})
    await node.apply(v1)
    command = node.command(v2, v1)
    await node.send(command)
    state = node.layout.state
    await comes_true(lambda: len(list(state.glob("pid-*"))) == 1, "the hook to run")
    await node.restart()
    (state / "go").touch()
    await comes_true(lambda: len(list(state.glob("pid-*"))) == 2, "the hook to run again")
    done = await node.heard.wait(StepFinished, lambda m: m.cause == command.id)
    assert done.outcome is StepOutcome.DONE
    assert await node.answers() == "v2"


def _dead(pid: int) -> bool:
    try:
        return ") Z" in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
