"""What is done because an alert fired, and what is recorded of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bumpless.alerts import acting, follow_up, machine
from bumpless.alerts.inputs import Concerned, Ran
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message, MessageId, RolloutId, derive_id
from bumpless.common.model.alert import ActionRun
from bumpless.common.model.alerting import ActionFile
from support.waiting import comes_true
from unit.alerts.scenes import FINGERPRINT, T0, World, at, observed, wanted

R1, R2 = RolloutId("r1"), RolloutId("r2")


def acting_world(kind: str, *, mute: tuple[float, float] | None = None, for_s: float = 0) -> World:
    return World(mute=mute).give(observed(actions=wanted(kind), for_s=for_s), 0)


def action(world: World) -> ActionRun:
    assert world.alert is not None
    (found,) = world.alert.actions
    return found


def concern(world: World, *rollouts: RolloutId, second: float = 1) -> World:
    message = Concerned(
        id=derive_id("c", str(second)), at=at(second), action=action(world).id, rollouts=rollouts
    )
    return world.give(message, second)


def answered(world: World, rollout: RolloutId, accepted: bool = True) -> e.CommandAnswered:
    return e.CommandAnswered(
        id=derive_id("answer", rollout),
        at=at(2),
        cause=follow_up.order_id(action(world).id, rollout),
        rollout=rollout,
        command="pause",
        accepted=accepted,
        text="so be it",
    )


def reverted(rollout: RolloutId = R1) -> e.RolloutReverted:
    return e.RolloutReverted(id=derive_id("reverted"), at=at(9), rollout=rollout, revert=RolloutId("b1"))


def failed(*, auto: bool = True) -> e.RolloutFailed:
    raw = {"id": "f", "at": at(3), "rollout": "r1", "product": "shop", "plan_hash": "h", "generation": 1}
    return e.RolloutFailed.model_validate(
        {**raw, "reason": "alert DiskFull", "policy_auto": auto, "switched_anything": True}
    )


@pytest.mark.parametrize(
    ("kind", "order"),
    [("pause", c.Pause), ("rollback", c.Rollback), ("fail", e.AlertFired), ("note", e.AlertFired)],
)
@pytest.mark.parametrize("mute", [None, (0.0, 9e9)], ids=["heard", "muted"])
def test_orders_are_given_once_silenced_or_not(
    kind: str, order: type[Message], mute: tuple[float, float] | None
) -> None:
    world = acting_world(kind, mute=mute)
    assert world.alert is not None
    due = machine.next_deadline(world.alert)
    assert due is not None
    assert due.due == T0
    concern(world, R1, R2)
    concern(world, R1, R2)
    orders = [m for m in world.sent if isinstance(m, order)]
    assert [getattr(m, "rollout", "") for m in orders] == ["r1", "r2"]
    assert len({m.id for m in orders}) == 2
    if isinstance(orders[0], e.AlertFired):
        assert orders[0].fail == (kind == "fail")


def test_no_action_before_it_fires_and_none_when_it_never_does() -> None:
    world = acting_world("fail", for_s=60)
    assert action(world).due is None
    concern(world, R2, second=30)
    world.rollouts = (R1,)
    world.until(60)
    assert [m.rollout for m in world.sent if isinstance(m, e.AlertFired)] == [R1]
    never = acting_world("fail", for_s=60).give(observed(False, second=5), 5).until(500)
    assert never.alert is not None
    assert never.alert.actions == ()


def test_no_rollout_under_way() -> None:
    world = concern(acting_world("rollback"))
    assert (action(world).status, action(world).detail) == ("nothing", "no rollout under way was concerned")


def test_the_outcome_of_every_rollout_is_recorded() -> None:
    world = concern(acting_world("rollback"), R1, R2)
    world.give(answered(world, R1), 2).give(answered(world, R2), 2).give(reverted(R1), 9)
    assert action(world).status == "sent"
    world.give(reverted(R2), 10)
    assert action(world).status == "done"
    assert action(world).outcomes == {"r1": "reverted by b1", "r2": "reverted by b1"}


@pytest.mark.parametrize(
    ("kind", "words", "status"),
    [
        ("pause", ["yes"], "done"),
        ("pause", ["no"], "failed"),
        ("rollback", ["no"], "failed"),
        ("fail", ["failed"], "sent"),
        ("fail", ["failed", "reverted"], "done"),
        ("fail", ["failed by hand"], "done"),
        ("fail", ["failed", "halted"], "failed"),
        ("note", [], "done"),
        ("rollback", ["yes"], "sent"),
    ],
)
def test_what_a_rollout_says(kind: str, words: list[str], status: str) -> None:
    world = concern(acting_world(kind), R1)
    halted = e.RolloutHalted(id=derive_id("halted"), at=at(9), rollout=R1, reason="a node is stuck")
    said: dict[str, Message] = {
        "yes": answered(world, R1),
        "no": answered(world, R1, accepted=False),
        "failed": failed(),
        "failed by hand": failed(auto=False),
        "reverted": reverted(),
        "halted": halted,
    }
    for word in words:
        world.give(said[word], 5)
    assert action(world).status == status


def test_an_outcome_that_does_not_come_is_not_waited_for_for_ever() -> None:
    world = concern(acting_world("rollback"), R1)
    world.give(answered(world, R1), 2).give(observed(False, second=3), 3).until(5000)
    assert action(world).status == "failed"
    assert "no outcome within 3600 s; the last word was: accepted: so be it" in action(world).detail


def test_a_hook_is_tried_again_as_often_as_it_may() -> None:
    world = acting_world("command")
    seconds = [0.0]
    while action(world).status == "due":
        due = action(world).due
        assert due is not None
        seconds.append((due - T0).total_seconds())
        ran = Ran(
            id=derive_id("ran", str(due)), at=due, action=action(world).id, ok=False, detail="exit status 1"
        )
        world.give(ran, seconds[-1])
    assert (action(world).status, action(world).tries, seconds) == ("failed", 3, [0, 0, 1, 3])


def config(*command: str, timeout_s: float = 30) -> ActionFile:
    raw = {"name": "degrade", "match": 'alertname="DiskFull"', "do": "command"}
    return ActionFile.model_validate({**raw, "command": command, "timeout_s": timeout_s})


async def run(found: ActionFile) -> tuple[bool, str]:
    world = acting_world("command")
    assert world.alert is not None
    outcome = await acting.run_command(found, world.alert, action(world), T0)
    return outcome.ok, outcome.detail


async def test_a_command_gets_the_alert_and_nothing_of_our_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUMPLESS_ALERTS_WEBHOOK_SECRET", "no business of a script")
    out = tmp_path / "out"
    script = (
        "import json, os, sys; "
        "open(sys.argv[1], 'w').write(json.dumps([json.load(sys.stdin), dict(os.environ)])); print('degraded')"
    )
    assert await run(config(sys.executable, "-c", script, str(out))) == (True, "exit status 0: degraded")
    given, env = json.loads(out.read_text())
    assert given["alert"]["fingerprint"] == FINGERPRINT
    assert given["action"] == "do-command"
    assert env["BUMPLESS_ACTION_ID"] == given["id"]
    assert "BUMPLESS_ALERTS_WEBHOOK_SECRET" not in env


async def test_a_command_that_fails_hangs_or_is_not_there(tmp_path: Path) -> None:
    assert await run(config("/bin/sh", "-c", "echo no; exit 3")) == (False, "exit status 3: no")
    ok, detail = await run(config(str(tmp_path / "none")))
    assert not ok
    assert detail.startswith("cannot be started")
    pids = tmp_path / "pids"
    hangs = config("/bin/sh", "-c", f"sleep 300 & echo $! > {pids}; wait", timeout_s=2)
    assert await run(hangs) == (False, "no end within 2 s")
    stat = Path(f"/proc/{pids.read_text().strip()}/stat")
    await comes_true(lambda: not stat.exists() or ") Z " in stat.read_text(), "its child to be gone too")


def test_ids_are_those_of_the_episode() -> None:
    first = action(acting_world("pause")).id
    world = acting_world("pause")
    world.give(observed(False, second=5), 5).give(observed(second=6, actions=wanted("pause")), 6)
    assert first != action(world).id
    assert MessageId(first) == derive_id(FINGERPRINT, "1", "action", "do-pause")
