"""Whether a client of one version works with a provider of one version.

Several things have a say: what is stated, what a provider has removed, how its documents differ, which contracts were
verified. Each is a `Says`; all that speak must agree, and where none speaks the pair is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from bumpless.common.model.version import Version, VersionRange


@dataclass(frozen=True)
class Word:
    """One answer about a pair: `evidence` says what it rests on.

    `unproven`: it does not fit only because nobody has looked yet, or by documents that say more than a client may use;
    so a person may let it pass.
    """

    fits: bool
    evidence: str
    unproven: bool = False


class Says(Protocol):
    """A source of knowledge about pairs. `edges` are the (client, provider) about which it knows something."""

    @property
    def edges(self) -> Iterable[tuple[str, str]]: ...

    def about(self, client: str, used: Version, provider: str, offered: Version) -> Word | None:
        """None: it knows nothing about this client and this provider."""
        ...


@dataclass(frozen=True)
class Verdict:
    """`known` False: nothing was said about the pair, and `fits` is then true, because nothing speaks against it.

    `unproven`: all that speaks against it is what a person may let pass.
    """

    fits: bool
    known: bool
    reasons: tuple[str, ...]
    unproven: bool = False


@dataclass(frozen=True)
class Accepts:
    """Clients with a version in `versions` work with providers with a version in `accepts`."""

    client: str
    versions: VersionRange
    provider: str
    accepts: VersionRange


class Stated:
    """Implements `Says` over statements. Once a client has one about a provider, what it does not cover does not fit."""

    def __init__(self, statements: Iterable[Accepts]) -> None:
        self._of: dict[tuple[str, str], list[Accepts]] = {}
        for statement in statements:
            self._of.setdefault((statement.client, statement.provider), []).append(statement)

    @property
    def edges(self) -> Iterable[tuple[str, str]]:
        return self._of.keys()

    def about(self, client: str, used: Version, provider: str, offered: Version) -> Word | None:
        stated = self._of.get((client, provider))
        if stated is None:
            return None
        covering = [s for s in stated if used in s.versions]
        if any(offered in s.accepts for s in covering):
            return Word(True, "stated")
        if not covering:
            return Word(False, f"nothing is stated about {client} {used} and {provider}")
        wanted = " or ".join(str(s.accepts) for s in covering)
        return Word(False, f"{client} {used} accepts {provider} {wanted}, not {offered}")


class Pairs:
    """The one predicate. `edges` are (client, provider): who calls whom; those about which something is known are `told`.

    `lenient`: what is only unproven fits.
    """

    def __init__(
        self, edges: Iterable[tuple[str, str]], sources: Iterable[Says], *, lenient: bool = False
    ) -> None:
        self._sources = tuple(sources)
        self.told = frozenset(edge for source in self._sources for edge in source.edges)
        self.edges = tuple(sorted({*edges, *self.told}))
        self._lenient = lenient
        self._known: dict[tuple[str, Version, str, Version], Verdict] = {}

    def lenient(self) -> Pairs:
        """The same, where what nobody has looked at fits."""
        return Pairs(self.edges, self._sources, lenient=True)

    def judge(self, client: str, used: Version, provider: str, offered: Version) -> Verdict:
        """Whether `client` at `used` works with `provider` at `offered`."""
        key = (client, used, provider, offered)
        if key not in self._known:
            self._known[key] = self._ask(*key)
        return self._known[key]

    def _ask(self, client: str, used: Version, provider: str, offered: Version) -> Verdict:
        words = [
            w for w in (s.about(client, used, provider, offered) for s in self._sources) if w is not None
        ]
        against = [w for w in words if not w.fits]
        unproven = bool(against) and all(w.unproven for w in against)
        fits = not against or (unproven and self._lenient)
        return Verdict(fits, bool(words), tuple(w.evidence for w in against or words), unproven)
