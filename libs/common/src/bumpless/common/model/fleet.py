"""The inventory: what each node last said about itself. Observed, and possibly stale."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from bumpless.common.contract.base import Digest, Instant, Model, PlanHash, Token
from bumpless.common.model.plan import Target


class ComponentState(StrEnum):
    """The states of a component on a node, as in the table of ARCHITECTURE.md."""

    ABSENT = "absent"
    SERVING = "serving"
    STAGING = "staging"
    STARTING = "starting"
    SWITCHING = "switching"
    DRAINING = "draining"
    STUCK = "stuck"


class ComponentObserved(Model):
    """What runs: `target` and `root` are what the running instance was started from, None when nothing runs.

    `brought_by` is the plan that brought it, where the node remembers. `returned_from` is the version that the node left by itself because it crashed again and again.
    `held` is the version that was removed and is kept paused until `held_until`.
    `previous` is the tree that can be started again without a fetch. `generation` and `sequence` are the highest
    command taken.
    """

    component: Token
    state: ComponentState
    target: Target | None = None
    root: Digest | None = None
    previous: Digest | None = None
    staged: tuple[Digest, ...] = ()
    generation: int = 0
    sequence: int = 0
    instances: int = 0
    restarts: int = 0
    returned_from: str | None = None
    brought_by: PlanHash | None = None
    held: str | None = None
    held_until: Instant | None = None
    reason: str | None = None


class BackupFact(Model):
    """A backup that the node knows of, as its backup job wrote down; `restore_tested_at` None: never."""

    id: str
    component: Token
    restore_tested_at: Instant | None = None


class NodeFacts(Model):
    """What a node is like. None and empty: not known.

    `listening` are the TCP addresses (`10.0.0.5:80`, `[::]:80`) on which others listen than the node's components,
    `bound` the UDP addresses that others hold. `changed` says, by component, how the tree that serves differs from what
    was staged, one sentence for each difference.
    `item_calls` are the calls of lifecycle items that the serving instances have counted since they started, by
    component and item. `runtime` are versions of `kernel`, `libc`, `python` and `systemd`.
    """

    inodes_free: int | None = None
    memory_available: int | None = None
    memory_total: int | None = None
    architecture: str = ""
    runtime: dict[str, str] = {}
    listening: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    changed: dict[Token, tuple[str, ...]] = {}
    item_calls: dict[Token, dict[str, float]] = {}
    backups: tuple[BackupFact, ...] = ()


class Drain(Model):
    """A node is out of service: by whom, why, since when, and until when at the latest (None: until it is undrained)."""

    by: str
    reason: str = ""
    since: Instant
    until: Instant | None = None

    def __str__(self) -> str:
        until = f" until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else ""
        why = f": {self.reason}" if self.reason else ""
        return f"drained by {self.by} since {self.since:%Y-%m-%d %H:%M} UTC{until}{why}"


class Node(Model):
    """One node: its name, address and labels, and its components.

    `drain` is there while it is out of service, `ordered` the number of the last word about that which it took.

    `identity` is that of the data directory, `executor` which process speaks: two of them under one name are a fault.
    """

    name: Token
    address: str
    labels: dict[str, str] = {}
    components: dict[str, ComponentObserved] = {}
    observed_at: Instant
    free_bytes: int | None = None
    facts: NodeFacts | None = None
    identity: str = ""
    executor: str = ""
    drain: Drain | None = None
    ordered: int = 0

    @property
    def generation(self) -> int:
        return max((c.generation for c in self.components.values()), default=0)


class Fleet(Model):
    nodes: tuple[Node, ...] = ()

    def node(self, name: str) -> Node | None:
        return next((n for n in self.nodes if n.name == name), None)


def fleet_of(nodes: Iterable[Node]) -> Fleet:
    """The nodes by name. What many of them run alike is one object: it is held, hashed and compared once.

    `nodes` may come one by one; each is let go of as it is taken in.
    """
    alike: dict[tuple[str, str, str, str], list[Target]] = {}
    given: dict[frozenset[str], set[str]] = {}

    def one_of(target: Target | None) -> Target | None:
        if target is None:
            return None
        same = alike.setdefault((target.component, target.version, target.root, target.artifact), [])
        for known in same:
            if known == target:
                return known
        same.append(target)
        return target

    def taken(component: ComponentObserved) -> ComponentObserved:
        fields = component.model_fields_set
        said = given.setdefault(frozenset(fields), fields)
        return ComponentObserved.model_construct(
            said, **{**component.__dict__, "target": one_of(component.target)}
        )

    found = (
        node.model_copy(update={"components": {name: taken(c) for name, c in node.components.items()}})
        for node in nodes
    )
    return Fleet.model_construct(nodes=tuple(sorted(found, key=lambda node: node.name)))
