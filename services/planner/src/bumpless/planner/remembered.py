"""Which trees plans brought that are older than the releases that are still known.

A node remembers by which plan it came to what it runs, and plans are kept. So a tree is nobody's only if neither a
release that is still known nor the plan that its node names brought it there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from bumpless.common.contract.base import Digest, PlanHash
from bumpless.common.errors import Retryable
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.plan import Plan, StepKey, step_key

MOST_PLANS = 32
"""Read for one look at a fleet. Of nodes whose plan is not among them it is said that nobody knows."""


async def brought(
    plans: Callable[[str], Awaitable[Plan]],
    fleet: Fleet,
    components: Collection[str],
    known: Collection[Digest],
) -> frozenset[Digest]:
    """The trees that run as one of `components`, are none of `known`, and were brought there by the plan that is named."""
    wanted: dict[PlanHash, dict[StepKey, Digest]] = {}
    for node in fleet.nodes:
        for name in components:
            seen = node.components.get(name)
            if seen is None or seen.root is None or seen.root in known or seen.brought_by is None:
                continue
            wanted.setdefault(seen.brought_by, {})[step_key(node.name, name)] = seen.root
    found: set[Digest] = set()
    for plan_hash, places in sorted(wanted.items(), key=lambda item: -len(item[1]))[:MOST_PLANS]:
        try:
            plan = await plans(plan_hash)
        except Retryable:
            continue
        found |= {
            root
            for step in plan.steps()
            if step.after is not None and (root := plan.targets[step.after].root) == places.get(step.place)
        }
    return frozenset(found)
