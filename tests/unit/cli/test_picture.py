"""The live tree: components, batches and nodes with bars, and few lines however many nodes there are."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from bumpless.cli.picture import MOST_NODES, picture
from bumpless.cli.watched import Watched
from bumpless.common.contract import events as e
from bumpless.common.model.plan import Plan
from bumpless.common.shell.rollouts import progress
from support.plans import at, batch, plan
from support.rollouts import rolling

MANY = 2_000
PLAN = plan(
    batch("db-1", ["n1"], component="db"),
    batch("api-1", [f"n{number}" for number in range(MANY)], needs=["db-1"]),
    max_unavailable=MANY,
)


def drawn(known: dict[str, Plan]) -> list[str]:
    course = rolling(PLAN)
    course.finish("db-1")
    watched = Watched(PLAN.rollout)
    watched.take(progress(course.state, course.fed[-1][0], course.now))
    for node, share in (("n7", 0.4), ("n3", 1.0)):
        step = course.make(e.StepProgressed, node=node, component="api", state="starting", share=share)
        watched.take(step)
    text = StringIO()
    Console(file=text, width=120, force_terminal=False).print(picture(watched, known, at(10)))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_a_tree_that_fits_a_screen() -> None:
    lines = drawn({PLAN.rollout: PLAN})
    text = "\n".join(lines)
    assert "1 of 2001 steps" in lines[0]
    assert [name for name in ("db", "db-1  passed", "api", "api-1  applying") if name not in text] == []
    assert f"and {MANY - MOST_NODES} more nodes" in text
    assert "n7  starting" in text
    assert "n3  starting" not in text, "it is at rest, and others are not"
    assert len(lines) < 20


def test_without_the_plan_batches_are_shown() -> None:
    text = "\n".join(drawn({}))
    assert "db-1  passed" in text
    assert "api-1  applying" in text
