"""What a release file says about compatibility: hops, pairs, items that come and go, records.

Only the written form, checked for its words: versions are versions, ranges are ranges. What follows from it is worked
out in `bumpless.common.compat`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from bumpless.common.contract.base import Model, StrictModel, Token
from bumpless.common.model.level import Level
from bumpless.common.model.version import Version, VersionRange


def _version(text: str) -> str:
    Version.parse(text)
    return text


def _range(text: str) -> str:
    VersionRange.parse(text)
    return text


def _hop(text: str) -> str:
    hop_ends(text)
    return text


def _text(value: Any) -> Any:
    """YAML reads 2.0 as a number; the 0 that is lost does not change which version is meant."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


VersionText = Annotated[str, BeforeValidator(_text), AfterValidator(_version)]
RangeText = Annotated[str, BeforeValidator(_text), AfterValidator(_range)]
HopText = Annotated[str, AfterValidator(_hop)]
"""`2.0.0>2.1.0`: from one version to another."""


def hop_ends(text: str) -> tuple[Version, Version]:
    """Raises: ValueError."""
    old, arrow, new = text.partition(">")
    if not arrow:
        raise ValueError(f"expected two versions such as '2.0.0>2.1.0', found {text!r}")
    return Version.parse(old.strip()), Version.parse(new.strip())


class PairFile(StrictModel):
    """Clients with a version in `versions` work with providers with a version in `accepts`."""

    client: Token
    versions: RangeText = "*"
    provider: Token
    accepts: RangeText


class BlockedFile(StrictModel):
    """No hop from a version in `from` to one in `to`."""

    source: RangeText = Field(alias="from")
    target: RangeText = Field(alias="to")
    why: str = Field(min_length=1)


class Horizon(StrEnum):
    """What a hop means after which the version before cannot read the data that was written.

    `warn`: a plan says so, and a failure is taken back as the rollback policy has it. `freeze`: a failure after it halts
    for a person. `none`: the component keeps no data, so there is none.
    """

    WARN = "warn"
    FREEZE = "freeze"
    NONE = "none"


class HopsFile(StrictModel):
    """`stops` are versions that no hop may pass over."""

    stops: tuple[VersionText, ...] = ()
    blocked: tuple[BlockedFile, ...] = ()
    horizon: Horizon = Horizon.WARN


class CompatFile(StrictModel):
    """`levels`: for every component, hop to level. A pair of versions about which nothing is said is none."""

    levels: dict[Token, dict[HopText, Level]] = {}
    pairs: tuple[PairFile, ...] = ()
    hops: dict[Token, HopsFile] = {}

    def states_hops_of(self, component: str) -> bool:
        """Whether only stated hops of `component` may be taken; if nothing is stated, it may go anywhere."""
        hops = self.hops.get(component)
        return component in self.levels or (hops is not None and bool(hops.stops or hops.blocked))

    def horizon_of(self, component: str) -> Horizon:
        hops = self.hops.get(component)
        return Horizon.WARN if hops is None else hops.horizon


class ItemKind(StrEnum):
    ENDPOINT = "endpoint"
    CONFIG = "config"
    AUTH = "auth"
    MESSAGE = "message"


class ItemFile(StrictModel):
    """One item of the component `of`; `use` is the id of its successor."""

    kind: ItemKind
    id: str = Field(min_length=1)
    of: Token
    introduced: VersionText = Field(alias="in")
    deprecated: VersionText | None = None
    removed: VersionText | None = None
    use: str | None = None


class PolicyFile(StrictModel):
    """How long an item must be deprecated before it is removed, in major versions."""

    min_deprecated_majors: int = Field(default=1, ge=0)


class LifecycleFile(StrictModel):
    policy: PolicyFile = PolicyFile()
    items: tuple[ItemFile, ...] = ()


class RecordEdgeFile(StrictModel):
    """How a record of `from` becomes one of `to`: a list of operations (docs/compatibility.md)."""

    source: VersionText = Field(alias="from")
    target: VersionText = Field(alias="to")
    lens: tuple[dict[str, Any], ...]


class SignedRecord(Model):
    """One type of record in a signed release, which carries the schemas themselves."""

    of: Token | None = Field(default=None, exclude_if=lambda owner: owner is None)
    schemas: dict[VersionText, dict[str, Any]]
    edges: tuple[RecordEdgeFile, ...] = ()


class RecordFile(StrictModel):
    """One type of record: a JSON Schema for every version, as a path beside the release file, and the lenses.

    `of` is the component that keeps them. Then `schemas` and `edges` name the versions of that component from which on
    records have another form; between them the form is that of the latest one.
    """

    of: Token | None = None
    schemas: dict[VersionText, str] = Field(min_length=1)
    edges: tuple[RecordEdgeFile, ...] = ()
