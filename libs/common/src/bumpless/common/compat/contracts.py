"""Contracts between consumers and providers, as evidence of pairs. Pure; implements `Says`.

Contracts of a consumer and a provider that exist for any two versions are wanted for every two that meet. A version of
a consumer may have several pacts with a provider: each of them is to be verified. Of several verifications of the same
pact and versions the latest counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from bumpless.common.compat.pairs import Word
from bumpless.common.contract.base import Digest
from bumpless.common.model.contracts import Contract
from bumpless.common.model.statement import Verified
from bumpless.common.model.version import Version

MOST_FAILURES = 3


class State(StrEnum):
    VERIFIED = "verified"
    FAILED = "failed"
    UNVERIFIED = "unverified"


@dataclass(frozen=True)
class Standing:
    """Where the contracts of one pair of versions stand; `pacts` are those that were not verified yet."""

    state: State
    evidence: str
    pacts: tuple[Digest, ...] = ()


class Contracts:
    """What the rows of one release say together."""

    def __init__(self, rows: Iterable[Contract]) -> None:
        self._pacts: dict[tuple[str, Version, str], list[Digest]] = {}
        self._verified: dict[tuple[Digest, str, Version, str, Version], Verified] = {}
        self._of: dict[tuple[str, str], list[tuple[Version, Version]]] = {}
        for row in rows:
            used, offered = Version.parse(row.consumer_version), Version.parse(row.provider_version)
            pacts = self._pacts.setdefault((row.consumer, used, row.provider), [])
            if row.pact not in pacts:
                pacts.append(row.pact)
            versions = self._of.setdefault((row.consumer, row.provider), [])
            if (used, offered) not in versions:
                versions.append((used, offered))
            if row.verified is not None:
                key = (row.pact, row.consumer, used, row.provider, offered)
                self._verified[key] = _later(self._verified.get(key), row.verified)

    @property
    def edges(self) -> Iterable[tuple[str, str]]:
        return self._of.keys()

    @property
    def named(self) -> Mapping[str, frozenset[Version]]:
        """Consumers and providers, with all versions of them that stand in a row."""
        found: dict[str, set[Version]] = {}
        for (consumer, provider), pairs in self._of.items():
            for used, offered in pairs:
                found.setdefault(consumer, set()).add(used)
                found.setdefault(provider, set()).add(offered)
        return {name: frozenset(versions) for name, versions in found.items()}

    def about(self, client: str, used: Version, provider: str, offered: Version) -> Word | None:
        if (client, provider) not in self._of:
            return None
        found = self.standing(client, used, provider, offered)
        return Word(found.state is State.VERIFIED, found.evidence, unproven=found.state is State.UNVERIFIED)

    def standing(self, consumer: str, used: Version, provider: str, offered: Version) -> Standing:
        """Of versions that need not stand in a row together."""
        pair = f"{consumer} {used} with {provider} {offered}"
        pacts = self._pacts.get((consumer, used, provider), [])
        if not pacts:
            return Standing(
                State.UNVERIFIED, f"no contract of {consumer} {used} with {provider} is in the release"
            )
        said = [self._verified.get((pact, consumer, used, provider, offered)) for pact in pacts]
        for verified in said:
            if verified is not None and verified.failures:
                return Standing(State.FAILED, f"the contract of {pair} failed, {_told(verified)}")
        open_ = tuple(pact for pact, verified in zip(pacts, said, strict=True) if verified is None)
        if open_:
            return Standing(State.UNVERIFIED, f"nobody verified the contract of {pair}", open_)
        last = max((v for v in said if v is not None), key=lambda v: v.at)
        return Standing(State.VERIFIED, f"contract verified by {last.by} at {last.at:%Y-%m-%d %H:%M} UTC")

    def verified_pairs(self, consumer: str, provider: str) -> tuple[tuple[Version, Version], ...]:
        """The versions of the two of which every contract was verified."""
        return tuple(
            (used, offered)
            for used, offered in sorted(self._of.get((consumer, provider), ()))
            if self.standing(consumer, used, provider, offered).state is State.VERIFIED
        )

    def wants(self, said: Verified) -> bool:
        """Whether the pact that was verified is one of the consumer's version here."""
        pair = (said.consumer, Version.parse(said.consumer_version), said.provider)
        return said.pact in self._pacts.get(pair, ())


def row_of(said: Verified) -> Contract:
    """A verification as a row. Its signature was looked at."""
    return Contract(
        consumer=said.consumer,
        consumer_version=said.consumer_version,
        provider=said.provider,
        provider_version=said.provider_version,
        pact=said.pact,
        verified=said,
    )


def _later(one: Verified | None, other: Verified) -> Verified:
    """At the same moment, the one that failed."""
    if one is None:
        return other
    return max(one, other, key=lambda said: (said.at, bool(said.failures)))


def _told(said: Verified) -> str:
    more = len(said.failures) - MOST_FAILURES
    failures = "; ".join(said.failures[:MOST_FAILURES]) + (f" and {more} more" if more > 0 else "")
    return f"as {said.by} found at {said.at:%Y-%m-%d %H:%M} UTC: {failures}"
