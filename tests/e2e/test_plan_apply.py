"""`bumpless plan`, then `apply` of its hash, then `rollout compare`: what was done is what was shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.fleet_lab import Ended, Lab, run_cli
from support.fleet_product import write_release
from support.waiting import eventually

pytestmark = pytest.mark.timeout(300)


def data(ended: Ended, code: int) -> Any:
    assert ended.code == code, ended
    return json.loads(ended.out)


async def planned(lab: Lab, file: Path) -> dict[str, Any]:
    shown = data(await lab.cli("plan", str(file), "-o", "json", "--detailed-exitcode"), 2)
    assert shown["runs"], shown
    assert shown["next"].endswith(f"apply {file} --plan-hash {shown['plan_hash']}")
    found: dict[str, Any] = shown
    return found


async def apply(lab: Lab, file: Path, shown: dict[str, Any]) -> Ended:
    words = ("apply", str(file), "--plan-hash", shown["plan_hash"], "--timeout", "150")
    return await run_cli(lab.home, "--nats", lab.nats_url, *words, limit_s=170)


async def compared(lab: Lab, shown: dict[str, Any], code: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = data(
        await lab.cli("rollout", "compare", "--plan-hash", shown["plan_hash"], "-o", "json"), code
    )
    return found


async def test_a_rollout_does_what_was_shown_and_the_next_plan_knows_how_long_it_took(
    lab: Lab, folder: Path
) -> None:
    file = write_release(folder, new := lab.fresh(), core=new, front=f"f{new}")
    shown = await planned(lab, file)
    assert shown["totals"] == {"upgrade": 6} or shown["totals"] == {"replace": 3, "upgrade": 3}
    assert shown["horizon"] == {"batch": None, "text": "free to the end: every batch can be taken back"}
    async with lab.load():
        ended = await apply(lab, file, shown)
    assert ended.code == 0, ended
    assert " left (" in ended.out, ended.out
    (done,) = await compared(lab, shown)
    assert done["discrepancies"] == []
    batches = shown["plan"]["batches"]
    assert (done["batches"], done["steps"], done["answered"]) == (len(batches), 6, 6)
    assert done["gates"] == sum(1 for batch in batches if batch["gate"] is not None) > 0

    again = await lab.cli("plan", str(file), "--detailed-exitcode")
    assert again.code == 0, again
    assert "nothing to change" in again.out

    later = await lab.cli("plan", str(write_release(folder, more := lab.fresh(), core=more, front=f"f{new}")))
    assert later.code == 0, later
    assert "core: " in later.out
    assert "the median of " in later.out
    assert "run it: bumpless --home " in later.out

    other = data(await lab.cli("rollout", "compare", "--plan-hash", _hash(later.out), "-o", "json"), 1)
    assert "plan" in {one["kind"] for one in other[0]["discrepancies"]}


async def test_one_that_fails_and_is_taken_back_does_no_more_than_was_shown(lab: Lab, folder: Path) -> None:
    bad = lab.fresh()
    file = write_release(
        folder, bad, core=bad, front=f"f{bad}", mode="never-ready", timing={"ready_timeout_s": 3}
    )
    shown = await planned(lab, file)
    ended = await apply(lab, file, shown)
    assert ended.code == 2, ended
    # `apply` hears that it is taken back from the service that does it; the planner writes that down a moment later.
    forward, back = await eventually(
        lambda: compared(lab, shown),
        lambda found: [one["status"] for one in found] == ["reverted", "reverted"],
        "both to be reverted",
    )
    assert forward["discrepancies"] == back["discrepancies"] == []
    assert forward["batches"] == 1
    assert len(forward["left_out"]) == len(shown["plan"]["batches"]) - 1
    said = await lab.cli("rollout", "compare")
    assert said.code == 0, said
    assert said.out.count("done exactly as shown") == 2


async def test_a_plan_that_no_longer_holds_is_refused_with_what_moved(lab: Lab, folder: Path) -> None:
    late, first = lab.fresh(), lab.fresh()
    old = write_release(folder, late, core=late, front=None, gate=None)
    shown = await planned(lab, old)
    other = write_release(folder, first, core=first, front=None, gate=None)
    assert (await apply(lab, other, await planned(lab, other))).code == 0
    refused = await apply(lab, old, shown)
    assert refused.code == 1, refused
    said = refused.out + refused.err
    assert f"expected plan {shown['plan_hash']}" in said
    assert "the fleet's generation" in said
    assert f"changed: core: comes from {first}, not" in said
    assert "node-1, node-2, node-3" in said

    unknown = await lab.cli("apply", str(old), "--plan-hash", "sha256:" + "0" * 64)
    assert unknown.code == 1, unknown
    assert "not known here" in unknown.out + unknown.err
    typed = await lab.cli("apply", str(old), "--plan-hash", shown["plan_hash"][:20])
    assert typed.code == 1, typed
    assert typed.err.startswith("error: expected the hash of a plan")


async def test_a_release_that_cannot_run_is_told_in_full_and_in_json(lab: Lab, folder: Path) -> None:
    file = write_release(folder, new := lab.fresh(), core=new, front=None, nodes=["node-1", "node-77"])
    ended = await lab.cli("plan", str(file))
    assert ended.code == 1, ended
    assert "node-77" in ended.out
    assert "Traceback" not in ended.err
    shown = data(await lab.cli("plan", str(file), "-o", "json", "--picture", "svg"), 1)
    assert (shown["plan"], shown["runs"], shown["next"]) == (None, False, "")
    assert [(f["code"], f["subject"]) for f in shown["findings"] if f["severity"] == "block"] == [
        ("NODE_UNKNOWN", "node-77")
    ]


async def test_pictures_go_to_files(lab: Lab, folder: Path) -> None:
    file = write_release(folder, new := lab.fresh(), core=new, front=None)
    for picture in ("tree", "graph", "mermaid", "dot", "svg"):
        out = folder / f"plan.{picture}"
        ended = await lab.cli("--no-color", "plan", str(file), "--picture", picture, "--out", str(out))
        assert ended.code == 0, ended
        assert ended.out == ""
        assert f"written to {out}" in ended.err
        assert "core-1" in out.read_text()
        assert "\x1b" not in out.read_text()


def _hash(page: str) -> str:
    return next(line for line in page.splitlines() if line.startswith("plan sha256:")).removeprefix("plan ")
