"""A fleet as it is read: equal targets are one object, and nothing else is changed."""

from __future__ import annotations

from bumpless.common.model.fleet import Fleet, fleet_of
from support.plans import node, target


def test_what_nodes_run_alike_is_one_object() -> None:
    nodes = [node(f"n{number}", {"api": target("api", "v1"), "db": None}) for number in (2, 1)]
    other = node("n3", {"api": target("api", "v1").model_copy(update={"release": "another"})})
    found = fleet_of(iter([*nodes, other]))
    assert found == Fleet(nodes=(nodes[1], nodes[0], other))
    assert found.model_dump_json() == Fleet(nodes=(nodes[1], nodes[0], other)).model_dump_json()
    first, second, third = (one.components["api"].target for one in found.nodes)
    assert first is second
    assert first is not third
