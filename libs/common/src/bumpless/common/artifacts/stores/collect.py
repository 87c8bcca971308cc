"""Which blobs are still named, and by that which are rubbish. Pure, but for reading descriptions from the store.

An artifact is live if a kept release, a plan that may still be carried out or taken back, or a node names it; then
its description and every package in it are. Everything else may go once it has not been put for the grace period:
publishing puts every blob of a release again before it announces it, so what a publisher relies on is young.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from bumpless.common.contract.base import Digest
from bumpless.common.contract.envelope import MAX_ENVELOPE_BYTES, Envelope
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.plan import Plan
from bumpless.common.model.release import Release

from ..errors import BlobMissing
from ..manifest import Artifact
from .store import BlobReader, StoredBlob


@dataclass(frozen=True)
class PlannedRollout:
    """A plan, and whether its rollout has come to an end that nothing follows by itself."""

    plan: Plan
    ended: bool


def live_artifacts(
    releases: Sequence[Release], rollouts: Iterable[PlannedRollout], fleet: Fleet, *, keep_last: int
) -> frozenset[Digest]:
    """The descriptions that must stay. `releases` are in the order in which they were announced.

    Of every product the last `keep_last` releases are kept, with what their plans would go back to.
    """
    rollouts = tuple(rollouts)
    kept = _last(releases, keep_last)
    live = {b.artifact for r in releases if r.digest in kept for b in r.brings()}
    for rollout in rollouts:
        if not rollout.ended or rollout.plan.release_digest in kept:
            live |= {target.artifact for target in rollout.plan.targets.values()}
    # Nodes name trees that they keep and do not run; which artifacts have those is known from what was announced.
    held: set[Digest] = set()
    for node in fleet.nodes:
        for component in node.components.values():
            held |= {root for root in (component.root, component.previous) if root is not None}
            if component.target is not None:
                live.add(component.target.artifact)
    live |= {b.artifact for r in releases for b in r.brings() if b.root in held}
    live |= {t.artifact for r in rollouts for t in r.plan.targets.values() if t.root in held}
    return frozenset(live)


async def live_blobs(artifacts: Iterable[Digest], store: BlobReader) -> frozenset[str]:
    """The descriptions themselves, and the packages they name.

    Raises:
        Corrupt, TooLarge, ValueError: a description cannot be read, so it is not known what it names.
        StoreUnavailable: the store does not answer.
    """
    live: set[str] = set()
    for digest in artifacts:
        try:
            artifact = _read(await store.get(digest, max_size=MAX_ENVELOPE_BYTES))
        except BlobMissing:
            continue  # it went before, with its packages
        live |= {digest, artifact.full.digest, *(delta.digest for delta in artifact.deltas)}
    return frozenset(live)


def garbage(stored: Iterable[StoredBlob], live: frozenset[str], before: datetime) -> list[StoredBlob]:
    """What nothing names and nobody put since `before`, oldest first."""
    dead = (blob for blob in stored if blob.digest not in live and blob.put_at < before)
    return sorted(dead, key=lambda blob: (blob.put_at, blob.digest))


def _last(releases: Sequence[Release], keep_last: int) -> frozenset[Digest]:
    """The digests of every product's last releases; one announced again counts once, as its latest."""
    by_product: dict[str, list[Digest]] = {}
    for release in reversed(releases):
        digests = by_product.setdefault(release.product, [])
        if release.digest not in digests and len(digests) < keep_last:
            digests.append(release.digest)
    return frozenset(digest for digests in by_product.values() for digest in digests)


def _read(envelope: bytes) -> Artifact:
    """Unverified: a forged description could only keep more, and only under its own digest."""
    return Artifact.model_validate_json(Envelope.from_bytes(envelope).payload)
