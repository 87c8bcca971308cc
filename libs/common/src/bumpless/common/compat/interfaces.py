"""Documents of interfaces compared, two versions at a time, and what that says about pairs. Pure; implements `Says`.

A client that was built against one version of a provider works with another one if nothing breaks between the two, in
the direction from the one to the other. A person may know better, for example because the client does not call what
breaks: so what documents say against a pair can be let pass, unlike what is stated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import combinations
from typing import Any, TypeVar

from bumpless.common.compat import openapi, schemas
from bumpless.common.compat.lifecycle import Lifecycle, Status
from bumpless.common.compat.openapi_changes import Change, Weight
from bumpless.common.compat.openapi_document import Document
from bumpless.common.compat.pairs import Word
from bumpless.common.errors import Refused
from bumpless.common.model.interfaces import Break, Compared, Gone, Interfaces, OneWay
from bumpless.common.model.version import Version

MAX_DOCUMENTS = 10
"""Of one component or channel: every two of them are compared."""
MAX_LISTED = 50
"""Breaks that are signed for one direction; of more there is only the number."""
MAX_TEXT = 240
Read = TypeVar("Read")


def compared_apis(name: str, documents: Mapping[str, Mapping[str, Any]]) -> tuple[Compared, ...]:
    """OpenAPI documents by version. Raises: Refused, naming the version that cannot be read."""
    read = {}
    for version, document in documents.items():
        try:
            read[version] = Document(document)
        except Refused as error:
            raise Refused(f"{name} {version}: {error.expected}", error.found, error.hint) from error
    return _compared(name, read, lambda old, new: _way(openapi.compare(old, new)))


def compared_messages(channel: str, documents: Mapping[str, Mapping[str, Any]]) -> tuple[Compared, ...]:
    """JSON Schemas of the messages of a channel, by format: backward, whether readers of the new one read the old."""

    def way(written: Mapping[str, Any], read: Mapping[str, Any]) -> OneWay:
        found = schemas.misfits(written, read)
        return _one_way([Break(where=m.path, text=m.text) for m in found], ())

    return _compared(channel, documents, way)


def _compared(
    name: str, documents: Mapping[str, Read], way: Callable[[Read, Read], OneWay]
) -> tuple[Compared, ...]:
    if len(documents) > MAX_DOCUMENTS:
        raise Refused(f"{name}: at most {MAX_DOCUMENTS} documents", str(len(documents)), "drop the oldest")
    found = []
    for old, new in combinations(sorted(documents, key=Version.parse), 2):
        try:
            ways = way(documents[old], documents[new]), way(documents[new], documents[old])
        except Refused as error:
            raise Refused(f"{name} {old} and {new}: {error.expected}", error.found, error.hint) from error
        found.append(Compared(old=old, new=new, backward=ways[0], forward=ways[1]))
    return tuple(found)


def _way(changes: Iterable[Change]) -> OneWay:
    changes = tuple(changes)
    breaks = [Break(where=_cut(c.where), text=_cut(c.text)) for c in changes if c.weight is Weight.BREAKING]
    gone = {_cut(c.where): not c.unannounced for c in changes if c.removed}
    deprecated = dict.fromkeys(_cut(c.where) for c in changes if c.deprecated)
    return _one_way(breaks, [Gone(where=where, announced=said) for where, said in gone.items()], deprecated)


def _one_way(breaks: list[Break], gone: Iterable[Gone], deprecated: Iterable[str] = ()) -> OneWay:
    listed = tuple(breaks[:MAX_LISTED])
    return OneWay(
        works=not breaks,
        breaks=listed,
        more=len(breaks) - len(listed),
        gone=tuple(gone)[:MAX_LISTED],
        deprecated=tuple(deprecated)[:MAX_LISTED],
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def messages_of(channel: str) -> str:
    """What a channel is called beside components, which may have the same name."""
    return f"messages of {channel}"


class Facts:
    """What was compared, by the name of the component, or `messages_of` a channel, and versions."""

    def __init__(self, interfaces: Interfaces) -> None:
        self._ways: dict[tuple[str, Version, Version], OneWay] = {}
        self._known: dict[str, tuple[Version, ...]] = {}
        of_channels = {messages_of(name): one for name, one in interfaces.messages.items()}
        for name, one in (*interfaces.components.items(), *of_channels.items()):
            self._known[name] = tuple(sorted(map(Version.parse, one.documents)))
            for two in one.compared:
                old, new = Version.parse(two.old), Version.parse(two.new)
                ways = two.backward, two.forward
                # A reader stands where the client stands, and it is the new one that reads backward.
                self._ways[name, old, new], self._ways[name, new, old] = (
                    reversed(ways) if name in of_channels else ways
                )

    def versions(self, name: str) -> tuple[Version, ...]:
        """Those that have a document."""
        return self._known.get(name, ())

    def way(self, name: str, built: Version, offered: Version) -> OneWay | None:
        """Clients of `built` at `offered`, or readers of `built` and what is `offered`; None: one has no document."""
        if built == offered and built in self.versions(name):
            return OneWay()
        return self._ways.get((name, built, offered))


class Documents:
    """Implements `Says`. `targets`: the components of the release with their versions; `running`: what runs now.

    Against which version a client was built is stated in `uses`. Else a client that runs counts as built against the
    lowest version of the provider that runs, and one that the release brings against the version that it brings; so
    does one that it has `brought` already, to wherever it runs.
    """

    def __init__(
        self,
        interfaces: Interfaces,
        edges: Iterable[tuple[str, str]],
        targets: Mapping[str, Version],
        running: Mapping[str, Iterable[Version]],
        lifecycle: Lifecycle | None = None,
        brought: Collection[str] = (),
    ) -> None:
        self.facts, self._brought = Facts(interfaces), brought
        self._targets, self._lifecycle = targets, lifecycle
        self._running = {name: frozenset(versions) for name, versions in running.items()}
        self._uses = {
            (u.client, Version.parse(u.version), u.provider): Version.parse(u.built) for u in interfaces.uses
        }
        self._calls = {(c.client, c.provider): c.items for c in interfaces.calls}
        stated = {(u.client, u.provider) for u in interfaces.uses} | self._calls.keys()
        self.edges = frozenset({edge for edge in edges if edge[1] in interfaces.components} | stated)
        """Whom it knows something about."""

    def about(self, client: str, used: Version, provider: str, offered: Version) -> Word | None:
        if (client, provider) not in self.edges:
            return None
        built = self.built(client, used, provider)
        if built is None:
            return None
        removed = self._removed(client, provider, built, offered)
        breaks = self.breaks(client, provider, built, offered)
        if breaks is None and not removed:
            return None
        against = [*removed, *(breaks or ())]
        if not against:
            return Word(True, f"by its documents {provider} {offered} takes clients of {built}")
        more = f" and {len(against) - 1} more" if len(against) > 1 else ""
        text = f"{client} {used}, built against {provider} {built}, breaks at {offered}: {against[0]}{more}"
        return Word(False, text, unproven=True)

    def built(self, client: str, used: Version, provider: str) -> Version | None:
        """The version of the provider that it was built against; None: not known."""
        if (stated := self._uses.get((client, used, provider))) is not None:
            return stated
        here = self._running.get(client, frozenset())
        known = self._running.get(provider, frozenset())
        target = self._targets.get(client)
        # What the release does not change was there before it; what it changes was built together with it.
        if used == target and (here != {used} or client in self._brought):
            return self._targets.get(provider, min(known, default=None))
        return min(known, default=None) if used in here else None

    def breaks(self, client: str, provider: str, built: Version, offered: Version) -> tuple[str, ...] | None:
        """Each place where it breaks, as far as it calls it; None: one of the two versions has no document."""
        way = self.facts.way(provider, built, offered)
        if way is None:
            return None
        called = self._calls.get((client, provider))
        found = tuple(str(b) for b in way.breaks if called is None or _is_of(b.where, called))
        return (*found, f"{way.more} breaks that are not listed") if way.more else found

    def _removed(self, client: str, provider: str, built: Version, offered: Version) -> list[str]:
        """Items of the life cycle that it is known to call."""
        if self._lifecycle is None:
            return []
        usable = (Status.AVAILABLE, Status.DEPRECATED)
        return [
            f"{item}: not there any more"
            for item in self._calls.get((client, provider), ())
            if self._lifecycle.status(provider, item, built) in usable
            and self._lifecycle.status(provider, item, offered) not in usable
        ]


def _is_of(where: str, called: Iterable[str]) -> bool:
    """What stands at no operation concerns everybody."""
    methods = ("GET ", "PUT ", "POST ", "DELETE ", "OPTIONS ", "HEAD ", "PATCH ", "TRACE ", "webhook ")
    return not where.startswith(methods) or any(f"{where} ".startswith(f"{item} ") for item in called)
