"""Trees of releases that are no longer known: what the node remembers of them counts, as far as it is so."""

from __future__ import annotations

from bumpless.common.contract.base import PlanHash
from bumpless.common.errors import Retryable
from bumpless.common.model.fleet import Node
from bumpless.common.model.plan import Plan
from bumpless.planner.remembered import brought
from support.plans import batch, fleet, node, plan, target

OLD = plan(batch("api-1", ["n1"], before=None, after="v1"))
V1 = target("api", "v1")


async def plans(plan_hash: str) -> Plan:
    if plan_hash != OLD.hash:
        raise Retryable("it is not there")
    return OLD


def running(name: str, by: PlanHash | None, version: str = "v1") -> Node:
    found = node(name, {"api": target("api", version)})
    seen = found.components["api"].model_copy(update={"brought_by": by})
    return found.model_copy(update={"components": {"api": seen}})


async def test_a_tree_that_the_named_plan_brought_there_is_no_drift() -> None:
    assert await brought(plans, fleet(running("n1", OLD.hash)), ["api"], ()) == {V1.root}


async def test_a_plan_that_brought_something_else_or_elsewhere_says_nothing() -> None:
    assert await brought(plans, fleet(running("n1", OLD.hash, "v3")), ["api"], ()) == set()
    assert await brought(plans, fleet(running("n2", OLD.hash)), ["api"], ()) == set()


async def test_nothing_is_read_where_releases_are_known_or_nothing_is_remembered() -> None:
    async def never(plan_hash: str) -> Plan:
        raise AssertionError(plan_hash)

    assert await brought(never, fleet(running("n1", OLD.hash)), ["api"], {V1.root}) == set()
    assert await brought(never, fleet(running("n1", None)), ["api"], ()) == set()


async def test_a_plan_that_is_gone_proves_nothing() -> None:
    assert await brought(plans, fleet(running("n1", PlanHash("sha256:gone"))), ["api"], ()) == set()
