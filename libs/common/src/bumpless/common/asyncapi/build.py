"""Makes the document from the table of subjects and the models. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bumpless.common.asyncapi import words
from bumpless.common.contract import cdevents, cloudevents, subjects, wire
from bumpless.common.contract.alert_hook import AlertHookRan, RunAlertHook
from bumpless.common.contract.base import Message
from bumpless.common.contract.cdevents import CdEvent, Trigger, Word
from bumpless.common.contract.envelope import Envelope
from bumpless.common.contract.events import (
    ComponentCrashLooping,
    MetricsPushed,
    MetricsSampled,
    NodeOrderAnswered,
    ReleaseAnnounced,
)
from bumpless.common.contract.gate_dry_run import GateDryRun, GateDryRunAnswer
from bumpless.common.contract.plan_answer import PlanAnswer
from bumpless.common.contract.stage_check import StageCheck, StageChecked
from bumpless.common.contract.subjects import ROUTES, STREAM_SUBJECTS, Stream

VERSION = "3.0.0"
SCHEMAS = "#/components/schemas/"
OUTSIDE = ("ci", "operator", "whoever measures on the node")
"""Owners of messages that are no part of Bumpless."""
FOLLOWERS = {
    Stream.CMD: ("executor",),
    Stream.RO: ("command line",),
    Stream.ALR: ("command line",),
    Stream.PROG: ("dashboard", "command line"),
    Stream.INV: ("planner", "rollback", "alerts", "command line"),
    Stream.DLQ: ("alerts", "command line"),
    Stream.CORE: ("executor",),
}
"""Who follows a stream beside the consumers that handle its messages."""
FOLLOWED: dict[type[Message], tuple[str, ...]] = {
    MetricsSampled: ("health-gate", "alerts"),
    MetricsPushed: ("health-gate",),
    ComponentCrashLooping: ("alerts",),
    NodeOrderAnswered: ("command line",),
}
"""The same, for one type of message."""
LAST_VALUES = frozenset({Stream.CMD, Stream.INV, Stream.PROG, Stream.ALR})
REQUESTS: tuple[tuple[str, str, type[BaseModel], type[BaseModel], str], ...] = (
    ("plan", subjects.API_PLAN, ReleaseAnnounced, PlanAnswer, "planner"),
    ("gate-dry-run", subjects.API_GATE_DRY_RUN, GateDryRun, GateDryRunAnswer, "health-gate"),
    ("stage-check", subjects.api_stage_check("{node}"), StageCheck, StageChecked, "executor"),
    ("alert-hook", subjects.api_alert_hook("{node}"), RunAlertHook, AlertHookRan, "executor"),
)


def build(
    examples: Mapping[str, Mapping[str, Any]], receivers: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The document.

    `examples` has headers and payload by type of message; `receivers` has the services that handle a type.
    """
    found = _Document(examples, receivers)
    for kind in ROUTES:
        found.route(kind)
    found.live()
    found.trigger()
    found.lifecycle()
    for request in REQUESTS:
        found.request(*request)
    return found.whole()


class _Document:
    def __init__(
        self, examples: Mapping[str, Mapping[str, Any]], receivers: Mapping[str, Sequence[str]]
    ) -> None:
        self._examples, self._receivers = examples, receivers
        self._channels: dict[str, Any] = {}
        self._operations: dict[str, Any] = {}
        self._messages: dict[str, Any] = {}
        self._models: dict[type[BaseModel], str] = {}

    def whole(self) -> dict[str, Any]:
        return {
            "asyncapi": VERSION,
            "info": {
                "title": "Bumpless",
                "version": "1.0.0",
                "description": words.OVERVIEW,
                "license": {"name": "Apache-2.0"},
            },
            "defaultContentType": cloudevents.JSON,
            "servers": {
                "embedded": {
                    "host": "127.0.0.1:4222",
                    "protocol": "nats",
                    "description": "The broker; `bumpless up` prints its address.",
                }
            },
            "channels": self._channels,
            "operations": self._operations,
            "components": {"messages": self._messages, "schemas": self._schemas()},
        }

    def route(self, kind: type[Message]) -> None:
        route = ROUTES[kind]
        name = wire.type_of_kind(kind)
        channel = "node-commands" if route.stream is Stream.CMD and "{component}" in route.subject else name
        signed = route.stream is Stream.CMD
        self._message(name, kind, payload=Envelope if signed else kind, note=words.ENVELOPE if signed else "")
        self._channel(channel, route.subject, [name], route.stream)
        senders = [part.strip() for part in route.owner.split(",")]
        readers = [*self._receivers.get(name, ()), *FOLLOWERS.get(route.stream, ()), *FOLLOWED.get(kind, ())]
        self._operation(channel, [name], senders, readers)

    def live(self) -> None:
        names = [wire.type_of_kind(kind) for kind in ROUTES if ROUTES[kind].stream is Stream.CMD]
        address = subjects.command_live("{node}", "{component}")
        self._channel("node-commands-live", address, names, None, words.LIVE)
        self._operation("node-commands-live", names, ["planner", "rollback"], ["executor"])

    def trigger(self) -> None:
        name = "artifact.published"
        self._message(name, Trigger, note=words.TRIGGER, title=f"{cdevents.PUBLISHED}0.2.0")
        self._channel("artifact-published", subjects.release_published("{product}"), [name], Stream.REL)
        self._operation("artifact-published", [name], ["ci"], self._receivers.get(name, ()))

    def lifecycle(self) -> None:
        for word in Word:
            self._message(
                word.value, CdEvent, note=words.LIFECYCLE, title=word.type, example=f"cde {word.value}"
            )
            channel = word.value.replace(".", "-")
            self._channel(channel, subjects.delivery_event(word), [word.value], Stream.CDE)
            self._operation(channel, [word.value], ["events"], ["events (webhooks)"])

    def request(
        self, name: str, address: str, asked: type[BaseModel], answered: type[BaseModel], owner: str
    ) -> None:
        question, answer = f"{name}-request", f"{name}-answer"
        signed = asked is RunAlertHook
        self._message(question, asked, payload=Envelope if signed else asked)
        self._message(answer, answered)
        self._channel(f"ask-{name}", address, [question, answer], None, "A NATS request, answered once.")
        self._operations[f"answer-{name}"] = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/ask-{name}"},
            "messages": [{"$ref": f"#/channels/ask-{name}/messages/{question}"}],
            "reply": {
                "address": {"location": "$message.header#/reply-to"},
                "messages": [{"$ref": f"#/channels/ask-{name}/messages/{answer}"}],
                "channel": {"$ref": f"#/channels/ask-{name}"},
            },
            "x-receivers": [owner],
        }

    def _message(
        self,
        name: str,
        kind: type[BaseModel],
        *,
        payload: type[BaseModel] | None = None,
        note: str = "",
        title: str = "",
        example: str = "",
    ) -> None:
        self._models[kind] = kind.__name__
        self._models[payload or kind] = (payload or kind).__name__
        known = self._examples.get(example or name)
        text = " ".join(filter(None, (_paragraphs(kind), note)))
        self._messages[name] = {
            "name": name,
            "title": title or name,
            "summary": text.split(". ")[0].rstrip(".") + ".",
            "description": text,
            "contentType": cloudevents.JSON,
            "headers": {"$ref": SCHEMAS + "Headers"},
            "payload": {"$ref": SCHEMAS + (payload or kind).__name__},
            **({"examples": [dict(known)]} if known is not None else {}),
            **({"x-signed-payload": {"$ref": SCHEMAS + kind.__name__}} if payload is Envelope else {}),
        }

    def _channel(
        self, name: str, address: str, messages: Sequence[str], stream: Stream | None, text: str = ""
    ) -> None:
        known = self._channels.setdefault(
            name,
            {
                "address": address,
                "messages": {},
                **({"description": text} if text else {}),
                **({"parameters": parameters} if (parameters := _parameters(address)) else {}),
            },
        )
        known["messages"] |= {m: {"$ref": f"#/components/messages/{m}"} for m in messages}
        if stream:
            known["x-jetstream"] = {
                "stream": stream.value,
                "subjects": list(STREAM_SUBJECTS[stream]),
                "deliver": "last_per_subject" if stream in LAST_VALUES else "all",
            }

    def _operation(
        self, channel: str, messages: Sequence[str], senders: Sequence[str], receivers: Sequence[str]
    ) -> None:
        ours = [sender for sender in senders if sender not in OUTSIDE]
        for action, wanted in (("send", bool(ours)), ("receive", bool(receivers) or not ours)):
            if not wanted:
                continue
            known = self._operations.setdefault(
                f"{action}-{channel}",
                {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "messages": []},
            )
            known["messages"] += [{"$ref": f"#/channels/{channel}/messages/{m}"} for m in messages]
            known["x-senders"] = list(dict.fromkeys([*known.get("x-senders", ()), *senders]))
            known["x-receivers"] = list(dict.fromkeys([*known.get("x-receivers", ()), *receivers]))

    def _schemas(self) -> dict[str, Any]:
        models = [(kind, "validation") for kind in self._models]
        _, found = models_json_schema(models, ref_template=SCHEMAS + "{model}", by_alias=True)  # type: ignore[arg-type]
        plain = {name: _plain(schema) for name, schema in sorted(found["$defs"].items())}
        plain["Envelope"] = _ENVELOPE
        plain["Headers"] = _HEADERS
        return plain


_ENVELOPE = {
    "type": "object",
    "title": "Envelope",
    "description": "DSSE, protocol 1.0.0: bytes with their type and signatures.",
    "required": ["payloadType", "payload", "signatures"],
    "additionalProperties": False,
    "properties": {
        "payloadType": {"type": "string"},
        "payload": {"type": "string", "contentEncoding": "base64"},
        "signatures": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["keyid", "sig"],
                "properties": {
                    "keyid": {"type": "string"},
                    "sig": {"type": "string", "contentEncoding": "base64"},
                },
            },
        },
    },
}
_HEADERS = {
    "type": "object",
    "title": "Headers",
    "description": "Attributes of CloudEvents 1.0 in binary mode, and the id by which the broker drops copies.",
    "properties": {
        wire.MSG_ID_HEADER: {"type": "string", "description": "The same for every copy of a message"},
        "ce-specversion": {"type": "string", "const": "1.0"},
        "ce-id": {"type": "string"},
        "ce-type": {"type": "string"},
        "ce-source": {"type": "string", "format": "uri-reference"},
        "ce-time": {"type": "string", "format": "date-time"},
        "ce-subject": {"type": "string"},
        "ce-causationid": {"type": "string"},
        "content-type": {"type": "string"},
    },
}


def _parameters(address: str) -> dict[str, Any]:
    return {
        name: {"description": f"The field `{name}` of the message, or a part of it"}
        for name in re.findall(r"{(\w+)}", address)
    }


def _paragraphs(kind: type[BaseModel]) -> str:
    return " ".join((kind.__doc__ or "").split())


def _plain(schema: Any) -> Any:
    """`schema` in the dialect of AsyncAPI: JSON Schema draft 7, and `discriminator` is the name of a field."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key == "discriminator" and isinstance(value, dict) and "propertyName" in value:
            continue
        if key == "prefixItems":
            found["items"] = _plain(value)
            continue
        found.setdefault(key, _plain(value))
    return found
