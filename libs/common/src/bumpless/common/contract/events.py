"""Events: what happened, in the past tense. See `subjects.py` for where they travel and who owns them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

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
from bumpless.common.model.finding import Finding
from bumpless.common.model.fleet import Node
from bumpless.common.model.plan import Direction
from bumpless.common.model.statement import Waiver
from bumpless.common.model.verdict import CarriedEvidence, Evidence, Verdict


class ReleaseAnnounced(Message):
    """CI published a signed release. The same announcement may arrive any number of times.

    `envelope` is the DSSE JSON of the release; `digest` is `Release.digest`, checked by the planner. `attempt` counts retries.
    `expected_plan` refuses every other plan than the one that was shown. `statements` are the DSSE JSON of waivers and
    rehearsals.
    """

    type: Literal["release-announced"] = "release-announced"
    product: Token
    digest: Digest
    envelope: str
    attempt: int = 0
    expected_plan: PlanHash | None = None
    statements: tuple[str, ...] = ()
    by: str = "ci"


class ReleaseRefused(Message):
    """The planner will not run this release, and why: `reasons` are the texts of those `findings` that block."""

    type: Literal["release-refused"] = "release-refused"
    rollout: RolloutId
    product: Token
    digest: Digest
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...] = ()


class RolloutPlanned(Message):
    """A rollout exists: its plan is stored under its hash. `findings` were known, `waivers` let some of them pass.

    `out` are its nodes that are out for reasons outside of it when it begins, as in `NodesOut`.
    """

    type: Literal["rollout-planned"] = "rollout-planned"
    rollout: RolloutId
    of: RolloutId | None = None
    product: Token
    release_version: str
    direction: Direction
    plan_hash: PlanHash
    generation: int
    by: str = ""
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    out: dict[Token, str] = {}


class LoggedInput(Model):
    """One input of the engine as it was handled: when, and the message in full."""

    at: Instant
    message: dict[str, Any]


class RolloutAdvanced(Message):
    """The log of a rollout: these inputs took it from version - 1 to `version`. Replaying them rebuilds it."""

    type: Literal["rollout-advanced"] = "rollout-advanced"
    rollout: RolloutId
    owner: Literal["planner", "rollback"]
    version: int
    inputs: tuple[LoggedInput, ...]
    status_before: str | None
    status: str
    notes: tuple[str, ...] = ()


class RolloutSucceeded(Message):
    type: Literal["rollout-succeeded"] = "rollout-succeeded"
    rollout: RolloutId
    product: Token
    release_version: str


class RolloutFailed(Message):
    """Forward steps have stopped. `policy_auto` says whether the rollback service takes it back by itself."""

    type: Literal["rollout-failed"] = "rollout-failed"
    rollout: RolloutId
    product: Token
    plan_hash: PlanHash
    generation: int
    reason: str
    policy_auto: bool
    switched_anything: bool


class RolloutCancelled(Message):
    type: Literal["rollout-cancelled"] = "rollout-cancelled"
    rollout: RolloutId
    reason: str


class RolloutHalted(Message):
    """Stopped for a person. `rollout` is the forward rollout; `of` names its revert where that is what halted."""

    type: Literal["rollout-halted"] = "rollout-halted"
    rollout: RolloutId
    of: RolloutId | None = None
    reason: str


class RevertStarted(Message):
    """The rollback service has taken over: no forward step may follow."""

    type: Literal["revert-started"] = "revert-started"
    rollout: RolloutId
    revert: RolloutId
    reason: str
    by: str


class RolloutReverted(Message):
    """Every commanded node runs again what it ran before, as observed on the node; with `partial`, the chosen ones."""

    type: Literal["rollout-reverted"] = "rollout-reverted"
    rollout: RolloutId
    revert: RolloutId
    partial: bool = False


class CommandAnswered(Message):
    """The one answer to an operator command. `cause` is the command's id."""

    type: Literal["command-answered"] = "command-answered"
    rollout: RolloutId
    command: str
    accepted: bool
    text: str


class NodeOrderAnswered(Message):
    """The one answer to an order about a node. `cause` is the order's id."""

    type: Literal["node-order-answered"] = "node-order-answered"
    node: Token
    command: str
    accepted: bool
    text: str


class StepStaged(Message):
    """A node holds and has verified the target, or could not get it."""

    type: Literal["step-staged"] = "step-staged"
    rollout: RolloutId
    direction: Direction = Direction.FORWARD
    plan_hash: PlanHash
    node: Token
    component: Token
    sequence: int
    ok: bool
    used: Literal["present", "delta", "full"] | None = None
    bytes_fetched: int = 0
    full_bytes: int = 0
    reason: str | None = None


class StepOutcome(StrEnum):
    """`done`: the target serves. `already`: it did before. `refused`: found something else than expected, touched
    nothing. `failed`: tried, and the earlier version serves. `stuck`: tried, and nothing serves. `done` and `already` are
    said once nothing of another version that was given up while it was started is at work."""

    DONE = "done"
    ALREADY = "already"
    REFUSED = "refused"
    FAILED = "failed"
    STUCK = "stuck"


class StepFinished(Message):
    """One component on one node came to rest. `root` and `version` are what the node observed running afterwards.

    `idle`: the node is drained, so they are in place, and nothing of them was started.
    """

    type: Literal["step-finished"] = "step-finished"
    rollout: RolloutId
    direction: Direction = Direction.FORWARD
    batch: BatchId | None
    plan_hash: PlanHash
    node: Token
    component: Token
    generation: int
    sequence: int
    outcome: StepOutcome
    root: Digest | None = None
    version: str | None = None
    reason: str | None = None
    switched_at: Instant | None = None
    cut: tuple[str, ...] = ()
    idle: bool = False
    seconds: dict[str, float] = {}


class ComponentCrashLooping(Message):
    """The serving process died or failed to start `crashes` times within `window_s` seconds.

    `rollout`, `plan_hash` and `direction` are those of the node's standing command, `root` and `version` what crashes.
    `returning`: the node goes back to the version before by itself.
    """

    type: Literal["component-crash-looping"] = "component-crash-looping"
    rollout: RolloutId
    plan_hash: PlanHash
    direction: Direction = Direction.FORWARD
    node: Token
    component: Token
    root: Digest
    version: str
    crashes: int
    window_s: float
    reason: str
    returning: bool = False


class ReturnedToPrevious(Message):
    """A node left a version that crashed again and again. `root` and `version` are what it runs from now on."""

    type: Literal["returned-to-previous"] = "returned-to-previous"
    rollout: RolloutId
    node: Token
    component: Token
    root: Digest
    version: str
    left_root: Digest
    left_version: str
    warm: bool = Field(description="The process of the earlier version was still there and was resumed")
    reason: str


class NodeObserved(Message):
    """A node's own word about itself; the last one per node is the inventory."""

    type: Literal["node-observed"] = "node-observed"
    node: Node

    @property
    def name(self) -> str:
        return self.node.name


class MetricsSampled(Message):
    """One scrape of one instance. `samples` maps a series (`name{label="v"}`) to its cumulative value.

    `sequence` counts the scrapes of this instance. `up` is False when the endpoint did not answer; then there are
    no samples, and nothing may be read from their absence.
    """

    type: Literal["metrics-sampled"] = "metrics-sampled"
    node: Token
    component: Token
    instance: str
    version: str
    root: Digest
    sequence: int
    up: bool
    restarts: int = 0
    samples: dict[str, float] = {}


class MetricsPushed(Message):
    """What somebody on a node measured of a component there, pushed: cumulative counters, buckets and gauges by series.

    `at` is when it was measured; the id makes copies known. A series `release_info{digest="…"}` says which version it is of.
    """

    type: Literal["metrics-pushed"] = "metrics-pushed"
    node: Token
    component: Token
    samples: dict[str, float]


class VerdictReached(Message):
    """The end of a gate. `detail` is one sentence a person can act on.

    `carried` is what the sequential test leaves to the next batch of the component.
    """

    type: Literal["verdict-reached"] = "verdict-reached"
    gate: MessageId
    rollout: RolloutId
    batch: BatchId
    verdict: Verdict
    reason: str
    detail: str
    evidence: tuple[Evidence, ...] = ()
    opened_at: Instant
    carried: CarriedEvidence | None = Field(default=None, exclude_if=lambda found: found is None)


class AlertFired(Message):
    """An outside alarm about a rollout. `fail` says whether the sender wants the rollout failed."""

    type: Literal["alert-fired"] = "alert-fired"
    rollout: RolloutId
    name: str
    detail: str = ""
    fail: bool = True


class WebhookTried(Message):
    """Last value for people: how the latest delivery to a webhook went. `due` is the next try; None: there is none."""

    type: Literal["webhook-tried"] = "webhook-tried"
    webhook: Token
    event: str
    event_type: str
    ok: bool
    detail: str
    tries: int
    due: Instant | None = None


class MessageParked(Message):
    """A message nobody could read or handle, kept with the reason so that nothing behind it waits."""

    type: Literal["message-parked"] = "message-parked"
    service: str
    stream: str
    subject: str
    stream_sequence: int
    reason: str
    headers: dict[str, str] = {}
    body: bytes


class DeadlineReached(Message):
    """Time ran out for one named wait of one aggregate. Made only by `shell.deadlines`; logged as an input."""

    type: Literal["deadline-reached"] = "deadline-reached"
    aggregate: str
    name: str
    due: Instant


class NodesOut(Message):
    """The nodes of a rollout that are out for reasons outside of it, with the reason; all of them each time.

    Made only by the planner's budget; logged as an input.
    """

    type: Literal["nodes-out"] = "nodes-out"
    rollout: RolloutId
    nodes: dict[Token, str]


class RolloutProgressed(Message):
    """Last value for dashboards: where a rollout is, why, since when, until when."""

    type: Literal["rollout-progressed"] = "rollout-progressed"
    rollout: RolloutId
    of: RolloutId | None = None
    product: Token
    release_version: str
    direction: Direction
    status: str
    since: Instant
    until: Instant | None = None
    reason: str = ""
    batches: dict[str, str] = {}
    steps_done: int = 0
    steps_total: int = 0
    version: int = Field(default=0, description="Grows with every change; drop lower ones")


class StepProgressed(Message):
    """Last value for dashboards: what a node is doing with one component. `share` is 0..1."""

    type: Literal["step-progressed"] = "step-progressed"
    rollout: RolloutId
    node: Token
    component: Token
    state: str
    detail: str = ""
    share: float = 0.0


class GateProgressed(Message):
    """Last value for dashboards: what an open gate sees."""

    type: Literal["gate-progressed"] = "gate-progressed"
    rollout: RolloutId
    batch: BatchId
    verdict: Verdict | None = None
    detail: str = ""
    evidence: tuple[Evidence, ...] = ()
