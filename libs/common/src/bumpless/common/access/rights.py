"""What each identity may publish and hear, derived from the table of subjects and what each part reads.

Nodes live in an account of their own, without streams: what passes between the accounts is listed here too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bumpless.common.access.entry import OPEN_INBOX
from bumpless.common.contract import alerts as a
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects as s
from bumpless.common.contract.subjects import ROUTES, STREAM_SUBJECTS, Stream
from bumpless.common.shell.topology import DURABLES, KEEPER

OPERATOR = "operator"
CI = "ci"
ADMIN = "admin"
"""Everything in the account of the streams: for backups and repairs. Its key is needed by nothing that runs."""
DASHBOARD = "dashboard"
SERVICES = ("planner", "rollback", "health-gate", "alerts", "events", DASHBOARD)
READER = "reader"
"""Looks: other tools, which may use the inboxes of everybody, but must name the consumers they make."""
PEOPLE = (OPERATOR, CI, ADMIN, READER)
BUCKETS = (s.ARTIFACT_BUCKET, s.PLAN_BUCKET, s.SHOWN_BUCKET)
STORED = tuple(stream for stream in Stream if stream is not Stream.CORE)

_READS: dict[str, tuple[Stream, ...]] = {
    "planner": (Stream.REL, Stream.OPS, Stream.EVT, Stream.RO, Stream.INV, Stream.CMD),
    "rollback": (Stream.OPS, Stream.EVT, Stream.RO, Stream.INV, Stream.CMD),
    "health-gate": (Stream.RO, Stream.EVT, Stream.ALR),
    "alerts": (
        Stream.OPS,
        Stream.EVT,
        Stream.RO,
        Stream.INV,
        Stream.PROG,
        Stream.ALR,
        Stream.DLQ,
        Stream.ADV,
    ),
    "events": (Stream.REL, Stream.RO, Stream.ALR, Stream.CDE),
    DASHBOARD: (Stream.OPS, Stream.RO, Stream.PROG, Stream.INV),
    OPERATOR: tuple(stream for stream in STORED if stream is not Stream.ADV),
    CI: (Stream.REL, Stream.RO, Stream.PROG, Stream.INV, Stream.CDE),
    READER: (
        Stream.REL,
        Stream.RO,
        Stream.OPS,
        Stream.ALR,
        Stream.EVT,
        Stream.INV,
        Stream.PROG,
        Stream.CDE,
    ),
}
_READS_OBJECTS: dict[str, tuple[str, ...]] = {
    "planner": (s.PLAN_BUCKET, s.SHOWN_BUCKET),
    "rollback": (s.PLAN_BUCKET,),
    "alerts": (s.PLAN_BUCKET,),
    "events": (s.PLAN_BUCKET, s.ARTIFACT_BUCKET),
    DASHBOARD: (s.PLAN_BUCKET,),
    OPERATOR: BUCKETS,
    CI: BUCKETS,
    READER: (s.PLAN_BUCKET,),
}
_WRITES_OBJECTS: dict[str, tuple[str, ...]] = {
    "planner": (s.PLAN_BUCKET, s.SHOWN_BUCKET),
    "rollback": (s.PLAN_BUCKET,),
    OPERATOR: (s.ARTIFACT_BUCKET,),
    CI: (s.ARTIFACT_BUCKET,),
}
_ANNOUNCE = s.subject_for(e.ReleaseAnnounced)
_STAGE_CHECKS, _ALERT_HOOKS = s.api_stage_check("*"), s.api_alert_hook("*")
_SAYS_TOO: dict[str, tuple[str, ...]] = {
    "planner": (_ANNOUNCE,),  # a retry
    "alerts": (
        _ALERT_HOOKS,
        s.subject_for(c.Pause, to="planner"),
        s.subject_for(c.Rollback, to="rollback"),
    ),
    "events": (_ANNOUNCE, s.release_published(), s.delivery_event()),
    DASHBOARD: tuple(
        s.subject_for(kind) for kind, route in ROUTES.items() if issubclass(kind, c.OperatorCommand)
    ),
    OPERATOR: (_ANNOUNCE, s.release_published(), s.API_PLAN, s.API_GATE_DRY_RUN, _STAGE_CHECKS),
    CI: (s.release_published(), s.API_PLAN, s.API_GATE_DRY_RUN, _STAGE_CHECKS),
}
_ANSWERS: dict[str, tuple[str, ...]] = {
    "planner": (s.API_PLAN, s.api_commands("*")),
    "rollback": (s.api_commands("*"),),
    "health-gate": (s.API_GATE_DRY_RUN,),
}
_HEARS: dict[str, tuple[str, ...]] = {  # answers are awaited on the subject that they are stored under
    DASHBOARD: (s.subject_for(e.CommandAnswered),),
    READER: (
        f"{OPEN_INBOX}.>",
        *(each for kept in STREAM_SUBJECTS.values() for each in kept if each[0] not in "$cd"),
    ),
    OPERATOR: (
        s.subject_for(e.CommandAnswered),
        s.subject_for(e.NodeOrderAnswered),
        s.subject_for(a.AlertingAnswered),
    ),
}


@dataclass(frozen=True)
class Rights:
    """Subjects that one identity may publish and hear; its own inbox comes on top.

    `answers`: it may also answer whoever asks it something.
    """

    publish: tuple[str, ...]
    hear: tuple[str, ...]
    refused: tuple[str, ...] = ()
    answers: bool = False


def of_node(node: str) -> Rights:
    """Its own commands, words and questions; artifacts, which all nodes share."""
    artifacts = s.bucket_stream(s.ARTIFACT_BUCKET)
    own = [_own(kind, node) for kind in ROUTES if _said_by(kind, "executor") or kind is e.MetricsPushed]
    return Rights(
        publish=(
            *own,
            s.subject_for(e.MessageParked, service="executor"),
            s.direct_get(Stream.CMD, s.commands_last(node)),
            s.api_commands(node),
            s.direct_get(Stream.INV, s.subject_for(e.NodeObserved, name=node)),
            s.direct_get(artifacts),
            s.direct_get(artifacts, ">"),
        ),
        hear=(
            s.commands_live(node),
            s.subject_for(c.RequestReport),
            s.subject_for(c.InjectFault, node=node),
            s.api_stage_check(node),
            s.api_alert_hook(node),
            s.subject_for(e.NodeObserved, name=node),
        ),
        answers=True,
    )


def of_service(name: str) -> Rights:
    """A service, `operator` (people at a command line), `ci`, `reader` or `admin`."""
    if name == ADMIN:
        return Rights((">",), (">",))
    says = [s.subject_for(kind) for kind in ROUTES if _said_by(kind, name)]
    if name in SERVICES:
        says += [s.subject_for(e.MessageParked, service=name), *_declares(name)]
    publish = [s.ACCOUNT_INFO, *says, *_SAYS_TOO.get(name, ())]
    for stream in _READS[name]:
        publish += _reading(stream)
    for bucket in _READS_OBJECTS.get(name, ()):
        publish += [
            *_reading(s.bucket_stream(bucket)),
            s.stream_request("MSG.GET", s.bucket_stream(bucket)),
        ]
    for bucket in _WRITES_OBJECTS.get(name, ()):
        publish += [s.bucket_subjects(bucket), s.stream_request("PURGE", s.bucket_stream(bucket))]
    for durable in DURABLES:
        if durable.name == name:
            publish.append(s.acknowledgements(durable.stream, name))
    if name == "events":
        publish.append(s.acknowledgements(Stream.CDE, "*"))
    answers = _ANSWERS.get(name, ())
    return Rights(
        publish=_once(publish),
        hear=(*answers, *_HEARS.get(name, ())),
        refused=_of_others(name),
        answers=bool(answers),
    )


NODES_HEAR = (s.COMMANDS_LIVE, s.subject_for(c.RequestReport))
"""What the streams' account lets into that of the nodes."""
NODES_ASK = (
    *(s.subject_for(kind) for kind in ROUTES if "executor" in ROUTES[kind].owner or kind is e.MetricsPushed),
    s.subject_for(e.MessageParked, service="executor"),
    s.direct_get(Stream.CMD, s.commands_last("*")),
    s.api_commands("*"),
    s.direct_get(Stream.INV, s.subject_for(e.NodeObserved)),
    s.direct_get(s.bucket_stream(s.ARTIFACT_BUCKET)),
    s.direct_get(s.bucket_stream(s.ARTIFACT_BUCKET), ">"),
)
"""What the account of the nodes may say and ask of that of the streams."""
ASKED_OF_NODES = (s.EXECUTOR_QUESTIONS, s.subject_for(c.InjectFault))
"""What the streams' account may ask of nodes; the answers come back."""


def _said_by(kind: type, name: str) -> bool:
    return name in [owner.strip() for owner in ROUTES[kind].owner.split(",")]


def _own(kind: type, node: str) -> str:
    return s.subject_for(kind, node=node, name=node)


def _declares(name: str) -> Iterable[str]:
    streams = [*STORED, *(s.bucket_stream(bucket) for bucket in BUCKETS)]
    for stream in streams:
        yield from (s.stream_request("CREATE", stream), s.stream_request("INFO", stream))
        if name == KEEPER:
            yield s.stream_request("UPDATE", stream)
    for durable in DURABLES:
        if name in (KEEPER, durable.name):
            yield s.consumer_request("CREATE", durable.stream, durable.name)
            yield s.consumer_request("CREATE", durable.stream, f"{durable.name}.>")
            yield s.consumer_request("INFO", durable.stream, durable.name)


def _reading(stream: str) -> Iterable[str]:
    yield s.stream_request("INFO", stream)
    yield s.direct_get(stream)
    yield s.direct_get(stream, ">")
    for verb in ("CREATE", "INFO", "MSG.NEXT"):
        yield s.consumer_request(verb, stream, "*")
    yield s.consumer_request("CREATE", stream, "*.>")
    if stream not in s.NAMED_BY_PEOPLE:
        yield s.consumer_request("DELETE", stream, "*")
    if stream == Stream.CDE:
        yield s.consumer_request("LIST", stream, "*").removesuffix(".*")


def _of_others(name: str) -> tuple[str, ...]:
    """What would use up the consumers of other services, change them (but for who makes them) or delete any service's."""
    change = () if name == KEEPER else (("CREATE", ""), ("CREATE", ".>"))
    return _once(
        s.consumer_request(verb, durable.stream, durable.name + rest)
        for durable in DURABLES
        for verb, rest in (
            ("DELETE", ""),
            *([] if durable.name == name else [("MSG.NEXT", ""), *change]),
        )
    )


def _once(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))
