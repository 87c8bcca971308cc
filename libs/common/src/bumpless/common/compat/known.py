"""What a signed release knows of its pairs beside what is stated in `compat.pairs`, and who else takes part in them."""

from __future__ import annotations

from collections.abc import Mapping

from bumpless.common.compat.contracts import Contracts
from bumpless.common.compat.pairs import Says
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.release import Release


def sources(release: Release) -> tuple[Says, ...]:
    """One for every kind of evidence that the release brings."""
    return (Contracts(release.contracts),) if release.contracts else ()


def outside(release: Release, fleet: Fleet) -> Mapping[str, tuple[str, ...]]:
    """Clients and providers that the release does not bring, with the versions of them that are in use.

    Of what runs on nodes those are known. Of anything else, such as a library in somebody's hands, all versions count
    that the contracts name.
    """
    own = {component.name for component in release.components}
    pairs = release.compat.pairs
    listed: dict[str, set[str]] = {name: set() for pair in pairs for name in (pair.client, pair.provider)}
    for row in release.contracts:
        listed.setdefault(row.consumer, set()).add(row.consumer_version)
        listed.setdefault(row.provider, set()).add(row.provider_version)
    return {
        name: tuple(sorted(_running(name, fleet) or versions))
        for name, versions in sorted(listed.items())
        if name not in own
    }


def _running(name: str, fleet: Fleet) -> set[str]:
    seen = (node.components.get(name) for node in fleet.nodes)
    return {found.target.version for found in seen if found is not None and found.target is not None}
