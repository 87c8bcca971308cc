"""What a release file says about interfaces that contradicts the rest of the file. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from bumpless.common.model.interfaces import THIS
from bumpless.common.model.release import ComponentFile, ReleaseFile
from bumpless.common.model.version import InvalidVersion, Version

Contradiction = tuple[tuple[str | int, ...], str]
"""Where it stands, as fields from the top of the file, and what is wrong."""


def contradictions(release: ReleaseFile) -> Iterator[Contradiction]:
    """Everything that can be seen without the documents."""
    own = {component.name: component for component in release.components}
    described = {name for name, one in release.interfaces.components.items() if one.openapi is not None}
    for name, one in release.interfaces.components.items():
        here = ("interfaces", "components", name)
        for text in _versions(one.openapi or {}, own.get(name), release, needed=True):
            yield (*here, "openapi"), text
        for provider, built in one.uses.items():
            for text in _versions(built, own.get(name), release, needed=False):
                yield (*here, "uses", provider), text
            if provider in described:
                for text in _undescribed(provider, built, own.get(provider), release):
                    yield (*here, "uses", provider), text
        for provider in (*one.uses, *one.calls):
            items = any(item.of == provider for item in release.lifecycle.items)
            if provider == name:
                yield (*here, "uses", provider), "expected another component, found itself"
            elif provider not in described and not (provider in one.calls and items):
                text = f"expected documents of {provider} under interfaces.components.{provider}.openapi, found none"
                yield (*here, "uses" if provider in one.uses else "calls", provider), text
        if name not in own and name not in described and not one.uses and not one.calls:
            yield here, "expected openapi, uses or calls, found none"
    yield from _messages(release)


def _versions(
    by_version: dict[str, str], component: ComponentFile | None, release: ReleaseFile, *, needed: bool
) -> Iterator[str]:
    """`needed`: there must be one for the version of this release."""
    if not by_version:
        return
    if component is None:
        if THIS in by_version:
            yield "expected a mapping by version, because the release has no such component, found none"
        return
    wanted = component.version or release.version
    try:
        version = Version.parse(wanted or "")
    except InvalidVersion:
        yield f"expected a version of the component such as 2.1.0, found {wanted!r}"
        return
    stated = [Version.parse(text) for text in by_version if text != THIS]
    if needed and THIS not in by_version and version not in stated:
        yield f"expected a document of {version}, the version of this release, found none"


def _undescribed(
    provider: str, built: dict[str, str], component: ComponentFile | None, release: ReleaseFile
) -> Iterator[str]:
    """Versions that something was built against, and that have no document to compare."""
    documents = release.interfaces.components[provider].openapi or {}
    this = (component.version or release.version) if component is not None else None
    known = {text or this for text in documents}
    try:
        versions = {Version.parse(text) for text in known if text is not None}
    except InvalidVersion:
        return  # It is told where it stands.
    for text in built.values():
        if Version.parse(text) not in versions:
            yield f"expected a version of {provider} with a document ({', '.join(map(str, sorted(versions)))}), found {text}"


def _messages(release: ReleaseFile) -> Iterator[Contradiction]:
    """Every format that is written to a channel with schemas has one."""
    for channel, schemas in release.interfaces.messages.items():
        known = {Version.parse(text) for text in schemas}
        for component in release.components:
            for made in component.produces:
                if made.channel == channel and Version.parse(made.writes) not in known:
                    text = f"expected a schema of {made.writes}, which {component.name} writes, found none"
                    yield ("interfaces", "messages", channel), text
        ends = {end.channel for c in release.components for end in c.produces}
        if channel not in ends | {end.channel for c in release.components for end in c.consumes}:
            yield (
                ("interfaces", "messages", channel),
                "expected a component that produces or consumes it, found none",
            )
