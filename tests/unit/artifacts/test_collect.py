"""What stays in a store: everything a kept release, an open rollout or a node still names, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bumpless.common.artifacts.build import PreviousTree, build_artifact
from bumpless.common.artifacts.errors import Corrupt
from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.artifacts.stores.collect import PlannedRollout, garbage, live_artifacts, live_blobs
from bumpless.common.artifacts.stores.store import DirectoryBlobs, StoredBlob
from bumpless.common.model.fleet import Fleet
from support import plans

from .trees import NEW, OLD, write_tree

NOTHING = Fleet()
T0 = datetime(2026, 1, 1, tzinfo=UTC)


def artifact(version):
    return plans.target("api", version).artifact


def release(version, product="shop"):
    found = plans.release(plans.component("api", version), version=version)
    return found.model_copy(update={"product": product})


def rollout(before, after, *, ended):
    """Of the release `after`, from `before` to it."""
    targets = {t.id: t for t in (plans.target("api", v) for v in (before, after))}
    plan = plans.plan(release_digest=release(after).digest).model_copy(update={"targets": targets})
    return PlannedRollout(plan, ended)


def live(releases=(), rollouts=(), fleet=NOTHING, keep_last=2):
    found = live_artifacts(releases, rollouts, fleet, keep_last=keep_last)
    return {v for v in (f"v{n}" for n in range(10)) if artifact(v) in found}


def test_the_last_releases_of_every_product_stay():
    mine = [release(f"v{n}") for n in range(1, 5)]
    assert live(mine) == {"v3", "v4"}
    assert live([release("v7", "other"), *mine]) == {"v3", "v4", "v7"}
    assert live(mine, keep_last=9) == {"v1", "v2", "v3", "v4"}


def test_a_release_announced_again_counts_once_and_as_the_latest():
    releases = [release("v1"), release("v2"), release("v3"), release("v1")]
    assert live(releases) == {"v1", "v3"}


def test_the_way_back_from_a_kept_release_stays():
    assert live([release("v1"), release("v2"), release("v3")], [rollout("v1", "v2", ended=True)]) == {
        "v1",
        "v2",
        "v3",
    }


def test_the_way_back_from_an_old_release_goes_unless_its_rollout_is_open():
    releases = [release(f"v{n}") for n in range(2, 5)]
    assert live(releases, [rollout("v1", "v2", ended=True)]) == {"v3", "v4"}
    assert live(releases, [rollout("v1", "v2", ended=False)]) == {"v1", "v2", "v3", "v4"}


def test_what_a_node_runs_stays_however_old():
    fleet = plans.fleet(plans.node("a", {"api": plans.target("api", "v1"), "web": None}))
    assert live([release(f"v{n}") for n in range(2, 5)], fleet=fleet) == {"v1", "v3", "v4"}


@pytest.mark.parametrize("known", ["release", "plan"])
def test_what_a_node_could_go_back_to_stays_where_it_is_known(known):
    node = plans.node("a", {"api": plans.target("api", "v4")})
    seen = node.components["api"].model_copy(update={"previous": plans.target("api", "v1").root})
    fleet = plans.fleet(node.model_copy(update={"components": {"api": seen}}))
    releases = [release(f"v{n}") for n in range(2, 5)]
    if known == "release":
        assert live([release("v1"), *releases], fleet=fleet) == {"v1", "v3", "v4"}
    else:
        assert live(releases, [rollout("v1", "v2", ended=True)], fleet) == {"v1", "v3", "v4"}


def test_only_what_is_unnamed_and_old_is_garbage():
    def blob(name, age_h):
        return StoredBlob(name, 1, T0 - timedelta(hours=age_h))

    stored = [blob("young", 1), blob("old", 30), blob("older", 40), blob("named", 99)]
    assert garbage(stored, frozenset({"named"}), T0 - timedelta(hours=24)) == [stored[2], stored[1]]


async def test_a_description_keeps_itself_and_its_packages(tmp_path):
    old, new = write_tree(tmp_path / "old", OLD), write_tree(tmp_path / "new", NEW)
    built = build_artifact(
        new,
        name="api",
        version="v2",
        previous=[PreviousTree(version="v1", path=old)],
        out=tmp_path / "built",
        key=SigningKey.generate(),
    )
    store = DirectoryBlobs(built.blobs)
    description = await store.put(built.envelope)
    gone = plans.digest("it went before")
    found = await live_blobs([description.digest, gone], store)
    assert found == {
        description.digest,
        built.artifact.full.digest,
        *(d.digest for d in built.artifact.deltas),
    }
    assert len(found) == 3


async def test_a_description_that_cannot_be_read_stops_the_collection(tmp_path):
    store = DirectoryBlobs(tmp_path)
    ref = await store.put(b"not a description")
    with pytest.raises(ValueError, match="envelope"):
        await live_blobs([ref.digest], store)
    (tmp_path / ref.digest.removeprefix("sha256:")).write_bytes(b"damaged")
    with pytest.raises(Corrupt):
        await live_blobs([ref.digest], store)
