"""The AsyncAPI document: as the services are, valid, complete, and as it is stored in docs."""

from __future__ import annotations

import importlib
import json
import re
from itertools import zip_longest
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jsonschema

from bumpless.common import asyncapi
from bumpless.common.asyncapi.build import build
from bumpless.common.contract import cdevents, cloudevents, wire
from bumpless.common.contract.base import Message
from bumpless.common.contract.cdevents import Word
from bumpless.common.contract.subjects import ROUTES, STREAM_SUBJECTS
from bumpless.common.shell import topology
from support.delivery import EVENTS, TRIGGER
from support.samples import SAMPLES
from support.snapshots import Snapshots

ROOT = Path(__file__).resolve().parents[2]
FACTS = "libs/common/src/bumpless/common/asyncapi/facts.json"
SERVICES = ("planner", "rollback", "health_gate", "alerts", "events")


def handled(service: str) -> dict[str, list[str]]:
    """The types of messages that a service handles, as its subscribers are declared, by the subject of each subscriber."""
    app = importlib.import_module(f"bumpless.{service}.app")
    broker = app.make_subscribers("nats://localhost:4222", None, None)
    found: dict[str, list[str]] = {}
    for subscriber in broker.subscribers:
        call = subscriber.calls[0].handler
        hint = get_type_hints(call._original_call)["message"]
        kinds = get_args(hint) or (hint,)
        names = [kind.model_fields["type"].default for kind in kinds if issubclass(kind, Message)]
        found[str(subscriber._resolved_subject_string)] = names or ["artifact.published"]
    return found


def facts() -> dict[str, Any]:
    receivers: dict[str, list[str]] = {}
    for service in SERVICES:
        for subject, names in handled(service).items():
            if subject.startswith("api."):
                continue
            for name in names:
                receivers.setdefault(name, []).append(service.replace("_", "-"))
    examples = {
        wire.type_of_kind(kind): {
            "headers": wire.headers(SAMPLES[kind], ROUTES[kind].owner.split(",")[0]),
            "payload": json.loads(wire.encode(SAMPLES[kind])),
        }
        for kind in ROUTES
    }
    examples |= {f"cde {word}": _example(EVENTS[word]) for word in Word}
    examples["artifact.published"] = _example(TRIGGER)
    return {"receivers": receivers, "examples": examples}


def _example(event: cdevents.CdEvent) -> dict[str, Any]:
    told = event.as_cloudevent()
    headers = {**cloudevents.headers(told.attributes), "content-type": cloudevents.JSON}
    return {"headers": headers, "payload": told.data}


def test_what_the_services_are_is_what_the_document_is_made_of(snapshots: Snapshots) -> None:
    found = facts()
    snapshots.check_json(FACTS, found)
    snapshots.check_json("docs/asyncapi.json", build(found["examples"], found["receivers"]))
    asyncapi._document.cache_clear()
    snapshots.check("docs/asyncapi.md", asyncapi.text())
    assert json.loads((ROOT / "docs/asyncapi.json").read_text()) == asyncapi.document()


def test_the_document_is_valid() -> None:
    schema = json.loads((ROOT / "tests/fixtures/asyncapi/3.0.0.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    faults = [
        f"{fault.json_path}: {fault.message[:200]}" for fault in validator.iter_errors(asyncapi.document())
    ]
    assert faults == []


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi.document()

    def check(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(reference := value.get("$ref"), str):
                found: Any = document
                for part in reference.removeprefix("#/").split("/"):
                    assert part in found, reference
                    found = found[part]
            for inner in value.values():
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)

    check(document)


def test_every_example_fits_its_schema() -> None:
    document = asyncapi.document()
    root = {"components": document["components"]}
    faults = []
    for name, message in document["components"]["messages"].items():
        payload = message.get("x-signed-payload", message["payload"])
        for example in message.get("examples", ()):
            raw = json.loads(json.dumps(example["payload"]))
            raw.get("samples", {}).pop("inflight", None)  # not a number, which JSON Schema has no word for
            for schema, value in ((payload, raw), (message["headers"], example["headers"])):
                found = jsonschema.Draft7Validator({**schema, **root}).iter_errors(value)
                faults += [f"{name}: {fault.json_path}: {fault.message[:200]}" for fault in found]
    assert faults == []


def test_everything_on_the_wire_has_a_channel_and_an_example() -> None:
    document = asyncapi.document()
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert {route.subject for route in ROUTES.values()} <= addresses
    without = [
        name for name, message in document["components"]["messages"].items() if "examples" not in message
    ]
    assert all(name.endswith(("-request", "-answer")) for name in without), without


def test_every_durable_consumer_is_of_a_service_that_handles_what_it_brings() -> None:
    subjects = {subject for service in SERVICES for subject in handled(service)}
    assert {durable.filters[0] for durable in topology.DURABLES} <= subjects


def test_the_page_is_whole_and_has_no_script() -> None:
    page = asyncapi.page("/style.css")
    assert '<link rel="stylesheet" href="/style.css">' in page
    assert "<script" not in page
    assert " style=" not in page
    for name in asyncapi.document()["components"]["messages"]:
        anchor = name.replace(".", "-")
        assert f'<h3 id="{anchor}">{name}</h3>' in page
        assert f'<a href="#{anchor}"><code>{name}</code></a>' in page


def test_the_commands_of_nats_in_the_docs_name_what_there_is() -> None:
    """The `nats` command itself is no package of ours: what stands behind it is checked."""
    text = (ROOT / "docs/events.md").read_text()
    found = re.findall(r"^nats (?:sub|pub) '?([^' ]+)'?(?: --stream (\w+))?", text, re.MULTILINE)
    assert len(found) >= 4
    for subject, stream in found:
        holding = [name for name, kept in STREAM_SUBJECTS.items() if any(meet(subject, one) for one in kept)]
        assert len(holding) == 1, subject
        assert stream in ("", holding[0])


def meet(one: str, other: str) -> bool:
    """Whether there is a subject that both filters let through."""
    for left, right in zip_longest(one.split("."), other.split(".")):
        if ">" in (left, right):
            return left is not None and right is not None
        if left is None or right is None or (left != right and "*" not in (left, right)):
            return False
    return True
