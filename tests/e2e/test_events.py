"""Other tools: a rollout started and followed by one that knows the AsyncAPI document only, CI, webhooks, subscribers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from bumpless.cli.client import Client
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.subjects import Stream
from bumpless.common.model.rollout import rollout_id
from bumpless.common.shell.reading import readable
from bumpless.common.webhooks.signing import standard_headers
from support import by_document
from support.fleet_lab import Lab
from support.fleet_product import write_release
from support.http_target import HttpTarget
from support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120.0
SECRET = b"0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One node, and the events service, that tells `target` of everything."""
    with Lab(1, events=True) as found:
        yield found


@pytest.fixture(scope="module")
def target(lab: Lab) -> Iterator[HttpTarget]:
    """A tool with a webhook; its first answer is that it is busy."""
    secret = lab.home.path / "hook.secret"
    secret.write_bytes(SECRET)
    with HttpTarget([(503, {})]) as found:
        webhook = {"name": "tool", "url": found.url, "allow_private": True, "first_retry_s": 0.2}
        file = {"environment": "lab", "webhooks": [{**webhook, "secret_file": str(secret)}]}
        lab.home.events.write_text(json.dumps({**file, "repositories": {"shop/tiny": "tiny"}}))
        yield found


def release(lab: Lab) -> tuple[Path, str]:
    """A release file with a version that nobody has seen."""
    version = lab.fresh()
    return write_release(lab.home.path, version, core=version, gate=None), version


async def built(lab: Lab, path: Path) -> dict[str, Any]:
    """The release signed and uploaded by the command that CI runs; nothing is started."""
    ended = await lab.cli("release", "build", str(path), "--output", "json")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)  # type: ignore[no-any-return]


async def announcements(found: Client, digest: str) -> list[e.ReleaseAnnounced]:
    items = await found.connection.snapshot(
        Stream.REL, subjects.subject_for(e.ReleaseAnnounced), history=True
    )
    return [message for message in readable(items, e.ReleaseAnnounced) if message.digest == digest]


async def succeeded(lab: Lab, digest: str) -> None:
    """The rollout of the release comes to its end, and that is success."""
    rollout = rollout_id("tiny", digest, 0)

    async def appeared() -> bool:
        async with lab.client() as found:
            logged = subjects.subject_for(e.RolloutPlanned, rollout=rollout)
            return bool(await found.connection.last(Stream.RO, logged))

    await eventually(appeared, bool, "the rollout to be planned", limit_s=LIMIT_S)
    ended = await lab.cli("status", rollout, "--timeout", str(LIMIT_S))
    assert ended.code == 0, ended.out + ended.err


async def shown(broker: nats.NATS) -> list[dict[str, Any]]:
    """What a tool with the document sees, until a rollout is over that was not when it began to look."""
    seen: list[dict[str, Any]] = []
    running: set[str] = set()
    async with asyncio.timeout(LIMIT_S), contextlib.aclosing(by_document.progress(broker)) as items:
        async for body in items:
            seen.append(body)
            if "status" not in body:
                continue
            if not by_document.over(body):
                running.add(body["rollout"])
            elif body["rollout"] in running:
                return [item for item in seen if item["rollout"] == body["rollout"]]
    raise AssertionError("expected a rollout to come to an end")


@contextlib.asynccontextmanager
async def plain(lab: Lab) -> AsyncIterator[nats.NATS]:
    broker = await nats.connect(lab.nats_url)
    try:
        yield broker
    finally:
        await broker.close()


async def test_a_tool_that_knows_the_document_alone_starts_a_rollout_and_follows_it(
    lab: Lab, target: HttpTarget
) -> None:
    path, version = release(lab)
    found = await built(lab, path)
    async with plain(lab) as broker:
        looking = asyncio.create_task(shown(broker))
        for attempt in ("one", "two"):  # another event of the same release starts nothing
            subject, body, headers = by_document.published(
                "tiny", version, checksum=found["envelope_digest"], event=f"{version}-{attempt}"
            )
            await broker.publish(subject, body, headers=headers)
        seen = await looking
    assert [item["status"] for item in seen if "status" in item][-1] == "succeeded"
    assert {item["state"] for item in seen if "state" in item} >= {"serving"}
    async with lab.client() as client:
        (announced,) = await announcements(client, found["release_digest"])
    assert announced.by.startswith("event from ")
    await told(target, version)


async def told(target: HttpTarget, version: str) -> None:
    """The webhook heard of the rollout, in order of its retries, each event once, all signed."""

    async def posted() -> list[Any]:
        return list(target.posted)

    def whole(items: list[Any]) -> bool:
        return {"service.deployed", "bumpless-rollout.succeeded"} <= {
            ".".join(item.json["type"].split(".")[2:4]) for item in items
        }

    items = await eventually(posted, whole, "the webhook to be told", limit_s=60)
    ids = [item.headers["webhook-id"] for item in items]
    assert len(ids) == len(set(ids)) + 1, "expected the one that was refused twice, and every other once"
    for item in items:
        data = item.json["data"]
        assert item.headers["webhook-id"] == item.json["id"] == data["context"]["id"]
        stamp = item.headers["webhook-timestamp"]
        at = by_document.datetime.fromtimestamp(int(stamp), by_document.UTC)
        wanted = standard_headers(SECRET, item.json["id"], at, item.body)
        assert item.headers["webhook-signature"] == wanted["webhook-signature"]
    deployed = [item.json["data"]["subject"] for item in items if "service.deployed" in item.json["type"]]
    assert {"tiny/core", "tiny/front"} == {subject["id"] for subject in deployed}
    assert any(f"core@{version}" in subject["content"]["artifactId"] for subject in deployed)


async def test_a_release_that_travels_in_the_event_is_signed_as_the_document_says(lab: Lab) -> None:
    path, version = release(lab)
    found = await built(lab, path)
    async with lab.client() as client:
        stored = json.loads(await client.artifacts.get(found["envelope_digest"], max_size=1 << 20))
    payload = base64.b64decode(stored["payload"])
    unsigned = json.dumps({**stored, "signatures": []})
    async with plain(lab) as broker:
        subject, body, headers = by_document.published("tiny", version, envelope=unsigned, event="unsigned")
        await broker.publish(subject, body, headers=headers)
        refused = await refusal(lab, found["release_digest"])
        assert "no signature" in refused.reasons[0]
        own = by_document.signed(payload, lab.home.release_key)
        subject, body, headers = by_document.published("tiny", version, envelope=own, event="signed")
        await broker.publish(subject, body, headers=headers)
    await succeeded(lab, found["release_digest"])


async def refusal(lab: Lab, digest: str) -> e.ReleaseRefused:
    rollout = rollout_id("tiny", digest, 0)

    async def answered() -> list[e.ReleaseRefused]:
        async with lab.client() as found:
            logged = subjects.subject_for(e.ReleaseRefused, rollout=rollout)
            return readable(await found.connection.last(Stream.RO, logged), e.ReleaseRefused)

    (found,) = await eventually(answered, bool, "the release to be refused", limit_s=60)
    return found
