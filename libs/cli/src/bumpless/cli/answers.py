"""What every command answers: the JSON Schema of `--output json`, and its exit codes.

The reference, the man pages and the exported schemas are made of this table, and a test holds every command against
it. It is not imported by the commands themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from bumpless.common.artifacts.manifest import Artifact
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message
from bumpless.common.contract.wire import TYPES
from bumpless.common.model.alert import Alert, Silence
from bumpless.common.model.fleet import Node
from bumpless.common.model.interfaces import Interfaces
from bumpless.common.model.release import ReleaseFile
from bumpless.common.model.statement import Rehearsed, Verified, Waiver
from bumpless.common.render import PlanView
from bumpless.common.render.compared import Comparison
from bumpless.common.render.replay import Replay
from bumpless.common.render.report import Report

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {"s": "string", "i": "integer", "n": "number", "b": "boolean", "a": "array", "o": "object"}


@dataclass(frozen=True)
class Answer:
    """`schema`: of one document, or with `lines` of each line; None: nothing is printed as JSON. `exits` are all codes
    that the command ends with of itself; 130 after Ctrl-C is every command's."""

    schema: Callable[[], Schema] | None
    exits: Mapping[int, str] = field(default_factory=dict)
    lines: bool = False

    def document(self) -> Schema | None:
        """The schema, complete."""
        if self.schema is None:
            return None
        definitions: Schema = {}
        found = _without_definitions(self.schema(), definitions)
        return {"$schema": DRAFT, **found, **({"$defs": definitions} if definitions else {})}


def _without_definitions(value: Any, taken: Schema) -> Any:
    """`value`, its definitions moved to `taken`: references count from the root."""
    if isinstance(value, list):
        return [_without_definitions(one, taken) for one in value]
    if not isinstance(value, dict):
        return value
    for name, one in value.get("$defs", {}).items():
        moved = _without_definitions(one, taken)
        assert taken.setdefault(name, moved) == moved, f"two definitions of {name}"
    return {key: _without_definitions(one, taken) for key, one in value.items() if key != "$defs"}


def _object(fields: str, **nested: Schema) -> Schema:
    """`name` is a text; `name:i` and its like another type (see `_TYPES`); a `?` behind: or null."""
    properties: dict[str, Schema] = {}
    for word in fields.split():
        name, _, kind = word.rstrip("?").partition(":")
        known = _TYPES[kind or "s"]
        properties[name] = {"type": [known, "null"] if word.endswith("?") else known}
    properties |= nested
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


def _array(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _rows(fields: str) -> Callable[[], Schema]:
    return lambda: _array(_object(fields))


def _a(fields: str, **nested: Schema) -> Callable[[], Schema]:
    return lambda: _object(fields, **nested)


def _either(*schemas: Schema) -> Callable[[], Schema]:
    return lambda: {"anyOf": list(schemas)}


def _of(kind: Any, *, more: str = "") -> Callable[[], Schema]:
    """What pydantic writes for `kind`, with further fields."""

    def made() -> Schema:
        found = TypeAdapter(kind).json_schema(mode="serialization")
        if more:
            added = _object(more)
            found["properties"] |= added["properties"]
            found["required"] = sorted({*found.get("required", ()), *added["required"]})
        return found

    return made


def _message() -> Schema:
    """Any message, as schemas/messages.json has it; here by what all have."""
    return {
        "type": "object",
        "properties": {"type": {"enum": sorted(TYPES)}, **_object("id at cause?")["properties"]},
        "required": ["at", "id", "type"],
        "description": "a message; every type is in docs/schemas/messages.json",
    }


WATCHED: tuple[type[Message], ...] = (
    e.RolloutPlanned,
    e.ReleaseRefused,
    e.RolloutProgressed,
    e.StepProgressed,
    e.GateProgressed,
    e.CommandAnswered,
)
FINDING = _object("code severity subject evidence recommendation waivable:b")
PROBLEM = _object("file line:i key expected found?")
PACKAGE = {
    "type": "object",
    "required": ["format", "new_root", "size", "overhead", "kept", "files", "codecs"],
}

DONE = {0: "done"}
REFUSED = {1: "refused or wrong; standard error says what was expected, found, and what to do"}
BASE = {**DONE, **REFUSED}
ANSWERED = {0: "accepted", 1: "refused, and why; or nobody answered within 15 s"}
FOLLOWED = {
    0: "it succeeded",
    1: "refused, or nothing is known of it",
    2: "it did not succeed",
    3: "not over after --timeout",
    5: "locked: another rollout works on the same steps",
}
BLOCKS = {0: "nothing blocks", 1: "something blocks, or is wrong"}


def _watched() -> Schema:
    return {"type": "object", "anyOf": [_of(kind)() for kind in WATCHED]}


def _operator() -> Answer:
    return Answer(_of(e.CommandAnswered), ANSWERED)


_STATUS = {
    **{code: text for code, text in FOLLOWED.items() if code != 5},
    0: "it succeeded; with --no-watch also: it goes on",
    4: "it waits for a person (--no-watch)",
}
_STARTED = _object("rollout release_digest")
_DRILL = "rollout version fault place end noticed_s:n? back_s:n? by"
_MOVE = _object("component from to level order evidence")
_PATHS = _either(
    _object("levels:o", path=_array(_MOVE)),
    _object("reasons:a gaps:o", path={"type": "null"}),
)
_CONFIG = _either(
    _object("text versions:a lossy:b", kept={"type": ["object", "null"]}),
    _object("reason reachable:a", text={"type": "null"}),
    _object("version", text={"type": "null"}, problems=_array(PROBLEM)),
)
_RENDERED = _either(
    _object("version form text"),
    _object("reason", text={"type": "null"}),
    _object("version", text={"type": "null"}, problems=_array(PROBLEM)),
)
_FAULTS = _array(_object("path text"))
_RECORD = _either(
    _object("record:o sha256 versions:a lossy:b", kept={}),
    _object("version", record={"type": "null"}, faults=_FAULTS),
    _object("reason reachable:a", record={"type": "null"}),
)
_SERVERS = _a("urls ca", servers=_array(_object("server address folder expires")))
_NODE_KEY = _a("node state seed accounts reloaded:b")
_DRAINED = _either(
    _object("node answer text"),
    _object("node answer text left:a", drain={"type": ["object", "null"]}),
)

ANSWERS: Mapping[str, Answer] = {
    "up": Answer(lambda: {**_object(_CLUSTER), "additionalProperties": True}, BASE),
    "down": Answer(_a("stopped:b purged:b"), BASE),
    "doctor": Answer(
        _rows("state check found expected do"),
        {0: "nothing is wrong", 1: "something is wrong, or no broker is named"},
    ),
    "backup": Answer(lambda: _object(f"bytes:i {_KEPT}", streams=_STREAMS), BASE),
    "restore": Answer(lambda: _object(f"written:a {_KEPT}", streams=_STREAMS), BASE),
    "keys generate": Answer(lambda: {"type": "object", "additionalProperties": {"type": "string"}}, BASE),
    "keys trust": Answer(_rows("role keyid public"), BASE),
    "keys redis-password": Answer(_a("user password"), BASE),
    "agent run": Answer(None, {0: "stopped by SIGTERM", 1: "refused or wrong"}),
    "plan": Answer(
        _of(PlanView),
        {
            0: "the plan could run; with --detailed-exitcode: nothing to change",
            1: "there is none, or something blocks it",
            2: "something to change (--detailed-exitcode)",
        },
    ),
    "stage": Answer(
        _rows("node component version answer by? fetched:i? free:i? reason?"),
        {0: "every node is ready", 1: "one is not, or did not answer"},
    ),
    "apply": Answer(_watched, FOLLOWED, lines=True),
    "release lint": Answer(_of(ReleaseFile, more="findings:a"), BLOCKS),
    "release build": Answer(_a("product version release_digest envelope_digest event:o"), BASE),
    "release publish": Answer(
        lambda: {"anyOf": [_STARTED, _watched()]},
        {**FOLLOWED, 0: "it is planned; with --wait: it succeeded"},
        lines=True,
    ),
    "waive": Answer(_of(Waiver, more="file"), BASE),
    "rehearsed": Answer(_of(Rehearsed, more="file"), BASE),
    "status": Answer(_of(list[e.RolloutProgressed]), _STATUS),
    "rollout status": Answer(_of(list[e.RolloutProgressed]), _STATUS),
    "rollout list": Answer(_rows("rollout product version direction status since reason"), BASE),
    "rollout watch": Answer(
        _watched, {code: text for code, text in FOLLOWED.items() if code != 5}, lines=True
    ),
    "rollout history": Answer(lambda: _array(_message()), BASE),
    "rollout replay": Answer(
        _of(Replay), {0: "it could be replayed, and agrees", 1: "a gap, or with --verify: something differs"}
    ),
    "rollout compare": Answer(
        _of(list[Comparison]), {0: "it did what was shown", 1: "it did not, or there is no such plan"}
    ),
    "rollout report": Answer(_of(Report), BASE),
    "pause": _operator(),
    "resume": _operator(),
    "promote": _operator(),
    "abort": _operator(),
    "approve": _operator(),
    "deny": _operator(),
    "retry": _operator(),
    "rollback": Answer(
        lambda: {"anyOf": [_STARTED, _watched()]},
        {
            0: "it is back; with --no-wait: accepted",
            1: "refused",
            2: "it is not back",
            3: "not over after --timeout",
            5: "with --to a version further back: locked by another rollout",
        },
        lines=True,
    ),
    "drill list": Answer(_rows("fault does ends"), {0: "done"}),
    "drill run": Answer(
        lambda: {"anyOf": [_object(_DRILL), _watched()]},
        {
            0: "it ended as it should",
            1: "refused; nothing was injected",
            2: "it ended otherwise",
            3: "not over after --timeout",
        },
        lines=True,
    ),
    "drill report": Answer(_rows(_DRILL), BASE),
    "fleet list": Answer(
        _rows("node address component? version? digest? state? restarts:i? seen drained?"), BASE
    ),
    "fleet show": Answer(_of(Node), BASE),
    "fleet drain": Answer(_DRAINED, {**BASE, 3: "not drained after --timeout"}),
    "fleet undrain": Answer(_DRAINED, {**BASE, 3: "does not serve after --timeout"}),
    "cluster init": Answer(_SERVERS, BASE),
    "cluster renew": Answer(_SERVERS, BASE),
    "node enroll": Answer(_NODE_KEY, BASE),
    "node rotate": Answer(_NODE_KEY, BASE),
    "node revoke": Answer(_NODE_KEY, BASE),
    "node list": Answer(_rows("node state key"), BASE),
    "node install": Answer(_a("files:a started:a missing:o"), BASE),
    "events tail": Answer(_a("subject sequence:i", data=_message()), BASE, lines=True),
    "dashboard user add": Answer(_a("name roles users"), BASE),
    "dashboard user list": Answer(_rows("name roles"), BASE),
    "dashboard user remove": Answer(_a("name users"), BASE),
    "dashboard link": Answer(_a("link"), BASE),
    "webhook list": Answer(
        _rows("webhook waiting:i being_tried:i given_up:i latest? event? tries:i? due? detail"),
        BASE,
    ),
    "webhook dead-letters": Answer(_rows("at subject event type reason"), BASE),
    "alert list": Answer(_of(list[Alert]), BASE),
    "alert show": Answer(
        lambda: _object("", alert=_of(Alert)(), history=_array(_object("at status why:a"))), BASE
    ),
    "alert ack": Answer(_a("alert text"), BASE),
    "alert check": Answer(_rows("rule kind severity for_s"), BASE),
    "alert test-channel": Answer(_a("channel text"), BASE),
    "alert silence add": Answer(_of(Silence), BASE),
    "alert silence list": Answer(_of(list[Silence]), BASE),
    "alert silence expire": Answer(_a("silence text"), BASE),
    "gate dry-run": Answer(
        _rows("component rule metric node series? value:n? note?"),
        {0: "every metric is there", 1: "one is missing on some node"},
    ),
    "gate replay": Answer(
        _a(
            "verdict reason detail decided_at_s:n requests_seen:n e_value:n? log_bound:n? curve:a evidence:a notes:a"
        ),
        {**BASE, 0: "done; with --detailed-exitcode: pass", 2: "fail", 4: "inconclusive"},
    ),
    "gate record": Answer(
        lambda: {"type": "object", "description": "a row of a trace: docs/gates-offline.md"}, BASE, lines=True
    ),
    "gate pin": Answer(_a("", baseline=_object("mode pinned:o")), BASE),
    "gate simulate": Answer(
        lambda: _object(
            "alpha:n noise",
            bake_s={"type": "number"},
            rows=_array(
                _object(
                    "fault runs:i failed:i failed_95:a passed:i median_s:n? p90_s:n? requests:n? sized_requests:n? sized_s:n?"
                )
            ),
        ),
        BASE,
    ),
    "compat level": Answer(_a("component from to level backward:b forward:b order way_back evidence"), BASE),
    "compat path": Answer(_PATHS, {0: "there is a way", 1: "there is none, and what is missing"}),
    "compat report": Answer(
        _a("component from to", changes=_array(_object("change kind id advice")), findings=_array(FINDING)),
        BLOCKS,
    ),
    "compat schema": Answer(
        _a("level", new_reads_old=_FAULTS, old_reads_new=_FAULTS), {0: "some level", 1: "none"}
    ),
    "compat openapi": Answer(
        _a("level", changes=_array(_object("weight where text unannounced:b"))),
        {0: "old clients go on", 1: "something breaks them"},
    ),
    "compat interfaces": Answer(
        _of(Interfaces), {0: "old clients go on", 1: "a newer version breaks clients of an older one"}
    ),
    "contract verify": Answer(
        lambda: {
            "type": "object",
            "required": sorted(_object(_CONTRACT)["required"]),
            "properties": {**_of(Verified)()["properties"], **_object(_CONTRACT)["properties"]},
        },
        {0: "it is kept", 1: "it is not"},
    ),
    "contract matrix": Answer(
        _a(
            "verified:b",
            pairs=_array(_object("consumer consumer_version provider provider_version state evidence now:b")),
        ),
        {0: "all that can meet are verified", 1: "some are not"},
    ),
    "config check": Answer(
        _a("fits:b", findings=_array(FINDING)), {0: "it fits", 1: "it would not be taken"}
    ),
    "config migrate": Answer(_CONFIG, {0: "done", 1: "it does not fit, or there is no way"}),
    "config render": Answer(_RENDERED, {0: "done", 1: "it does not fit"}),
    "record check": Answer(_a("fits:b", faults=_FAULTS), {0: "it fits", 1: "it does not"}),
    "record migrate": Answer(_RECORD, {0: "done", 1: "it does not fit, or there is no way"}),
    "record path": Answer(
        lambda: _object("", path={"type": ["array", "null"]}, findings=_array(FINDING)), BLOCKS
    ),
    "artifact build": Answer(_of(Artifact, more="path dropped:a packages:o"), BASE),
    "artifact diff": Answer(
        _a(
            "counts:o path?",
            changes=_array({"type": "object", "required": ["path"]}),
            delta={"type": ["object", "null"]},
        ),
        BASE,
    ),
    "artifact apply": Answer(_a("root path"), BASE),
    "artifact verify": Answer(_rows("path result reason"), {0: "all are right", 1: "one is not"}),
    "artifact inspect": Answer(
        lambda: {
            "anyOf": [
                _of(Artifact, more="path")(),
                _object("format:i old_root new_root size:i path"),
                {**PACKAGE, "properties": {"path": {"type": "string"}}},
            ]
        },
        BASE,
    ),
    "artifact gc": Answer(
        _a("bytes:i kept:i dry_run:b", removed=_array(_object("digest bytes:i put"))), BASE
    ),
}

_KEPT = "file at broker files:a"
_STREAMS: Schema = _array(_object("stream messages:i bytes:i"))
_CLUSTER = "pid:i nats_url redis_url alerts_webhook ops:o nodes:a parts:o"
_CONTRACT = "consumer provider consumer_version? provider_version? pact interactions:i messages:i verified:b failures:a file?"
