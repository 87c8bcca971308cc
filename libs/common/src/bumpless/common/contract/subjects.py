"""The one table of the wire: message type -> stream, subject, owner. No other module holds a subject string."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bumpless.common.contract import alerts as a
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message


class Stream(StrEnum):
    """The JetStream streams, and CORE for what is not kept."""

    REL = "REL"
    CMD = "CMD"
    RO = "RO"
    OPS = "OPS"
    ALR = "ALR"
    EVT = "EVT"
    INV = "INV"
    PROG = "PROG"
    DLQ = "DLQ"
    ADV = "ADV"
    CDE = "CDE"
    CORE = ""


@dataclass(frozen=True)
class Route:
    """Where a message type travels. `subject` names fields of the message in braces; `owner` may publish it."""

    stream: Stream
    subject: str
    owner: str


ROUTES: dict[type[Message], Route] = {
    e.ReleaseAnnounced: Route(Stream.REL, "rel.{product}.announced", "ci"),
    e.ReleaseRefused: Route(Stream.RO, "ro.{rollout}.release-refused", "planner"),
    e.RolloutPlanned: Route(Stream.RO, "ro.{rollout}.rollout-planned", "planner, rollback"),
    e.RolloutAdvanced: Route(Stream.RO, "ro.{rollout}.rollout-advanced", "planner, rollback"),
    e.RolloutSucceeded: Route(Stream.RO, "ro.{rollout}.rollout-succeeded", "planner"),
    e.RolloutFailed: Route(Stream.RO, "ro.{rollout}.rollout-failed", "planner"),
    e.RolloutCancelled: Route(Stream.RO, "ro.{rollout}.rollout-cancelled", "planner, rollback"),
    e.RolloutHalted: Route(Stream.RO, "ro.{rollout}.rollout-halted", "planner, rollback"),
    e.RevertStarted: Route(Stream.RO, "ro.{rollout}.revert-started", "rollback"),
    e.RolloutReverted: Route(Stream.RO, "ro.{rollout}.rollout-reverted", "rollback"),
    e.CommandAnswered: Route(Stream.RO, "ro.{rollout}.command-answered", "planner, rollback"),
    c.OpenGate: Route(Stream.RO, "ro.{rollout}.open-gate", "planner, rollback"),
    c.CloseGate: Route(Stream.RO, "ro.{rollout}.close-gate", "planner, rollback"),
    e.VerdictReached: Route(Stream.RO, "ro.{rollout}.verdict-reached", "health-gate"),
    c.StageComponent: Route(Stream.CMD, "cmd.{node}.{component}", "planner, rollback"),
    c.ApplyComponent: Route(Stream.CMD, "cmd.{node}.{component}", "planner, rollback"),
    c.SetAvailability: Route(Stream.CMD, "cmd.{node}._node", "planner"),
    c.Pause: Route(Stream.OPS, "op.{to}.{rollout}.pause", "operator"),
    c.Resume: Route(Stream.OPS, "op.{to}.{rollout}.resume", "operator"),
    c.Promote: Route(Stream.OPS, "op.{to}.{rollout}.promote", "operator"),
    c.Abort: Route(Stream.OPS, "op.{to}.{rollout}.abort", "operator"),
    c.Approve: Route(Stream.OPS, "op.{to}.{rollout}.approve", "operator"),
    c.Deny: Route(Stream.OPS, "op.{to}.{rollout}.deny", "operator"),
    c.Retry: Route(Stream.OPS, "op.{to}.{rollout}.retry", "operator"),
    c.Rollback: Route(Stream.OPS, "op.{to}.{rollout}.rollback", "operator"),
    c.DrainNode: Route(Stream.OPS, "op.{to}.{node}.drain-node", "operator"),
    c.UndrainNode: Route(Stream.OPS, "op.{to}.{node}.undrain-node", "operator"),
    e.NodeOrderAnswered: Route(Stream.OPS, "op.answers.{node}.node-order-answered", "planner"),
    e.AlertFired: Route(Stream.OPS, "op.planner.{rollout}.alert-fired", "alerts"),
    a.AcknowledgeAlert: Route(Stream.OPS, "op.alerts.{alert}.acknowledge", "operator"),
    a.SetSilence: Route(Stream.OPS, "op.alerts.{silence_id}.set-silence", "operator"),
    a.ExpireSilence: Route(Stream.OPS, "op.alerts.{silence_id}.expire-silence", "operator"),
    a.TryChannel: Route(Stream.OPS, "op.alerts.{channel}.try-channel", "operator"),
    a.AlertChanged: Route(Stream.ALR, "alr.{fingerprint}.changed", "alerts"),
    a.SilenceChanged: Route(Stream.ALR, "alr.{silence_id}.silence", "alerts"),
    a.AlertingAnswered: Route(Stream.ALR, "alr.{about}.answered", "alerts"),
    c.InjectFault: Route(Stream.CORE, "drill.{node}", "operator"),
    c.RequestReport: Route(Stream.CORE, "report.all", "planner, rollback, health-gate, alerts"),
    e.StepStaged: Route(Stream.EVT, "evt.{node}.step-staged", "executor"),
    e.StepFinished: Route(Stream.EVT, "evt.{node}.step-finished.{direction}", "executor"),
    e.ComponentCrashLooping: Route(Stream.EVT, "evt.{node}.component-crash-looping", "executor"),
    e.ReturnedToPrevious: Route(Stream.EVT, "evt.{node}.returned-to-previous", "executor"),
    e.MetricsSampled: Route(Stream.EVT, "evt.{node}.metrics-sampled", "executor"),
    e.MetricsPushed: Route(Stream.EVT, "evt.{node}.metrics-pushed", "whoever measures on the node"),
    e.NodeObserved: Route(Stream.INV, "inv.{name}", "executor"),
    e.RolloutProgressed: Route(Stream.PROG, "prog.{rollout}.rollout", "planner, rollback"),
    e.StepProgressed: Route(Stream.PROG, "prog.{rollout}.step.{node}.{component}", "executor"),
    e.GateProgressed: Route(Stream.PROG, "prog.{rollout}.gate.{batch}", "health-gate"),
    e.WebhookTried: Route(Stream.PROG, "whk.{webhook}", "events"),
    e.MessageParked: Route(Stream.DLQ, "dlq.{service}.{stream}", "every service"),
}

STREAM_SUBJECTS: dict[Stream, tuple[str, ...]] = {
    Stream.REL: ("rel.*.announced", "rel.*.published"),
    Stream.CMD: ("cmd.*.*",),
    Stream.RO: ("ro.*.*",),
    Stream.OPS: ("op.*.*.*",),
    Stream.ALR: ("alr.*.*",),
    Stream.EVT: ("evt.*.*", "evt.*.step-finished.*"),
    Stream.INV: ("inv.*",),
    Stream.PROG: ("prog.>", "whk.*"),
    Stream.DLQ: ("dlq.>",),
    Stream.ADV: (
        "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>",
        "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>",
    ),
    Stream.CDE: ("cde.*.*",),
}

COMMANDS_LIVE_SOURCE = "cmd.*.*"
COMMANDS_LIVE_TARGET = "live.{{wildcard(1)}}.{{wildcard(2)}}"
API_PLAN = "api.planner.plan"
API_GATE_DRY_RUN = "api.health-gate.dry-run"
ARTIFACT_BUCKET = "artifacts"
PLAN_BUCKET = "plans"
SHOWN_BUCKET = "plans-shown"
"""Plans of dry runs; they expire."""


def subject_of(message: Message) -> str:
    """The subject `message` travels on."""
    route = ROUTES[type(message)]
    fields = {name: getattr(message, name) for name in _fields(route.subject)}
    return route.subject.format(**fields)


def subject_for(kind: type[Message], **fields: str) -> str:
    """The subject, or subject filter, for `kind` with the given fields; those left out match everything (`*`)."""
    route = ROUTES[kind]
    return route.subject.format(**{name: fields.get(name, "*") for name in _fields(route.subject)})


def operator_subjects(owner: str) -> str:
    """Every operator command to one owner."""
    return f"op.{owner}.*.*"


def rollout_subjects(rollout: str = "*") -> str:
    """Everything that is logged about one rollout."""
    return f"ro.{rollout}.*"


def progress_subjects(rollout: str | None = None) -> str:
    """Everything that dashboards see of one rollout, or of all."""
    return "prog.>" if rollout is None else f"prog.{rollout}.>"


def commands_live(node: str) -> str:
    """Where a node hears its commands, as the stream republishes them after they are stored."""
    return f"live.{node}.*"


def command_live(node: str, component: str) -> str:
    """Where a node hears the command for one component."""
    return f"live.{node}.{component}"


NODE_TOKEN = "_node"
"""In place of a component, in the subject of what is commanded of a node as a whole: no component can be named so."""


def commands_last(node: str) -> str:
    """The subjects whose last values are a node's standing commands."""
    return f"cmd.{node}.*"


def api_stage_check(node: str) -> str:
    """Where a node is asked whether it could stage a tree (`StageCheck`, answered with `StageChecked`)."""
    return f"api.executor.{node}.stage-check"


def api_alert_hook(node: str) -> str:
    """Where a node is told to run one of its alert hooks (`RunAlertHook`, signed; answered with `AlertHookRan`)."""
    return f"api.executor.{node}.alert-hook"


def release_published(product: str = "*") -> str:
    """Where tools say that a signed release is there (`cdevents.Trigger`)."""
    return f"rel.{product}.published"


def delivery_event(word: str = "*.*") -> str:
    """Where an event of the delivery vocabulary travels; `word` is `<subject>.<predicate>`, either may be `*`."""
    return f"cde.{word}"


def _fields(template: str) -> list[str]:
    return [part.split("}")[0] for part in template.split("{")[1:]]


NAMED_BY_PEOPLE = (Stream.CDE,)
"""Streams with consumers whose names are in somebody's configuration: nobody may delete any consumer there, because no
rule could spare those."""
DIRECT_GET = "$JS.API.DIRECT.GET."
"""Followed by a stream's name: where last values are read without a consumer."""
ACK_PREFIX = "$JS.ACK."
"""Begins the reply subject of every message that a stream delivered."""


def command_last(node: str, component: str) -> str:
    """The subject whose last value is the standing command for one component."""
    return f"cmd.{node}.{component}"


def api_commands(node: str) -> str:
    """Where a node asks which components of it have standing commands (answered with their names, as JSON)."""
    return f"api.commands.{node}"


def direct_get(stream: str, subject: str | None = None) -> str:
    """Where a last value is asked for by its subject; without one, by what the request says."""
    return DIRECT_GET + stream + ("" if subject is None else f".{subject}")


def stream_request(verb: str, stream: str) -> str:
    """Where the broker is asked about, or told to change, a stream."""
    return f"$JS.API.STREAM.{verb}.{stream}"


def consumer_request(verb: str, stream: str, consumer: str) -> str:
    """Where the broker is asked about, or told to make or to deliver to, a consumer."""
    return f"$JS.API.CONSUMER.{verb}.{stream}.{consumer}"


def acknowledgements(stream: str, consumer: str) -> str:
    """Where what a consumer delivered is acknowledged."""
    return f"{ACK_PREFIX}{stream}.{consumer}.>"


def bucket_stream(bucket: str) -> str:
    """The stream in which an object store keeps its objects."""
    return f"OBJ_{bucket}"


def bucket_subjects(bucket: str) -> str:
    """What is published to write objects."""
    return f"$O.{bucket}.>"


ACCOUNT_INFO = "$JS.API.INFO"
COMMANDS_LIVE = "live.*.*"
"""Every command, as nodes hear it."""
EXECUTOR_QUESTIONS = "api.executor.*.*"
"""Whatever is asked of nodes."""
