"""The events service on a real broker: webhooks out until they are taken or given up, webhooks in once per delivery."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bumpless.cli import webhook_commands
from bumpless.cli.client import Client, client
from bumpless.cli.embedded import free_port
from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.base import canonical_json
from bumpless.common.contract.cdevents import purl
from bumpless.common.contract.envelope import RELEASE_TYPE
from bumpless.common.contract.subjects import Stream
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.reading import readable
from bumpless.common.shell.rollouts import Plans
from bumpless.common.shell.topology import ensure_topology
from bumpless.common.webhooks.signing import standard_headers
from bumpless.events.app import make_subscribers
from bumpless.events.config import Config
from bumpless.events.handlers import Events
from bumpless.events.receiver import MAX_BYTES, PATH, Receiver
from bumpless.events.triggers import Triggers
from support.delivery import TRIGGER
from support.http_target import HttpTarget
from support.plans import component, release
from support.samples import SAMPLES
from support.waiting import eventually

SECRET = b"0123456789abcdef0123456789abcdef"
"""Shared with who calls us."""
RELEASE = release(component("api"))


@dataclass
class Service:
    """The service in this process, with an events file that a test writes."""

    url: str
    file: Path
    connection: Connection
    door: str = ""

    def configure(self, **file: Any) -> None:
        self.file.write_text(json.dumps(file))

    async def happens(self, reason: str) -> None:
        """A rollout is cancelled: one event."""
        message = SAMPLES[e.RolloutCancelled].model_copy(update={"reason": reason, "id": f"id-{reason}"})
        await self.connection.publish(message, source="planner")

    async def states(self) -> dict[str, Any]:
        """What `bumpless webhook list` shows, by webhook."""
        async with client(self.url, timeout_s=20) as found:
            return {row["webhook"]: row for row in await webhook_commands.states(found)}

    async def letters(self) -> list[e.MessageParked]:
        async with client(self.url, timeout_s=20) as found:
            return await webhook_commands.letters(found)

    async def served(self, *names: str) -> None:
        """The webhooks have their consumers: what happens from now on is for them."""
        await eventually(self.states, lambda found: set(names) <= set(found), f"{names} to be served")

    async def knock(self, body: bytes, **headers: str) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.door, data=body, headers=named) as answer,
        ):
            return answer.status, await answer.json()


@pytest.fixture
async def service(nats_url: str, tmp_path: Path) -> AsyncIterator[Service]:
    connection = await Connection.connect(nats_url, name="events")
    await ensure_topology(connection)
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    found = Service(nats_url, tmp_path / "events.yaml", connection)
    config = Config(found.file)
    plans = Plans(JetStreamBlobs(connection.js, subjects.PLAN_BUCKET))
    events = Events(connection, plans, config, clock.now)
    triggers = Triggers(connection, JetStreamBlobs(connection.js, subjects.ARTIFACT_BUCKET), clock.now)
    broker = make_subscribers(nats_url, events, connection, triggers)
    receiver = Receiver(secret, lambda: config.file, events.keep, clock.now)
    port = free_port()
    found.door = f"http://127.0.0.1:{port}{PATH}"
    await broker.start()
    await receiver.start("127.0.0.1", port)
    serving = asyncio.create_task(events.serve_webhooks())
    yield found
    serving.cancel()
    await asyncio.wait({serving})
    await receiver.stop()
    await broker.stop()
    await connection.close()


def hook(name: str, url: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "url": url, "allow_private": True, "first_retry_s": 0.1, "timeout_s": 20, **more}


async def test_every_webhook_gets_what_it_asked_for_and_one_that_is_away_holds_up_no_other(
    service: Service,
) -> None:
    with HttpTarget([(500, {}), (429, {})]) as busy, HttpTarget() as other:
        gone = f"http://127.0.0.1:{free_port()}"
        service.configure(
            webhooks=[
                hook("busy", busy.url),
                hook("other", other.url, events=["service.*"]),
                hook("gone", gone, deadline_s=2),
            ]
        )
        await service.served("busy", "other", "gone")
        await service.happens("one")
        await service.happens("two")

        async def taken() -> list[str]:
            ids = [posted.json["id"] for posted in busy.posted]
            return sorted(set(ids)) if len(ids) == 4 else []

        assert len(await eventually(taken, bool, "both events after two refusals")) == 2
        found = await eventually(
            service.states,
            lambda rows: rows["gone"]["given_up"] == 2 and rows["busy"]["latest"] == "delivered",
            "both to be given up by one, and taken by the other",
        )
        assert other.posted == []
    assert found["busy"]["latest"] == "delivered"
    assert (found["busy"]["waiting"], found["busy"]["being_tried"]) == (0, 0)
    assert found["gone"]["latest"] == "failed"
    letters = [letter.reason for letter in await service.letters()]
    assert len(letters) == 2
    assert all(reason.startswith("webhook gone: not delivered within 2 s") for reason in letters)


async def test_private_addresses_and_redirects_are_given_up_at_once(service: Service) -> None:
    with HttpTarget() as inside, HttpTarget([(302, {"Location": f"{inside.url}/in"})]) as moved:
        by_name = inside.url.replace("127.0.0.1", "localhost")
        service.configure(
            webhooks=[
                hook("address", inside.url, allow_private=False),
                hook("name", by_name, allow_private=False),
                hook("moved", moved.url),
            ]
        )
        await service.served("address", "name", "moved")
        await service.happens("one")
        letters = await eventually(service.letters, lambda found: len(found) == 3, "three dead letters")
        assert inside.posted == []
    told = {letter.reason.split(": ")[0]: letter.reason for letter in letters}
    assert "expected a public address, found 127.0.0.1" in told["webhook address"]
    assert "expected a public address" in told["webhook name"]
    assert "redirects are not followed" in told["webhook moved"]


async def test_a_webhook_is_not_told_of_what_was_before_it(service: Service) -> None:
    with HttpTarget() as target:
        await service.happens("before")

        async def told() -> int:
            return (await service.connection.js.stream_info(Stream.CDE.value)).state.messages

        await eventually(told, lambda count: count == 1, "the event")
        service.configure(webhooks=[hook("tool", target.url, mode="binary")])
        await service.served("tool")
        await service.happens("after")

        async def posted() -> list[Any]:
            return list(target.posted)

        (one,) = await eventually(posted, bool, "what happened after")
    assert one.json["subject"]["content"]["reason"] == "after"
    assert one.headers["ce-type"] == "dev.cdeventsx.bumpless-rollout.cancelled.0.1.0"


# In


def signed_release() -> bytes:
    payload = canonical_json(RELEASE.model_dump(mode="json"))
    return SigningKey.generate().sign(RELEASE_TYPE, payload).to_bytes()


def proven(body: bytes, delivery: str) -> dict[str, str]:
    return standard_headers(SECRET, delivery, clock.now(), body)


async def announced(found: Client) -> list[e.ReleaseAnnounced]:
    items = await found.connection.snapshot(
        Stream.REL, subjects.subject_for(e.ReleaseAnnounced), history=True
    )
    return readable(items, e.ReleaseAnnounced)


async def test_a_delivery_is_taken_once_and_announces_what_lies_in_the_store(service: Service) -> None:
    envelope = signed_release()
    await JetStreamBlobs(service.connection.js, subjects.ARTIFACT_BUCKET).put(envelope)
    digest = "sha256:" + hashlib.sha256(envelope).hexdigest()
    raw = TRIGGER.model_dump(mode="json")
    raw["subject"]["id"] = purl(RELEASE.product, "v9", digest)
    body = json.dumps(raw).encode()
    headers = proven(body, "d1")
    assert await service.knock(body, **headers) == (202, {"accepted": RELEASE.product, "seen_before": False})
    assert await service.knock(body, **headers) == (202, {"accepted": RELEASE.product, "seen_before": True})
    notes = {"release": {"tag_name": "v9", "body": f"bumpless-release: {digest}"}}
    service.configure(repositories={"acme/shop": RELEASE.product})
    git = json.dumps({**notes, "action": "published", "repository": {"full_name": "acme/shop"}}).encode()
    mark = "sha256=" + hmac.new(SECRET, git, hashlib.sha256).hexdigest()
    github = {"X_Hub_Signature_256": mark, "X_GitHub_Delivery": "g1", "X_GitHub_Event": "release"}

    async def knocked() -> tuple[int, Any]:
        return await service.knock(git, **github)

    await eventually(knocked, lambda found: found[0] == 202, "the events file to be read")
    async with client(service.url, timeout_s=20) as found:

        async def there() -> list[e.ReleaseAnnounced]:
            return await announced(found)

        (one,) = await eventually(there, bool, "the announcement")
        assert (one.product, one.digest) == (RELEASE.product, RELEASE.digest)


@pytest.mark.parametrize("how", ["nothing", "secret", "body", "time", "large"])
async def test_who_is_not_proven_is_not_let_in(service: Service, how: str) -> None:
    body = TRIGGER.model_dump_json().encode()
    headers = proven(body, "d1")
    sent = {"body": body + b" ", "large": b"x" * (MAX_BYTES + 1)}.get(how, body)
    if how == "nothing":
        headers = {}
    if how == "secret":
        headers = standard_headers(SECRET[::-1], "d1", clock.now(), body)
    if how == "time":
        headers = {**headers, "webhook-timestamp": "1700000000"}
    status, answer = await service.knock(sent, **headers)
    assert status == (413 if how == "large" else 401), answer
    assert "expected" in answer["error"]


async def test_what_is_no_trigger_is_said_at_the_door_and_what_names_nothing_is_parked(
    service: Service,
) -> None:
    odd = json.dumps({"context": {}}).encode()
    status, answer = await service.knock(odd, **proven(odd, "d1"))
    assert status == 400
    assert "context" in answer["error"]
    body = TRIGGER.model_dump_json().encode()
    assert (await service.knock(body, **proven(body, "d2")))[0] == 202
    with contextlib.suppress(TimeoutError):
        foreign = subjects.release_published("other")
        await service.connection.js.publish(foreign, body, stream=Stream.REL.value)
    letters = await eventually(service.letters, lambda found: len(found) == 2, "both to be parked")
    reasons = " ".join(letter.reason for letter in letters)
    assert "in the artifact store, found nothing" in reasons
    assert "releases of shop on" in reasons
