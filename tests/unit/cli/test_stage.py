"""Which trees a plan brings to which nodes."""

from __future__ import annotations

import pytest

from bumpless.cli.stage_commands import reached
from bumpless.common.errors import Refused
from support.plans import batch, plan, target

PLAN = plan(
    batch("core-1", ["n2"], component="core"),
    batch("core-2", ["n1"], component="core"),
    batch("api-1", ["n2"], before=None),
    batch("old-1", ["n3"], component="old", after=None),
)
CORE, API = target("core", "v2"), target("api", "v2")


def test_every_node_with_its_targets_in_the_order_of_the_plan() -> None:
    found = reached(PLAN, ())
    assert list(found.items()) == [("n1", [CORE]), ("n2", [CORE, API])]


def test_only_the_nodes_that_were_named() -> None:
    assert reached(PLAN, ["n2", "n2"]) == {"n2": [CORE, API]}


@pytest.mark.parametrize("node", ["n3", "n9"])
def test_a_node_that_is_not_reached_is_named(node: str) -> None:
    with pytest.raises(Refused, match=f"expected nodes .* n1, n2, found {node}$"):
        reached(PLAN, ["n1", node])
