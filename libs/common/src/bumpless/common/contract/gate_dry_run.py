"""The question which series a gate would read now, and its answer. Asked and answered over core NATS; never stored."""

from __future__ import annotations

from pydantic import Field

from bumpless.common.contract.base import Model, Token
from bumpless.common.model.gate import GateSpec

MAX_NODES = 1000


class GateDryRun(Model):
    """What would the rules of `spec` read of `component` on `nodes`? Credentials stay with the health gate."""

    component: Token
    nodes: tuple[Token, ...] = Field(max_length=MAX_NODES)
    spec: GateSpec


class SeriesRead(Model):
    """One series on one node, with its value now."""

    node: Token
    series: str
    value: float


class MetricRead(Model):
    """What one rule finds of one of its metrics. `more` are series that were left out; `missing` are nodes without any.

    `needed` False: having none is as good as zero. `note` says what else is to be said.
    """

    rule: str
    metric: str
    series: tuple[SeriesRead, ...] = ()
    more: int = 0
    missing: tuple[Token, ...] = ()
    needed: bool = True
    note: str = ""

    @property
    def lacking(self) -> bool:
        return self.needed and bool(self.missing)


class GateDryRunAnswer(Model):
    """`source` is where the numbers come from; `trouble` says why it told less than it should."""

    source: str
    trouble: str = ""
    metrics: tuple[MetricRead, ...] = ()
