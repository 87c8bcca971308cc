"""One batch command becomes one command per node and component."""

from __future__ import annotations

from bumpless.common.contract import commands as c
from bumpless.common.contract.subjects import subject_of
from bumpless.common.engine.expand import node_commands
from support.plans import batch, plan, target
from support.rollouts import Course, rolling

PLAN = plan(
    batch("api-1", ["n2", "n1"]),
    batch("db-1", ["n1"], component="db", before=None),
    batch("old-1", ["n3"], component="old", after=None),
)


def test_one_command_per_step_in_their_order() -> None:
    [command] = [m for m in rolling(PLAN).sent(c.ApplyBatch) if m.batch == "api-1"]
    found = node_commands(PLAN, command)
    assert [(x.node, x.component) for x in found] == [("n2", "api"), ("n1", "api")]
    for one in found:
        assert isinstance(one, c.ApplyComponent)
        assert (one.target, one.before) == (target("api", "v2"), target("api", "v1"))
        assert (one.batch, one.plan_hash, one.generation, one.sequence) == ("api-1", PLAN.hash, 7, 2)
        assert (one.expires_at, one.cause) == (command.expires_at, command.id)
    assert len({one.id for one in found}) == 2
    assert [subject_of(one) for one in found] == ["cmd.n2.api", "cmd.n1.api"]


def test_installing_and_removing() -> None:
    by_batch = {m.batch: m for m in rolling(PLAN).sent(c.ApplyBatch)}
    [installed] = node_commands(PLAN, by_batch[PLAN.batches[1].id])
    assert (installed.before, installed.target) == (None, target("db", "v2"))
    [removed] = node_commands(PLAN, by_batch[PLAN.batches[2].id])
    assert (removed.before, removed.target) == (target("old", "v1"), None)


def test_staging_leaves_out_what_is_removed_and_belongs_to_no_batch() -> None:
    [command] = Course(PLAN).sent(c.StageArtifacts)
    found = node_commands(PLAN, command)
    assert [(x.node, x.component) for x in found] == [("n2", "api"), ("n1", "api"), ("n1", "db")]
    assert all(isinstance(x, c.StageComponent) and x.batch is None for x in found)


def test_the_same_command_gives_the_same_ids() -> None:
    [command] = Course(PLAN).sent(c.StageArtifacts)
    assert node_commands(PLAN, command) == node_commands(PLAN, command)
