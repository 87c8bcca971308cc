"""Blue-green on every course, with failures, people and reverts: never less than a full set serves."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.events import StepOutcome
from bumpless.common.model.plan import Plan
from bumpless.common.model.strategy import Strategy, StrategyKind
from bumpless.planner.plan import make_plan
from bumpless.rollback.reverse import reverse
from support.plans import GATE, T0, component, digest, fleet, node, release, target
from support.walk import Walk
from support.walk import choices as walks


class Capacity:
    """Which nodes serve: not one that is told to stop, and not one that is told to start before it says that it does."""

    def __init__(self, serving: set[str]) -> None:
        self.serving = serving
        self.least = len(serving)

    def follow(self, walk: Walk, choices: list[int]) -> None:
        said = fed = 0
        for choice in [None, *choices]:
            if choice is not None:
                walk.go([choice])
            for command in walk.said[said:]:
                if isinstance(command, c.ApplyBatch):
                    self.serving -= {step.node for step in command.steps}
            for message, _ in walk.fed[fed:]:
                if isinstance(message, e.StepFinished):
                    self._answered(walk.plan, message)
            said, fed = len(walk.said), len(walk.fed)
            self.least = min(self.least, len(self.serving))

    def _answered(self, plan: Plan, message: e.StepFinished) -> None:
        step = next(s for s in plan.batch(message.batch).steps if s.node == message.node)
        after = step.after if message.outcome is StepOutcome.DONE else step.before
        if after is not None:
            self.serving.add(message.node)
        else:
            self.serving.discard(message.node)


@given(st.integers(1, 3), st.booleans(), st.booleans(), walks(), walks())
@settings(max_examples=150, deadline=None)
def test_never_less_than_a_full_set_serves(
    size: int, onto_green: bool, approval: bool, choices: list[int], back: list[int]
) -> None:
    sets = [f"a{i}" for i in range(size)], [f"b{i}" for i in range(size)]
    old = target("api", "v1")
    serving = set(sets[0] if onto_green else sets[1])
    where = fleet(*(node(n, {"api": old if n in serving else None}) for n in (*sets[0], *sets[1])))
    strategy = Strategy(kind=StrategyKind.BLUE_GREEN, blue=sets[0], green=sets[1], approval=approval)
    plan = make_plan(
        release(component("api", strategy=strategy, gate=GATE)),
        digest("r"),
        where,
        rollout=RolloutId("rollout-1"),
        generation=9,
        now=T0,
    )
    capacity = Capacity(set(serving))
    walk = Walk(plan)
    capacity.follow(walk, choices)
    assert capacity.least >= size
    if walk.state.commanded:
        capacity.follow(Walk(reverse(walk.state, revert=RolloutId("revert-1"), number=0)), back)
        assert capacity.least >= size
