"""A plan's hash: of exactly this plan, and of the bytes it was stored as."""

from __future__ import annotations

import json

from bumpless.common.contract.base import canonical_json
from bumpless.common.model.plan import Plan
from support.plans import batch, plan, target

PLAN = plan(batch("api-1", ["n1"]))


def test_a_copy_has_a_hash_of_its_own() -> None:
    assert PLAN.hash == plan(batch("api-1", ["n1"])).hash
    changed = PLAN.model_copy(update={"generation": 8})
    assert changed.hash != PLAN.hash
    assert changed.hash == plan(batch("api-1", ["n1"]), generation=8).hash
    assert PLAN.model_copy().hash == PLAN.hash


def test_a_copy_of_a_target_has_an_id_of_its_own() -> None:
    old = target("api", "v1")
    known, again = old.id, target("api", "v1")
    changed = old.model_copy(update={"release": "v9"})
    assert changed.id != known
    assert changed.id == type(old).model_validate(changed.model_dump()).id
    assert old == again, "that an id was asked for makes no difference"


def test_a_stored_plan_keeps_its_hash() -> None:
    assert Plan.from_stored(PLAN.canonical()).hash == PLAN.hash


def test_a_plan_stored_by_an_older_release_keeps_the_hash_its_commands_carry() -> None:
    raw = json.loads(PLAN.canonical())
    del raw["unchanged"]
    older = Plan.from_stored(canonical_json(raw))
    assert older == PLAN
    assert older.hash != PLAN.hash
    assert older.hash == Plan.from_stored(canonical_json(raw)).hash
