"""What a signed release knows of its pairs beside what is stated in `compat.pairs`, and who else takes part in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bumpless.common.compat import written
from bumpless.common.compat.contracts import Contracts
from bumpless.common.compat.interfaces import Documents
from bumpless.common.compat.pairs import Says
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.release import Release
from bumpless.common.model.version import InvalidVersion, Version


def sources(release: Release, fleet: Fleet | None = None) -> tuple[Says, ...]:
    """One for every kind of evidence that the release brings. `fleet`: what runs, which documents are read with."""
    found: list[Says] = []
    if release.contracts:
        found.append(Contracts(release.contracts))
    if release.interfaces:
        found.append(documents(release, fleet))
    return tuple(found)


def documents(release: Release, fleet: Fleet | None) -> Documents:
    """What the documents of the interfaces say."""
    edges = [(c.name, provider) for c in release.components for provider in c.depends_on]
    targets = {c.name: version for c in release.components for version in _versions([c.version])}
    names = {*targets, *(name for uses in release.interfaces.uses for name in (uses.client, uses.provider))}
    running = {name: _versions(_running(name, fleet)) for name in names} if fleet is not None else {}
    items = written.lifecycle(release.lifecycle)
    brought = _brought(release, fleet) if fleet is not None else frozenset()
    return Documents(release.interfaces, edges, targets, running, items, brought)


def _brought(release: Release, fleet: Fleet) -> frozenset[str]:
    """Components that run only as this very release brought them, as after a rollout that was cut short.

    Nodes keep with what they run which release it came by; what a release does not change keeps the earlier one.
    """
    found = set()
    for component in release.components:
        seen = (node.components.get(component.name) for node in fleet.nodes)
        came = {
            (one.target.version, one.target.root, one.target.release)
            for one in seen
            if one is not None and one.target is not None
        }
        if came == {(component.version, component.root, release.version)}:
            found.add(component.name)
    return frozenset(found)


def outside(release: Release, fleet: Fleet) -> Mapping[str, tuple[str, ...]]:
    """Clients and providers that the release does not bring, with the versions of them that are in use.

    Of what runs on nodes those are known. Of anything else, such as a library in somebody's hands, all versions count
    that the contracts name.
    """
    own = {component.name for component in release.components}
    pairs = release.compat.pairs
    listed: dict[str, set[str]] = {name: set() for pair in pairs for name in (pair.client, pair.provider)}
    for uses in release.interfaces.uses:
        listed.setdefault(uses.client, set())
        listed.setdefault(uses.provider, set())
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


def _versions(texts: Iterable[str]) -> list[Version]:
    """Those that are versions; about names documents say nothing."""
    found = []
    for text in texts:
        try:
            found.append(Version.parse(text))
        except InvalidVersion:
            continue
    return found
