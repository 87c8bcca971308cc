"""As much of every node's word as says whether it is out of service: a tenth of what reading the whole word costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from bumpless.common.contract.base import Instant, Model, Token
from bumpless.common.contract.events import NodeObserved
from bumpless.common.contract.subjects import subject_for
from bumpless.common.model.fleet import ComponentState, Drain
from bumpless.common.shell.broker import Received


class ComponentStanding(Model):
    component: Token
    state: ComponentState


class NodeStanding(Model):
    """The fields of `Node` that say whether it is drained, silent, or stuck."""

    name: Token
    components: dict[str, ComponentStanding] = {}
    observed_at: Instant
    drain: Drain | None = None


class _Observed(Model):
    node: NodeStanding


def standing(items: Iterable[Received]) -> Iterator[NodeStanding]:
    """What the stored words of nodes say; one that cannot be read is as if it had not come."""
    for item in items:
        try:
            found = _Observed.model_validate_json(item.data).node
        except ValidationError:
            continue
        if item.subject == subject_for(NodeObserved, name=found.name):  # nobody speaks for another node
            yield found
