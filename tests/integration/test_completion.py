"""Shells complete ids of rollouts out of the broker, and nothing where there is none."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.topology import ensure_topology
from support.plans import batch, plan
from support.rollouts import planned

PLAN = plan(batch("api-1", ["n1"]))
MAIN = "import sys; sys.argv[0] = 'bumpless'; from bumpless.cli.app import main; main()"
LIMIT_S = 60.0


async def completed(shell: str, words: str, nats_url: str) -> str:
    told = {
        "bash": {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": words},
        "fish": {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    env = {**os.environ, **told, "_BUMPLESS_COMPLETE": f"complete_{shell}", "BUMPLESS_NATS_URL": nats_url}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MAIN, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert "Traceback" not in err.decode()
    return out.decode()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_ids_of_rollouts(nats_url: str, shell: str) -> None:
    connection = await Connection.connect(nats_url, name="test")
    try:
        await ensure_topology(connection)
        await connection.publish(planned(PLAN, clock.now()), source="planner")
    finally:
        await connection.close()
    assert PLAN.rollout in await completed(shell, f"bumpless rollout watch {PLAN.rollout[:4]}", nats_url)
    if shell == "bash":  # the others differ in nothing but how they ask
        assert PLAN.rollout in await completed(shell, "bumpless pause ", nats_url)
        assert PLAN.rollout not in await completed(shell, "bumpless pause zz", nats_url)


async def test_without_a_broker_nothing_is_completed() -> None:
    assert (await completed("bash", "bumpless pause ", "nats://127.0.0.1:1")).strip() == ""
