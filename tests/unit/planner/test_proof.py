"""The independent checker: every kind of planted fault is found, by the proof that is there for it."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bumpless.common.model.compat import CompatFile, PairFile
from bumpless.common.model.release import Placement
from bumpless.planner.proof import PROOFS, faults
from support.plan_faults import FAULTS
from support.plans import component, fleet, node, release, target
from support.worlds import World

LEAST = 25


def test_there_are_many_kinds_of_faults_and_every_proof_has_one() -> None:
    assert len(FAULTS) >= LEAST
    proofs = {proof.__name__ for proof in PROOFS}
    assert {fault.proof for fault in FAULTS.values()} == proofs | {"the_batches_form_a_graph"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    """In every plan that has a place for it; that there is none at all is a failure as well."""
    fault = FAULTS[name]

    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    @given(fault.worlds(), st.integers(0, 2**32))
    def spoil(world: World, seed: int) -> None:
        plan = world.plan()
        assert faults(plan, world.release, world.fleet) == []
        spoilt = fault.spoil(world, plan, random.Random(seed))
        assume(spoilt is not None)
        assert spoilt is not None
        found = faults(spoilt, world.release, world.fleet)
        assert fault.proof in {proof for proof, _ in found}, found

    spoil()


def test_versions_may_be_any_names_where_nothing_is_stated_about_them() -> None:
    """Names cannot be compared: a statement about them is a fault, and without one there is nothing to compare."""
    parts = component("db", "blue sky"), component("api", "f1", depends_on=("db",))
    old = {"db": target("db", "grey sky"), "api": target("api", "f0")}
    world = World(release(*parts), fleet(node("n1", old)))
    assert faults(world.plan(), world.release, world.fleet) == []
    pairs = CompatFile(pairs=(PairFile(client="api", provider="db", accepts="*"),))
    told = faults(world.plan(), world.release.model_copy(update={"compat": pairs}), world.fleet)
    assert {proof for proof, _ in told} == {"clients_fit_providers_at_every_moment"}


def test_what_runs_outside_of_its_placement_is_held_against_a_plan() -> None:
    """Planted: a plan that was made as if what stays on the other node were not there."""
    here = Placement(nodes=("n1",))
    parts = component("db", "2.0.0", place=here), component("api", "2.0.0", depends_on=("db",), place=here)
    n1 = node("n1", {"db": target("db", "1.0.0"), "api": target("api", "1.0.0")})
    pairs = (
        PairFile(client="api", versions="1.x", provider="db", accepts="1.x"),
        PairFile(client="api", versions="2.x", provider="db", accepts="*"),
    )
    world = World(release(*parts, compat=CompatFile(pairs=pairs)), fleet(n1))
    plan = world.plan()
    assert faults(plan, world.release, world.fleet) == []
    more = fleet(n1, node("n9", {"api": target("api", "1.0.0")}))
    ((proof, text),) = faults(plan, world.release, more)
    assert proof == "clients_fit_providers_at_every_moment"
    assert "api 1.0.0 may meet db 2.0.0" in text
