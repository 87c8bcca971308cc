"""What moved between a plan that was shown and the one of now, in words."""

from __future__ import annotations

from bumpless.common.contract.base import BatchId, RolloutId
from bumpless.common.model.plan import Plan, step_key
from bumpless.common.render.difference import MOST_LINES, difference
from support.plans import GATE, batch, digest, plan, target

SHOWN = plan(
    batch("api-1", ["n1"], gate=GATE), batch("api-2", ["n2", "n3"], needs=["api-1"]), release_version="v2"
)


def lines(now: Plan, shown: Plan = SHOWN) -> list[str]:
    return difference(shown, now).lines


def test_the_same_plan_has_none_however_it_is_put_together() -> None:
    turned = SHOWN.model_copy(
        update={
            "batches": tuple(
                b.model_copy(update={"steps": b.steps[::-1], "needs": b.needs[::-1]})
                for b in SHOWN.batches[::-1]
            )
        }
    )
    assert not difference(SHOWN, turned)


def test_the_fleet_moved_on() -> None:
    now = plan(batch("api-1", ["n1"], gate=GATE), batch("api-2", ["n2"], needs=["api-1"]), generation=9,
               release_version="v2", unchanged=(step_key("n3", "api"),))  # fmt: skip
    found = difference(SHOWN, now)
    assert found.removed == ("n3/api",)
    assert found.lines == [
        "the fleet's generation: 7 was shown, 9 now; another rollout was planned in between, or a node has taken one",
        "removed: api: upgrade v1 -> v2, which is there already: n3",
    ]


def test_a_node_came_and_one_runs_something_else() -> None:
    old = target("api", "v0")
    now = plan(
        batch("api-1", ["n1"], gate=GATE),
        batch("api-2", ["n2", "n3", "n4"], needs=["api-1"]),
        release_version="v2",
    )
    moved = now.batches[1].steps[0].model_copy(update={"before": old.id})
    changed = now.batches[1].model_copy(update={"steps": (moved, *now.batches[1].steps[1:])})
    now = now.model_copy(
        update={"batches": (now.batches[0], changed), "targets": {**now.targets, old.id: old}}
    )
    found = difference(SHOWN, now)
    assert (found.added, found.changed) == (("n4/api",), ("n2/api",))
    assert found.lines == [
        "added: api: upgrade v1 -> v2: n4",
        "changed: api: comes from v0, not v1: n2",
    ]


def test_the_release_moved() -> None:
    new = target("api", "v2").model_copy(
        update={"run": target("api", "v2").run.model_copy(update={"env": {"A": "1"}}), "artifact_size": 5}
    )
    batches = tuple(
        b.model_copy(update={"steps": tuple(s.model_copy(update={"after": new.id}) for s in b.steps)})
        for b in SHOWN.batches
    )
    now = SHOWN.model_copy(
        update={
            "batches": batches,
            "targets": {**SHOWN.targets, new.id: new},
            "release_digest": digest("another"),
            "max_unavailable": 2,
        }
    )
    assert lines(now) == [
        "max_unavailable: 10 was shown, 2 now",
        f"the release itself: {SHOWN.release_digest[:19]} was shown, {digest('another')[:19]} now",
        "changed: api: goes to v2 with another artifact_size, run.env: n1, n2, n3",
    ]


def test_the_order_and_limits_of_batches() -> None:
    one, two = SHOWN.batches
    now = SHOWN.model_copy(
        update={
            "batches": (
                one.model_copy(update={"gate": None}),
                two.model_copy(update={"needs": (), "wait_s": 30.0, "steps": two.steps[:1]}),
                two.model_copy(update={"id": BatchId("api-3"), "needs": (), "steps": two.steps[1:]}),
            )
        }
    )
    assert lines(now) == [
        "moved: api: from batch api-2 to api-3: n3",
        "batches that were not shown: api-3",
        "batch api-1: another gate",
        "batch api-2: another wait_s: 30.0, not 0",
        "batch api-2: starts after nothing, not api-1",
    ]


def test_another_attempt() -> None:
    now = SHOWN.model_copy(update={"rollout": RolloutId("again")})
    assert lines(now) == [f"another attempt of the release: {SHOWN.rollout} was shown, again now"]


def test_a_long_difference_is_cut() -> None:
    shown = plan(*(batch(f"c{n}-1", [f"n{n}x"], component=f"c{n}") for n in range(90)))
    found = lines(plan(batch("c0-1", ["n0x"], component="c0")), shown)
    assert len(found) == MOST_LINES + 1
    assert found[-1] == "and 50 more differences"
