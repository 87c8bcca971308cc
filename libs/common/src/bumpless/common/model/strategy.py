"""How the nodes of one component are cut into batches: what a person writes.

What contradicts itself is refused here. What needs the fleet to be seen is found in the planner.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from bumpless.common.contract.base import StrictModel, Token
from bumpless.common.model.gate import GateSpec

Share = Annotated[int | str, Field(description="A count of nodes, or a share of them such as '25%'")]
_SHARE = re.compile(r"^(100|[1-9]?[0-9])%$")


def share_of(share: int | str, total: int) -> int:
    """How many of `total` nodes `share` means: at least 1 where there are any; a percentage rounds down."""
    count = share if isinstance(share, int) else total * int(share.rstrip("%")) // 100
    return min(total, max(1, count))


def _checked_share(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("expected a count such as 2 or a share such as '25%'")
    if isinstance(value, int) and value < 1:
        raise ValueError(f"expected at least 1, found {value}")
    if isinstance(value, str) and not _SHARE.match(value):
        raise ValueError(f"expected a count such as 2 or a share such as '25%', found {value!r}")
    return value


CheckedShare = Annotated[Share, BeforeValidator(_checked_share)]


class NodeSet(StrictModel):
    """Nodes that are named, or all that carry every given label. A list means names."""

    nodes: tuple[Token, ...] = ()
    labels: dict[str, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return {"nodes": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if bool(self.nodes) == bool(self.labels):
            raise ValueError("expected nodes or labels, found " + ("both" if self.nodes else "neither"))
        _once(self.nodes, "here")
        return self

    def __str__(self) -> str:
        return ", ".join(self.nodes or (f"{k}={v}" for k, v in self.labels.items()))


def _canary(value: Any) -> Any:
    if isinstance(value, NodeSet):
        return value
    return NodeSet.model_validate(value) if isinstance(value, dict | list) else _checked_share(value)


Canary = Annotated[int | str | NodeSet, BeforeValidator(_canary)]


class StrategyKind(StrEnum):
    ALL_AT_ONCE = "all-at-once"
    ROLLING = "rolling"
    CANARY = "canary"
    WAVES = "waves"
    PRIORITY = "priority"
    BLUE_GREEN = "blue-green"


class SpreadMode(StrEnum):
    """`even`: every batch takes from every value in proportion. `one-at-a-time`: no batch takes from two values."""

    EVEN = "even"
    ONE_AT_A_TIME = "one-at-a-time"


class Spread(StrictModel):
    """How batches stand to the values of a label, such as zones. A word is the label of an even spread."""

    label: str = Field(min_length=1)
    mode: SpreadMode = SpreadMode.EVEN

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"label": value} if isinstance(value, str) else value


class Wave(StrictModel):
    """A named set of nodes: `nodes`, all with `labels`, a `share` of those that no other wave takes, or the `rest`.

    A node that several waves could take belongs to the one that names it, else to the first whose labels it has.
    `soak_s` is waited after the wave before the next one. With `approval` the wave waits for a person. `gate` and
    `apply_timeout_s` replace those of the component.
    """

    name: Token
    nodes: tuple[Token, ...] = ()
    labels: dict[str, str] = {}
    share: CheckedShare | None = None
    rest: bool = False
    batch_size: CheckedShare = 1
    interval_s: float = Field(default=0, ge=0)
    soak_s: float = Field(default=0, ge=0)
    apply_timeout_s: float | None = Field(default=None, gt=0)
    gate: GateSpec | None = None
    approval: bool = False

    @model_validator(mode="after")
    def _takes_nodes_in_one_way(self) -> Self:
        given = [name for name in ("nodes", "labels", "share", "rest") if getattr(self, name)]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(
                f"wave {self.name}: expected one of nodes, labels, share and rest, found {found}"
            )
        _once(self.nodes, f"in wave {self.name}")
        return self


class Priority(StrictModel):
    """Who goes first: nodes with the highest number in `label`, or those of `nodes` in their order, then the others.

    A word is the label, a list are the nodes.
    """

    label: str | None = None
    nodes: tuple[Token, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_word_or_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"label": value}
        return {"nodes": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if bool(self.label) == bool(self.nodes):
            raise ValueError(
                "expected a label or a list of nodes, found " + ("both" if self.nodes else "neither")
            )
        _once(self.nodes, "in the list")
        return self


class Strategy(StrictModel):
    """How the nodes of one component are cut into batches.

    `all-at-once`: one batch. `rolling`: batches of `batch_size`. `canary`: first `canary`, watched for `observe_s`,
    then batches of `batch_size`. `waves`: one wave after the other. `priority`: batches of `batch_size` in the order
    of `priority`. `blue-green`: onto that one of the sets `blue` and `green` which does not serve; then the other one
    is drained, held for `hold_s` and retired.

    `interval_s` is waited between two batches of the component. With `approval`, every batch but the first waits
    for a person. `spread` says how batches stand to the values of a label.
    """

    kind: StrategyKind = StrategyKind.ROLLING
    canary: Canary = 1
    observe_s: float = Field(default=0, ge=0)
    batch_size: CheckedShare = 1
    interval_s: float = Field(default=0, ge=0)
    approval: bool = False
    spread: Spread | None = None
    waves: tuple[Wave, ...] = ()
    priority: Priority | None = None
    blue: NodeSet | None = None
    green: NodeSet | None = None
    hold_s: float = Field(default=600, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        for name in _NEEDED.get(self.kind, ()):
            if not getattr(self, name):
                raise ValueError(f"expected `{name}` with kind {self.kind}, found none")
        return self

    @model_validator(mode="after")
    def _takes_every_node_once(self) -> Self:
        names = Counter(wave.name for wave in self.waves)
        for what, found in (
            ("wave", names),
            ("node in the waves", Counter(node for wave in self.waves for node in wave.nodes)),
        ):
            if twice := sorted(name for name, count in found.items() if count > 1):
                raise ValueError(f"expected every {what} once, found {', '.join(twice)} again")
        if sum(wave.rest for wave in self.waves) > 1:
            raise ValueError("expected at most one wave with rest: true, found more")
        shares = [w.share for w in self.waves if isinstance(w.share, str)]
        if (total := sum(int(share.rstrip("%")) for share in shares)) > 100:
            raise ValueError(f"expected waves that share at most 100%, found {total}%")
        if self.blue is not None and self.green is not None:
            both = sorted(set(self.blue.nodes) & set(self.green.nodes))
            if both or self.blue == self.green:
                found_in = ", ".join(both) or str(self.blue)
                raise ValueError(f"expected every node in blue or in green, found {found_in} in both")
        return self

    def misplaced(self) -> Iterator[tuple[str, str]]:
        """(field, what is wrong) for everything that was written and that this kind does not look at."""
        for name in sorted(self.model_fields_set):
            kinds = _ONLY_WITH.get(name)
            if kinds is not None and self.kind not in kinds and getattr(self, name):
                yield (
                    name,
                    f"expected `{name}` only with kind {' or '.join(sorted(kinds))}, found {self.kind}",
                )


_K = StrategyKind
_NEEDED: dict[StrategyKind, tuple[str, ...]] = {
    _K.WAVES: ("waves",),
    _K.PRIORITY: ("priority",),
    _K.BLUE_GREEN: ("blue", "green"),
}
_IN_BATCHES = frozenset({_K.ROLLING, _K.CANARY, _K.PRIORITY})
_ONLY_WITH: dict[str, frozenset[StrategyKind]] = {
    "canary": frozenset({_K.CANARY}),
    "observe_s": frozenset({_K.CANARY}),
    "batch_size": _IN_BATCHES,
    "interval_s": _IN_BATCHES,
    "approval": frozenset({*_IN_BATCHES, _K.BLUE_GREEN}),
    "spread": frozenset({*_IN_BATCHES, _K.WAVES}),
    "waves": frozenset({_K.WAVES}),
    "priority": frozenset({_K.PRIORITY}),
    "blue": frozenset({_K.BLUE_GREEN}),
    "green": frozenset({_K.BLUE_GREEN}),
    "hold_s": frozenset({_K.BLUE_GREEN}),
}


def _once(nodes: tuple[str, ...], where: str) -> None:
    twice = sorted(name for name, count in Counter(nodes).items() if count > 1)
    if twice:
        raise ValueError(f"expected every node once {where}, found {', '.join(twice)} again")
