"""What only the hooks driver has: the keeper and what it holds, hooks that fail or are not there, and what is undone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bumpless.common.contract.base import Digest
from bumpless.common.errors import Refused
from bumpless.common.model.hooks import SwitchHooks
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Driver, Run, Timing
from bumpless.executor.drivers.hooks.switch import HooksSwitch
from bumpless.executor.ports import Launch, NotReady, Unanswered
from bumpless.executor.record import Instance
from support.waiting import comes_true

READY_S = 60.0
STOP_S = 30.0
WAIT = "while :; do sleep 0.05; done"
"""A shell that serves until it is signalled; traps run between two of its turns."""


class Node:
    def __init__(self, home: Path) -> None:
        self.home = home / "components" / "tool"
        self._run_dir, self._components = home / "run", home / "components"
        self.switch = self._new()
        self.started: list[Instance] = []
        for name in ("versions", "state", "log"):
            (self.home / name).mkdir(parents=True)

    def _new(self) -> HooksSwitch:
        return HooksSwitch("node-a", self._run_dir, self._components)

    def die(self) -> None:
        self.switch.close()
        self.switch = self._new()

    async def start(self, script: str, **hooks: Any) -> Instance:
        """`script` is what the program does, as a shell sees it; `{state}` in hooks is the state directory."""
        words = {"ready": ["test", "-e", "{state}/ready"], **hooks}
        run = Run(
            driver=Driver.HOOKS,
            command=("sh", "-c", script),
            switch_hooks=SwitchHooks.model_validate({k: v for k, v in words.items() if v is not None}),
            timing=Timing(ready_timeout_s=READY_S),
        )
        digest = Digest("sha256:" + "a" * 64)
        target = Target(
            component="tool", version="v1", root=digest, artifact=digest, artifact_size=1, run=run
        )
        instance = Instance(id=f"tool-{len(self.started)}", target=target)
        launch = Launch("tool", instance, self.home / "versions", self.home / "state", self.home / "log")
        started = await self.switch.start(launch)
        self.started.append(started)
        return started

    def state(self, name: str) -> Path:
        return self.home / "state" / name

    async def ready(self, script: str, **hooks: Any) -> Instance:
        instance = await self.start(script, **hooks)
        await self.switch.wait_ready(instance, READY_S)
        return instance


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path)
    async with asyncio.timeout(150):
        try:
            yield made
        finally:
            await asyncio.gather(*(made.switch.kill(i) for i in made.started))
            await made.switch.reap(())
            made.switch.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


DAEMON = (
    'setsid sh -c \'trap "echo ended >$BUMPLESS_STATE_DIR/said; exit" TERM;'
    f" echo $$ >$BUMPLESS_STATE_DIR/pid; touch $BUMPLESS_STATE_DIR/ready; {WAIT}' &"
)
"""Leaves its session and its parent, which exits with 0 at once."""


async def test_a_program_that_daemonises_is_held_and_told_to_stop(node: Node) -> None:
    instance = await node.ready(DAEMON)
    await node.switch.check(instance)
    daemon = int(node.state("pid").read_text())
    await node.switch.stop(instance, STOP_S)
    assert node.state("said").read_text() == "ended\n"
    assert not alive(daemon)


async def test_a_daemon_ends_with_its_keeper_when_it_is_killed(node: Node) -> None:
    instance = await node.ready(DAEMON)
    daemon = int(node.state("pid").read_text())
    await node.switch.kill(instance, "enough")
    assert (await node.switch.exited(instance)).reason == "was ended: enough"
    await comes_true(lambda: not alive(daemon), "the daemon gone")


async def test_what_a_lost_keeper_held_ends_before_another_is_started(node: Node) -> None:
    instance = await node.ready(DAEMON)
    daemon = int(node.state("pid").read_text())
    node.switch.close()
    os.kill(instance.pid, signal.SIGKILL)
    node.switch = node._new()
    await comes_true(lambda: not alive(instance.pid), "the keeper gone")
    assert await node.switch.adopt(instance) is None
    await comes_true(lambda: not alive(daemon), "the daemon gone")


async def test_the_next_executor_reads_how_it_ended(node: Node) -> None:
    instance = await node.ready(f"trap 'exit 7' USR1; touch $BUMPLESS_STATE_DIR/ready; {WAIT}")
    node.die()
    adopted = await node.switch.adopt(instance)
    assert adopted is not None
    os.kill(instance.pid, signal.SIGUSR1)
    assert "exited with status 7" in (await node.switch.exited(adopted)).reason


async def test_a_program_killed_by_a_signal_is_told_so(node: Node) -> None:
    instance = await node.ready(f"trap 'kill -SEGV $$' USR1; touch $BUMPLESS_STATE_DIR/ready; {WAIT}")
    os.kill(instance.pid, signal.SIGUSR1)
    assert "killed by SIGSEGV" in (await node.switch.exited(instance)).reason


async def test_a_program_that_is_not_there_fails_with_its_name(node: Node) -> None:
    with pytest.raises(NotReady, match=r"status 127.*no-such-program"):
        await node.ready("exec no-such-program")


SAYS_READY = (
    "import os, socket, sys, time;"
    "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM);"
    "s.sendto(b'STATUS=warm\\nREADY=1', os.environ['NOTIFY_SOCKET'].replace('@', chr(0)));"
    "sys.stdin.close(); time.sleep(600)"
)


async def test_ready_is_heard_while_no_executor_is_there(node: Node) -> None:
    instance = await node.start(f'exec python3 -c "{SAYS_READY}"', ready=None)
    status = node._run_dir / "hooks" / instance.id / "status.json"
    node.switch.close()
    await comes_true(
        lambda: status.exists() and '"ready": true' in status.read_text(), "READY=1 written down"
    )
    node.switch = node._new()
    adopted = await node.switch.adopt(instance)
    assert adopted is not None
    await node.switch.wait_ready(adopted, READY_S)


async def test_a_failed_preparation_is_told_and_undone_and_nothing_is_started(node: Node) -> None:
    with pytest.raises(Refused, match="the port is closed"):
        await node.start(
            "touch $BUMPLESS_STATE_DIR/started",
            prepare=["sh", "-c", "echo the port is closed; exit 1"],
            rollback=["touch", "{state}/undone"],
        )
    assert node.state("undone").exists()
    assert not node.state("started").exists()


async def test_what_never_gave_way_is_rolled_back_and_what_was_drained_is_not(node: Node) -> None:
    script = f"touch $BUMPLESS_STATE_DIR/ready; {WAIT}"
    undo = ["sh", "-c", "echo $BUMPLESS_INSTANCE >>{state}/undone"]
    kept = await node.ready(script, rollback=undo)
    await node.switch.pause(kept)
    await node.switch.stop(kept, STOP_S)
    dropped = await node.ready(script, rollback=undo)
    await node.switch.stop(dropped, STOP_S)
    await node.switch.stop(dropped, STOP_S)
    assert node.state("undone").read_text() == f"{dropped.id}\n"


async def test_without_resume_a_drain_ends_with_the_program_and_there_is_no_way_back(node: Node) -> None:
    script = (
        "trap 'echo TERM >>$BUMPLESS_STATE_DIR/said; test -e $BUMPLESS_STATE_DIR/idle && exit' TERM;"
        f"touch $BUMPLESS_STATE_DIR/ready; {WAIT}"
    )
    instance = await node.ready(script)
    await node.switch.pause(instance)
    with pytest.raises(Unanswered, match="resume hook"):
        await node.switch.resume(instance)
    left = await node.switch.drained(instance, 0, 0.3)
    assert left == ("it still runs 0.3 s after it was told to stop",)
    await comes_true(node.state("said").exists, "the trap at work")
    await node.switch.kill(instance)
    assert node.state("said").read_text() == "TERM\n"  # once: a second signal cuts off many a program


async def test_a_hook_that_hangs_is_ended_at_its_own_deadline(node: Node) -> None:
    instance = await node.ready(
        f"touch $BUMPLESS_STATE_DIR/ready; {WAIT}",
        drain={"argv": ["sleep", "600"], "timeout_s": 0.3},
        resume=["true"],
    )
    with pytest.raises(Unanswered, match=r"within 0\.3 s"):
        await node.switch.pause(instance)


async def test_a_profile_that_needs_a_socket_says_so(node: Node) -> None:
    run = Run.model_validate({"driver": "hooks", "command": ["uvicorn", "a:b"], "profile": "uvicorn"})
    digest = Digest("sha256:" + "a" * 64)
    target = Target(component="tool", version="v1", root=digest, artifact=digest, artifact_size=1, run=run)
    with pytest.raises(Refused, match=r"run\.listen"):
        await node.switch.start(
            Launch("tool", Instance(id="x", target=target), node.home, node.home / "state", node.home / "log")
        )
