"""Commands: imperative, each with one owner that answers for it. See `subjects.py` for where they travel.

Node commands (`StageComponent`, `ApplyComponent`) travel as signed envelopes and are level-triggered: the last
one per node and component stands. Operator commands are answered by `CommandAnswered`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bumpless.common.contract.base import (
    BatchId,
    Digest,
    Instant,
    Message,
    MessageId,
    Model,
    PlanHash,
    RolloutId,
    Token,
)
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.plan import Direction, Step, StepKey, Target
from bumpless.common.model.verdict import CarriedEvidence

Owner = Literal["planner", "rollback"]
Fault = Literal["fail-stage", "fail-start", "fail-switch", "crash-after-ready", "slow-stage"]


class NodeCommand(Message):
    """What one node shall do with one component, bound to plan, generation, node and expiry.

    (`generation`, `sequence`) only ever grows on a node: the executor stores the highest it took and refuses less.
    `before` is what the planner saw running (None: nothing); the node refuses when it finds a third one. `keep` are
    trees that stay on the node beside these two, because an earlier or a later hop of the rollout runs them.
    """

    rollout: RolloutId
    batch: BatchId | None
    plan_hash: PlanHash
    direction: Direction
    generation: int
    sequence: int
    node: Token
    component: Token
    target: Target | None
    before: Target | None
    keep: tuple[Digest, ...] = ()
    expires_at: Instant


class StageComponent(NodeCommand):
    """Fetch, rebuild and verify `target`, then `further`, the targets of the later hops; change nothing that runs."""

    type: Literal["stage-component"] = "stage-component"
    further: tuple[Target, ...] = ()


class ApplyComponent(NodeCommand):
    """Run `target` instead of what runs now; None: stop and run nothing.

    `hold_s`: how long what is taken out of service is kept, paused, so that the way back takes no start. It ends by
    itself. `for_good`: the node must not go back to what it leaves by itself, neither to an instance kept warm nor after a
    crash loop.
    """

    type: Literal["apply-component"] = "apply-component"
    hold_s: float = 0
    for_good: bool = False


class StageArtifacts(Message):
    """To every node of a plan: stage. Expanded by the relay into one signed `StageComponent` per step.

    `steps` has the first step of every component on every node; what the later ones need is staged with it.
    """

    type: Literal["stage-artifacts"] = "stage-artifacts"
    rollout: RolloutId
    plan_hash: PlanHash
    direction: Direction
    generation: int
    sequence: int
    steps: tuple[Step, ...]
    expires_at: Instant


class ApplyBatch(Message):
    """To every node of a batch: apply. Expanded by the relay into one signed `ApplyComponent` per step."""

    type: Literal["apply-batch"] = "apply-batch"
    hold_s: float = 0
    for_good: bool = False
    rollout: RolloutId
    batch: BatchId
    plan_hash: PlanHash
    direction: Direction
    generation: int
    sequence: int
    steps: tuple[Step, ...]
    expires_at: Instant


class GateMember(Model):
    """One instance under judgement, or one of its peers. `root` is what it is meant to run."""

    node: Token
    component: Token
    version: str
    root: str


class OpenGate(Message):
    """Judge a batch. `canary` was just switched at `switched_at`; `control` still runs the earlier version.

    `batches` is how many batches of the component are judged in all, and `share` the component's part of the
    release's false alarms. `earlier` are the nodes of its batches that passed, and `carried` what those left.
    """

    type: Literal["open-gate"] = "open-gate"
    gate: MessageId
    rollout: RolloutId
    batch: BatchId
    spec: GateSpec
    canary: tuple[GateMember, ...]
    control: tuple[GateMember, ...]
    switched_at: Instant
    deadline: Instant
    batches: int = Field(default=1, ge=1)
    share: float = Field(default=1, gt=0, le=1)
    earlier: tuple[GateMember, ...] = ()
    carried: CarriedEvidence | None = None


class CloseGate(Message):
    """Stop judging: the batch is no longer waiting for a verdict."""

    type: Literal["close-gate"] = "close-gate"
    gate: MessageId
    rollout: RolloutId
    batch: BatchId


class OperatorCommand(Message):
    """A person's (or a tool's) order about one rollout. `to` is the service that owns the aggregate."""

    rollout: RolloutId
    to: Owner = "planner"
    by: str
    reason: str = ""


class Pause(OperatorCommand):
    type: Literal["pause"] = "pause"


class Resume(OperatorCommand):
    type: Literal["resume"] = "resume"


class Promote(OperatorCommand):
    """Take the baking batch (the named one, or every one) as passed."""

    type: Literal["promote"] = "promote"
    batch: BatchId | None = None


class Abort(OperatorCommand):
    type: Literal["abort"] = "abort"


class Approve(OperatorCommand):
    """Let the rollout start, or the named batch. Binds the plan that was seen."""

    type: Literal["approve"] = "approve"
    plan_hash: PlanHash
    batch: BatchId | None = None


class Deny(OperatorCommand):
    """Refuse what waits for approval, the rollout or the named batch: the one is cancelled, the other fails. Binds the
    plan that was seen, so that it never ends what somebody else has approved meanwhile."""

    type: Literal["deny"] = "deny"
    plan_hash: PlanHash
    batch: BatchId | None = None


class Retry(OperatorCommand):
    """Plan the same release again, from what the fleet runs now."""

    type: Literal["retry"] = "retry"


class Rollback(OperatorCommand):
    """Take back what the rollout did. Owned by the rollback service, so that it works while the planner is down.

    `only` limits it to some steps: `node/component`, or `node/component#2` for its second hop and those after it.
    `now`: every node of a component at once, also where that is more than the release's `max_unavailable`.
    """

    type: Literal["rollback"] = "rollback"
    to: Owner = "rollback"
    only: tuple[StepKey, ...] = ()
    now: bool = False


class NodeOrder(Message):
    """A person's order about one node, to the planner, which answers it with `NodeOrderAnswered`."""

    node: Token
    to: Owner = "planner"
    by: str
    reason: str = ""


class DrainNode(NodeOrder):
    """Take the node out of service: nothing of it runs until it is brought back, or until `for_s` seconds are over.

    `force`: also where a component would then be served by no node at all.
    """

    type: Literal["drain-node"] = "drain-node"
    for_s: float | None = Field(default=None, gt=0)
    force: bool = False


class UndrainNode(NodeOrder):
    """Bring the node back into service."""

    type: Literal["undrain-node"] = "undrain-node"


class SetAvailability(Message):
    """Whether a node shall be in service. Signed and level-triggered: the last one per node stands, and never expires.

    `sequence` only ever grows on a node. `until`: when a drain ends by itself, by the node's clock. `orders` are the
    orders that the last ones obeyed, the newest last: one that is delivered again must not act a second time.
    """

    type: Literal["set-availability"] = "set-availability"
    node: Token
    sequence: int
    drained: bool
    by: str
    reason: str = ""
    since: Instant
    until: Instant | None = None
    orders: tuple[MessageId, ...] = ()


class InjectFault(Message):
    """A drill: the named node's executor misbehaves once, at the named step, if it was started to obey drills."""

    type: Literal["inject-fault"] = "inject-fault"
    node: Token
    component: Token
    fault: Fault
    by: str


class FaultAnswer(Model):
    """A node's answer to an `InjectFault` that came as a request: whether the fault is armed; why not."""

    armed: bool
    text: str = ""


class RequestReport(Message):
    """To every node: say again what you observe."""

    type: Literal["request-report"] = "request-report"
