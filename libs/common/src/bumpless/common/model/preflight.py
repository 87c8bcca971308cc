"""What must be true before a release runs: rules, which a release and the operator of a fleet may both state.

A release file states them under `preflight`; the operator in a file of the same form that the planner is given.
Every rule of both holds.
"""

from __future__ import annotations

from datetime import date, time
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from bumpless.common.contract.base import Digest, Model, StrictModel, Token
from bumpless.common.model.compat import RangeText

_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "B": 1}


def _bytes(value: Any) -> Any:
    """`512MiB` as bytes; a number as it is."""
    if not isinstance(value, str):
        return value
    for unit, factor in _UNITS.items():
        number = value.removesuffix(unit).strip()
        if value.endswith(unit) and number.isdigit():
            return int(number) * factor
    raise ValueError(f"expected a size such as 512MiB, 2GiB or a number of bytes, found {value!r}")


Zone = Annotated[str, Field(pattern=r"^[A-Za-z0-9_+\-/]{1,64}$")]
"""The name of a time zone; which ones there are, only a machine knows."""
Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=0)]


class Day(StrEnum):
    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


class Required(StrEnum):
    """`optional`: its absence is told. `required`: nothing runs without it."""

    OPTIONAL = "optional"
    REQUIRED = "required"


class Window(StrictModel):
    """Rollouts may start on these days, from `from` until before `to` in `zone`; over midnight where `to` is not later."""

    days: tuple[Day, ...] = tuple(Day)
    begin: time = Field(alias="from")
    end: time = Field(alias="to")
    zone: Zone = "UTC"


class Freeze(StrictModel):
    """No rollout starts on the days from `from` to `to`, both included, in `zone`."""

    begin: date = Field(alias="from")
    end: date = Field(alias="to")
    zone: Zone = "UTC"
    why: str = Field(min_length=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end < self.begin:
            raise ValueError(f"expected a freeze that ends after {self.begin}, found {self.end}")
        return self


class Backup(StrictModel):
    """A backup of `component` whose restore was tested at most `max_age_h` hours ago; `id` None: any."""

    component: Token
    id: str | None = None
    max_age_h: float = Field(default=24, gt=0)


class ScanSeverity(StrEnum):
    """From the least bad."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(ScanSeverity).index(self)


class ScanResult(Model):
    """What a scanner said about one tree: its root, and for every severity the ids of what it found."""

    root: Digest
    tool: str = ""
    found: dict[ScanSeverity, tuple[str, ...]] = {}


class Scan(StrictModel):
    """`component` needs a scan report of the very tree it ships, with nothing worse than `max_severity` (None: nothing).

    `report` is a path beside the release file; publishing puts what it says into `result`.
    """

    component: Token
    report: str | None = None
    max_severity: ScanSeverity | None = ScanSeverity.MEDIUM
    result: ScanResult | None = None


class Rehearsal(StrictModel):
    """The same release must have succeeded on the fleet of this name."""

    fleet: Token


class Preflight(StrictModel):
    """Rules that hold before anything runs. Of several windows one must be open."""

    compat: Required = Required.OPTIONAL
    approval: Required = Required.OPTIONAL
    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    backups: tuple[Backup, ...] = ()
    scans: tuple[Scan, ...] = ()
    rehearsal: Rehearsal | None = None


class Runtime(StrictModel):
    """Ranges of versions that a node must have, and the machines a component runs on (`uname -m`)."""

    kernel: RangeText | None = None
    libc: RangeText | None = None
    python: RangeText | None = None
    systemd: RangeText | None = None
    architecture: tuple[str, ...] = ()


class Needs(StrictModel):
    """What one instance needs on its node: free bytes beyond its tree, free inodes, available memory, what it runs on."""

    memory: Bytes = 0
    disk: Bytes = 0
    inodes: int = Field(default=0, ge=0)
    runtime: Runtime = Runtime()
