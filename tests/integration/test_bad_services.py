"""New versions that do what no service should: each is bounded and told, and the old version serves all the while."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bumpless.common.contract.events import StepOutcome
from bumpless.executor.drivers import logs, processes
from support.real_node import PROBE, QUICK, RealNode
from support.waiting import comes_true

PROGRAM = PROBE.read_text().replace("from __future__ import annotations\n", "")
AS_A_DAEMON = """
import os, sys, time
flag = os.path.join(os.environ["BUMPLESS_STATE_DIR"], "daemon")
if os.fork():
    while not os.path.exists(flag):
        time.sleep(0.01)
    sys.exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.environ["LISTEN_PID"] = str(os.getpid())
open(flag, "w").close()
"""
LEAVES_A_CHILD = """
import os, time
from bumpless.service import Response, Service
if os.fork() == 0:
    os.setsid()
    os.closerange(0, 3)
    time.sleep(300)
service = Service("leaky")
async def die():
    os._exit(4)
service.background(die)
async def answer(request):
    return Response.json({"version": service.version})
service.http(handler=answer)
service.run()
"""
PRINTS = """
import os
line = b"the same again and again\\n" * 4000
while True:
    os.write(1, line)
"""
FILLS_THE_DISK = """
import os
from bumpless.service import Response, Service
service = Service("greedy")
@service.on_ready
async def fill():
    with open(os.path.join(os.environ["BUMPLESS_STATE_DIR"], "big"), "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass
async def answer(request):
    return Response.json({"version": service.version})
service.http(handler=answer)
service.run()
"""


@dataclass(frozen=True)
class Bad:
    """A program, how it is run, and what the reason of the failed step must say."""

    main: str
    says: str
    run: dict[str, Any] = field(default_factory=dict)


def timing(**changes: float) -> dict[str, Any]:
    return {"timing": QUICK.model_copy(update=changes)}


BAD = {
    "never ready": Bad(
        PROGRAM,
        "expected READY=1 and a healthy v2 within 2 s",
        timing(ready_timeout_s=2) | {"env": {"PROBE_MODE": "never-ready"}},
    ),
    "dies before it is ready": Bad(
        PROGRAM,
        "it exited with status 9 before it was ready; its last words: no database, no service",
        {"env": {"PROBE_MODE": "dies-early"}},
    ),
    "ready, then dies": Bad(
        PROGRAM,
        "exited with status 3",
        timing(soak_s=60) | {"env": {"PROBE_MODE": "dies-after-ready"}},
    ),
    "forks away": Bad(AS_A_DAEMON + PROGRAM, "processes behind, which were ended with it"),
    "its child keeps the socket": Bad(LEAVES_A_CHILD, "exited with status 4", timing(soak_s=60)),
    "prints without end": Bad(PRINTS, "the same again and again", timing(ready_timeout_s=8)),
}


def instances(node: RealNode) -> set[str]:
    """Of every living process that this node has started, directly or not."""
    home = f"{node.data.resolve()}/components/"
    found = processes.started_by("BUMPLESS_STATE_DIR", home, everyone=True)
    return {env["BUMPLESS_INSTANCE"] for _, env in found}


@pytest.mark.parametrize("name", BAD)
async def test_the_step_fails_with_the_reason_and_the_old_version_serves(node: RealNode, name: str) -> None:
    bad = BAD[name]
    v1, v2 = node.version("v1"), node.version("v2", main=bad.main, **bad.run)
    assert (await node.apply(v1)).outcome is StepOutcome.DONE
    before = instances(node)
    failed = await node.apply(v2, v1)
    assert (failed.outcome, failed.root) == (StepOutcome.FAILED, v1.root)
    assert bad.says in (failed.reason or "")
    await comes_true(lambda: instances(node) == before, "nothing of v2 to be left")
    for _ in range(20):
        assert await node.answers() == "v1"
    for log in node.layout.log.glob("*.log"):
        assert log.stat().st_size <= logs.LIMIT


async def test_a_log_is_bounded_while_it_is_written(node: RealNode) -> None:
    v1 = node.version("v1", files={}, main=PRINTS, timing=QUICK.model_copy(update={"ready_timeout_s": 600}))
    await node.send(node.command(v1, None))
    sizes: list[int] = []

    def shrank() -> bool:
        sizes.extend(log.stat().st_size for log in node.layout.log.glob("*.log"))
        return len(sizes) > 1 and sizes[-1] < max(sizes) and max(sizes) > logs.LIMIT

    await comes_true(shrank, "the log to be cut while its writer goes on")
    assert instances(node)


async def test_an_old_version_that_ignores_sigterm_is_killed_at_its_deadline(node: RealNode) -> None:
    deaf = PROBE.read_text().replace(
        "async def get_ready() -> None:",
        "async def get_ready() -> None:\n    import signal\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    )
    quick = timing(warm_s=0, drain_timeout_s=0.3)
    v1, v2 = node.version("v1", main=deaf, **quick), node.version("v2", **quick)
    await node.apply(v1)
    [old] = instances(node)
    assert (await node.apply(v2, v1)).outcome is StepOutcome.DONE
    await comes_true(lambda: old not in instances(node), "v1 to be gone")
    assert await node.answers() == "v2"


async def test_what_a_service_left_while_the_executor_was_away_ends_at_its_start(node: RealNode) -> None:
    sleeps = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(300)\n"
    v1 = node.version("v1", main=sleeps + PROGRAM)
    await node.apply(v1)
    record = node.executor.record("probe")
    assert record is not None
    assert record.serving is not None
    [first] = instances(node)
    await node.leave()
    os.kill(record.serving.pid, signal.SIGKILL)
    await node.come_back()
    await comes_true(lambda: instances(node) != {first} and first not in instances(node), "it to be gone")
    await comes_true(lambda: len(instances(node)) == 1, "v1 to be started again")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB. It needs the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ("mount", "-t", "tmpfs", "-o", "size=48m", "bumpless-test", str(place)), capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs (root): {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(("umount", "--lazy", str(place)), check=False)


async def test_a_version_that_fills_the_disk_fails_and_the_old_one_serves(small_disk: Path) -> None:
    node = RealNode(small_disk)
    await node.start()
    try:
        v1, v2 = node.version("v1"), node.version("v2", main=FILLS_THE_DISK)
        await node.apply(v1)
        failed = await node.apply(v2, v1)
        assert (failed.outcome, failed.root) == (StepOutcome.FAILED, v1.root)
        assert "bytes free on the file system" in (failed.reason or "")
        assert await node.answers() == "v1"
        assert os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize < 8 << 20
        (node.layout.state / "big").unlink()
        assert (await node.apply(node.version("v3"), v1)).outcome is StepOutcome.DONE
    finally:
        await node.close()
