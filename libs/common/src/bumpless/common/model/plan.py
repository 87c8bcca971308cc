"""A plan: an immutable, hashed graph of batches. It leaves no choice to the node."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, NewType, Self

from pydantic import Field

from bumpless.common.contract.base import BatchId, Digest, Model, PlanHash, RolloutId, Token, canonical_json
from bumpless.common.model.channels import Consumes, Produces
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.level import Level
from bumpless.common.model.probe import Probe
from bumpless.common.model.release import RollbackPolicy, Run
from bumpless.common.model.release_hooks import Hooks

TargetId = NewType("TargetId", str)
StepKey = NewType("StepKey", str)
"""`node/component`: the step of a rollout that concerns this component on this node; `node/component#2` is its second hop."""
MAX_HOPS = 1000


def step_key(node: str, component: str, hop: int = 1) -> StepKey:
    return StepKey(f"{node}/{component}" if hop == 1 else f"{node}/{component}#{hop}")


def node_of(key: StepKey) -> str:
    return key.partition("/")[0]


class Direction(StrEnum):
    FORWARD = "forward"
    REVERT = "revert"


class Target(Model):
    """One version of one component, complete: what to fetch, what digest to end with, how to run it, what to run around.

    `release` is the product's version that brought it; `root` is the digest of the rebuilt tree, `artifact` that of the blob with its signed description, `keep_metrics`
    names the metric families that the node ships. `produces` and `consumes` are kept for the release after this one. `probes` are what the node tries out
    beside its instances.
    """

    component: Token
    version: str
    release: str = ""
    root: Digest
    artifact: Digest
    artifact_size: int
    run: Run
    hooks: Hooks = Hooks()
    keep_metrics: tuple[str, ...] = ()
    produces: tuple[Produces, ...] = ()
    consumes: tuple[Consumes, ...] = ()
    probes: tuple[Probe, ...] = Field(default=(), exclude_if=lambda probes: not probes)

    @cached_property
    def id(self) -> TargetId:
        return TargetId(hashlib.sha256(canonical_json(self.model_dump(mode="json"))).hexdigest()[:32])

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Another target: pydantic copies cached values too, and a copied id would name the wrong one."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("id", None)
        return copied


class Step(Model):
    """One component on one node: from what was observed, or the hop before brought, to what is wanted.

    None means: not there. `hop` numbers the versions that the component goes through, from 1.
    """

    node: Token
    component: Token
    before: TargetId | None = None
    after: TargetId | None = None
    hop: int = Field(default=1, ge=1, le=MAX_HOPS)

    @property
    def key(self) -> StepKey:
        return step_key(self.node, self.component, self.hop)

    @property
    def place(self) -> StepKey:
        """The component on the node, whichever hop: what is staged for and fenced as one."""
        return step_key(self.node, self.component)


class Batch(Model):
    """Steps that share one gate. Starts when every batch in `needs` has passed and `wait_s` is over.

    `tolerance` steps may fail without failing the batch; their nodes still count as unavailable. All steps are of the
    same `hop`. `horizon` says why there is no free way back once this batch has been applied; empty where there is.
    `hold_s`: what the batch takes out of service is kept paused so long.
    `freeze`: from then on a failure halts for a person instead of being taken back. `for_good`: what comes later does
    not fit the versions that this batch leaves, so no node may go back to one by itself after it.
    """

    id: BatchId
    component: Token
    hop: int = Field(default=1, ge=1, le=MAX_HOPS)
    horizon: str = ""
    freeze: bool = False
    for_good: bool = False
    steps: tuple[Step, ...] = Field(min_length=1)
    needs: tuple[BatchId, ...] = ()
    gate: GateSpec | None = None
    canary: bool = False
    approval: bool = False
    wait_s: float = 0
    hold_s: float = 0
    tolerance: int = 0
    apply_timeout_s: float = Field(gt=0)

    @cached_property
    def by_place(self) -> Mapping[StepKey, Step]:
        return {step.place: step for step in self.steps}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Another batch: pydantic copies cached values too, and those are of the steps of this one."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("by_place", None)
        return copied


class Hop(Model):
    """One stage of the way of a component through its versions: `why` says what it rests on, and why it is taken.

    `sources` are the versions it leaves; none where the component is new. `level` None: nothing is stated about it.
    """

    component: Token
    number: int = Field(ge=1)
    sources: tuple[str, ...]
    target: str
    level: Level | None = None
    why: str = ""


class Plan(Model):
    """What one rollout does, in which order, within which limits. `hops` is the way in the order in which it is gone, over
    what is stated.

    `generation` fences: commands of a lower one are refused on every node. `sequence_base` is the first command
    sequence of this plan within its generation; a revert's is higher than its rollout's. `fence` lists the steps
    that are told to stay where they are, so that a late command of the plan taken back finds them closed.
    """

    format: Literal[1] = 1
    rollout: RolloutId
    of: RolloutId | None = None
    product: Token
    release_version: str
    release_digest: Digest
    direction: Direction = Direction.FORWARD
    partial: bool = False
    generation: int = Field(ge=1)
    sequence_base: int = 0
    targets: dict[TargetId, Target]
    batches: tuple[Batch, ...]
    hops: tuple[Hop, ...] = ()
    fence: tuple[Step, ...] = ()
    max_unavailable: int = Field(ge=1)
    rollback_policy: RollbackPolicy = RollbackPolicy.AUTO
    approval: bool = False
    unchanged: tuple[StepKey, ...] = ()
    stage_timeout_s: float = 600
    pause_timeout_s: float = 86_400
    approval_timeout_s: float = 86_400
    revert_timeout_s: float = 900

    @cached_property
    def hash(self) -> PlanHash:
        return _hash(self.canonical())

    @cached_property
    def places(self) -> frozenset[StepKey]:
        """Every place that has a step."""
        return frozenset(step.place for step in self.steps())

    @cached_property
    def staged_places(self) -> tuple[StepKey, ...]:
        """The places to which something is brought, and must be there before it may be put in place."""
        return tuple(dict.fromkeys(step.place for step in self.steps() if step.after is not None))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Another plan: pydantic copies cached values too, and those are of this one."""
        copied = super().model_copy(update=update, deep=deep)
        for name in ("hash", "places", "staged_places"):
            copied.__dict__.pop(name, None)
        return copied

    @classmethod
    def from_stored(cls, data: bytes) -> Self:
        """The plan that was stored as `data`. Its hash is that of these bytes, also where a field was added since."""
        plan = cls.model_validate_json(data)
        plan.__dict__["hash"] = _hash(data)
        return plan

    def canonical(self) -> bytes:
        """The bytes that are hashed and stored: `canonical_json` of the whole, batch by batch, to need less memory."""
        parts = {
            name: canonical_json(value)
            for name, value in self.model_dump(mode="json", exclude={"batches"}).items()
        }
        batches = b",".join(canonical_json(batch.model_dump(mode="json")) for batch in self.batches)
        parts["batches"] = b"[" + batches + b"]"
        return b"{" + b",".join(canonical_json(name) + b":" + parts[name] for name in sorted(parts)) + b"}"

    def steps(self) -> Iterator[Step]:
        for batch in self.batches:
            yield from batch.steps

    def first_steps(self) -> tuple[Step, ...]:
        """The first step of every place that brings something."""
        found: dict[StepKey, Step] = {}
        for step in self.steps():
            if step.after is not None:
                found.setdefault(step.place, step)
        return tuple(found.values())

    def courses(self) -> dict[StepKey, list[Step]]:
        """The steps of every place, in the order of their hops."""
        found: dict[StepKey, list[Step]] = {}
        for step in self.steps():
            found.setdefault(step.place, []).append(step)
        for steps in found.values():
            steps.sort(key=lambda step: step.hop)
        return found

    def batch(self, batch_id: BatchId) -> Batch:
        return next(b for b in self.batches if b.id == batch_id)


def _hash(data: bytes) -> PlanHash:
    return PlanHash("sha256:" + hashlib.sha256(data).hexdigest())
