"""How many nodes serve each component while a plan runs. Pure.

A node in the middle of a switch counts as out, as it does in the plan's budget, although the old version serves until
the new one is proven: what is left is what can be relied on.
"""

from __future__ import annotations

from bumpless.common.contract.base import BatchId, Model
from bumpless.common.model.plan import Plan
from bumpless.common.render.schedule import Span


class Moment(Model):
    """`serving` nodes from `at_s` on, because of a batch."""

    at_s: float
    serving: int
    batch: BatchId


class Capacity(Model):
    """One component: `before` and `after` the plan, and the lowest point with the batch that is under way then.

    `over_time` has every change. `lowest` does not count a component's way to its first node, or to none.
    """

    component: str
    before: int
    after: int
    lowest: int
    lowest_in: BatchId | None = None
    over_time: tuple[Moment, ...] = ()


def capacity(plan: Plan, spans: list[Span]) -> list[Capacity]:
    """Every component of the plan, in the order in which they begin."""
    serving: dict[str, set[str]] = {}
    first: dict[tuple[str, str], int] = {}
    for span in spans:
        here = serving.setdefault(span.batch.component, set())
        for step in span.batch.steps:
            known = first.get((step.component, step.node))
            if known is None or step.hop < known:
                first[(step.component, step.node)] = step.hop
                (here.add if step.before is not None else here.discard)(step.node)
    for key in plan.unchanged:
        node, _, component = key.split("#")[0].rpartition("/")
        serving.setdefault(component, set()).add(node)
    before = {component: len(nodes) for component, nodes in serving.items()}
    moments: dict[str, list[Moment]] = {component: [] for component in serving}
    changes = [(span.start, 1, span) for span in spans] + [(span.switched, 0, span) for span in spans]
    for at_s, starts, span in sorted(changes, key=lambda change: change[:2]):
        component = span.batch.component
        here = serving[component]
        for step in span.batch.steps:
            (here.add if not starts and step.after is not None else here.discard)(step.node)
        moments[component].append(Moment(at_s=round(at_s, 3), serving=len(here), batch=span.batch.id))
    return [
        _component(name, before[name], len(nodes), tuple(moments[name])) for name, nodes in serving.items()
    ]


def _component(name: str, before: int, after: int, moments: tuple[Moment, ...]) -> Capacity:
    shown = moments
    if not before:
        began = next((number for number, moment in enumerate(shown) if moment.serving), len(shown))
        shown = shown[began:]
    elif not after:
        ended = next((number for number, moment in enumerate(shown) if not moment.serving), len(shown))
        shown = shown[:ended]
    lowest = min(shown, key=lambda moment: moment.serving, default=None)
    floor = before if before else after
    if lowest is None or lowest.serving >= floor:
        return Capacity(component=name, before=before, after=after, lowest=floor, over_time=moments)
    return Capacity(
        component=name,
        before=before,
        after=after,
        lowest=lowest.serving,
        lowest_in=lowest.batch,
        over_time=moments,
    )
