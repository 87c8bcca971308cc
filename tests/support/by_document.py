"""A tool that knows NATS and the AsyncAPI document, and nothing else of Bumpless: no subject, header or field stands here.

It imports nothing of Bumpless on purpose.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import nats
import nats.errors
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

DOCUMENT = json.loads((Path(__file__).resolve().parents[2] / "docs/asyncapi.json").read_text())
POLICIES = {"last_per_subject": DeliverPolicy.LAST_PER_SUBJECT, "all": DeliverPolicy.ALL}


def resolved(reference: str) -> Any:
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def message_titled(beginning: str) -> dict[str, Any]:
    (found,) = [m for m in DOCUMENT["components"]["messages"].values() if m["title"].startswith(beginning)]
    return found  # type: ignore[no-any-return]


def channel_of(message: dict[str, Any]) -> dict[str, Any]:
    (found,) = [c for c in DOCUMENT["channels"].values() if message["name"] in c["messages"]]
    return found  # type: ignore[no-any-return]


def check(message: dict[str, Any], payload: Any, headers: dict[str, str]) -> None:
    """Raises: ValidationError, if they do not fit what the document says."""
    root = {"components": DOCUMENT["components"]}
    jsonschema.Draft7Validator({**message["payload"], **root}).validate(payload)
    jsonschema.Draft7Validator({**message["headers"], **root}).validate(headers)


def signed(release: bytes, key_file: Path) -> str:
    """A DSSE envelope, as the document's description says it is made."""
    text = " ".join(DOCUMENT["info"]["description"].split())
    kind = re.search(r"`payloadType` \(`([^`]+)`\)", text)
    assert kind is not None
    assert "`DSSEv1 <length of type> <type> <length of payload> <payload>`" in text
    key = load_pem_private_key(key_file.read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    told = kind[1].encode()
    covered = b"DSSEv1 %d %b %d %b" % (len(told), told, len(release), release)
    return json.dumps(
        {
            "payloadType": kind[1],
            "payload": base64.b64encode(release).decode(),
            "signatures": [
                {
                    "keyid": hashlib.sha256(raw).hexdigest()[:32],
                    "sig": base64.b64encode(key.sign(covered)).decode(),
                }
            ],
        }
    )


def published(
    product: str, version: str, *, checksum: str = "", envelope: str = "", event: str
) -> tuple[str, bytes, dict[str, str]]:
    """Subject, body and headers of a message that says that a release was published, made after the example there."""
    message = message_titled("dev.cdevents.artifact.published.")
    example = json.loads(json.dumps(message["examples"][0]))
    payload, headers = example["payload"], example["headers"]
    payload["context"] |= {"id": event, "timestamp": datetime.now(UTC).isoformat()}  # noqa: TID251 - a foreign tool
    form = resolved(message["payload"]["$ref"])["properties"]["subject"]["$ref"]
    pattern = resolved(form)["properties"]["id"]["description"]
    named = re.search(r"`([^`]*<product>[^`]*)`", pattern)
    assert named is not None
    purl = named[1].replace("<product>", product).replace("<version>", version)
    purl = purl.replace("sha256:<hex>", checksum) if checksum else purl.split("?")[0]
    payload["subject"]["id"] = purl
    if envelope:
        payload["customData"] = {"bumpless": {"envelope": envelope}}
    headers |= {"ce-id": event, "ce-subject": purl, "ce-time": payload["context"]["timestamp"]}
    check(message, payload, headers)
    subject = channel_of(message)["address"].replace("{product}", product)
    return subject, json.dumps(payload).encode(), headers


async def progress(broker: nats.NATS) -> AsyncIterator[dict[str, Any]]:
    """Everything that the channels of progress have and get, whichever rollout it is of."""
    channel = channel_of(message_titled("rollout-progressed"))
    kept = channel["x-jetstream"]
    names = {m for c in DOCUMENT["channels"].values() if c.get("x-jetstream") == kept for m in c["messages"]}
    told = re.search(r"Consume `([^`]+)`", DOCUMENT["info"]["description"])
    assert told is not None
    config = ConsumerConfig(
        name=f"tool-{secrets.token_hex(4)}",
        filter_subject=told[1],
        deliver_policy=POLICIES[kept["deliver"]],
        ack_policy=AckPolicy.NONE,
    )
    js = broker.jetstream()
    await js.add_consumer(kept["stream"], config)
    sub = await js.pull_subscribe_bind(config.name, stream=kept["stream"])
    while True:
        try:
            messages = await sub.fetch(100, timeout=1)
        except nats.errors.TimeoutError:
            continue
        for message in messages:
            body = json.loads(message.data)
            assert body["type"] in names
            check(DOCUMENT["components"]["messages"][body["type"]], body, dict(message.headers or {}))
            yield body


def over(body: dict[str, Any]) -> bool:
    """Whether this is the last word about a rollout, as the description says."""
    text = " ".join(DOCUMENT["info"]["description"].split())
    ends = re.search(r"It is over when `status` is ([a-z, ]+) or cancelled, or failed", text)
    assert ends is not None
    last = {word.strip() for word in ends[1].split(",")} | {"cancelled"}
    return body["status"] in last or (body["status"] == "failed" and body["until"] is None)
