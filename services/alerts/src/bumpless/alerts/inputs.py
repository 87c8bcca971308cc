"""What the service tells its own alerts. Made and handled here; never on the wire."""

from __future__ import annotations

from typing import Literal

from bumpless.common.contract.base import Instant, Message, Model, RolloutId
from bumpless.common.model.alert import ActionKind, Labels, Route, Severity


class Wanted(Model):
    """An action that an alert asks for, as its episode begins."""

    name: str
    do: ActionKind
    tries: int = 3


class Observed(Message):
    """Whether what an alert stands for holds, as a rule found or somebody outside said.

    `route` and `actions` count when an episode begins. `ends_at`: it ends by itself unless it is said again.
    """

    type: Literal["observed"] = "observed"
    labels: Labels
    annotations: dict[str, str] = {}
    severity: Severity
    source: Literal["rule", "alertmanager"]
    holds: bool
    for_s: float = 0
    value: float | None = None
    detail: str = ""
    ends_at: Instant | None = None
    route: Route = Route()
    actions: tuple[Wanted, ...] = ()


class Muted(Message):
    """The silences that cover an alert now, and until when they do; none: nobody mutes it."""

    type: Literal["muted"] = "muted"
    by: tuple[str, ...]
    until: Instant | None


class Sent(Message):
    """How one delivery went. `for_good`: trying again makes no sense."""

    type: Literal["sent"] = "sent"
    delivery: str
    ok: bool
    for_good: bool = False
    detail: str = ""


class Concerned(Message):
    """The rollouts under way that an action concerns."""

    type: Literal["concerned"] = "concerned"
    action: str
    rollouts: tuple[RolloutId, ...]


class Ran(Message):
    """How a command or webhook of an action went."""

    type: Literal["ran"] = "ran"
    action: str
    ok: bool
    detail: str = ""
