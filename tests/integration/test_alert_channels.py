"""One suite for every channel, over real connections; what webhooks must not do; and the door for alerts from outside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bumpless.alerts import ack_link
from bumpless.alerts.ack_link import Link
from bumpless.alerts.channels.alertmanager import Alertmanager
from bumpless.alerts.channels.by_apprise import Apprise
from bumpless.alerts.channels.port import Channel
from bumpless.alerts.channels.webhook import Webhook
from bumpless.alerts.inputs import Observed
from bumpless.alerts.notice import Notice
from bumpless.alerts.receiver import PATH, Receiver
from bumpless.cli.embedded import free_port
from bumpless.common.errors import Retryable
from bumpless.common.model.alert import Alert
from bumpless.common.model.alerting import (
    AlertmanagerChannel,
    AlertsFile,
    AppriseChannel,
    WebhookChannel,
)
from bumpless.common.shell import clock
from bumpless.common.webhooks import post, signing
from bumpless.common.webhooks.post import Outcome
from support.alertmanager import RealAlertmanager
from support.http_target import HttpTarget
from support.memory_channel import MemoryChannel
from support.waiting import eventually
from unit.alerts.scenes import World, observed

SECRET = b"0123456789abcdef0123456789abcdef"


def alert(**labels: str) -> Alert:
    world = World().give(observed(labels={"alertname": "DiskFull", "node": "n1", **labels}), 0)
    assert world.alert is not None
    return world.alert.model_copy(update={"fired_at": clock.now()})


def notice(about: str = "firing", **labels: str) -> Notice:
    found = alert(**labels)
    if about == "resolved":
        found = found.model_copy(update={"status": "resolved", "resolved_at": clock.now()})
    return Notice("id-1", about, 0, found, clock.now(), 60)  # type: ignore[arg-type]


# The port


@dataclass
class Way:
    """A channel that works, the same one with nobody at the other end, and what arrived (as texts)."""

    works: Channel
    nobody: Channel
    arrived: Callable[[], list[str]]


def memory(_: ExitStack) -> Way:
    kept = MemoryChannel()
    nobody = MemoryChannel([Outcome(False, "nobody there")] * 9)
    return Way(kept, nobody, lambda: [f"{n.title} {n.body}" for n in kept.sent])


def webhook(stack: ExitStack) -> Way:
    target = stack.enter_context(HttpTarget())

    def made(url: str) -> Webhook:
        return Webhook(WebhookChannel(kind="webhook", url=url, allow_private=True, timeout_s=20))

    gone = f"http://127.0.0.1:{free_port()}"
    return Way(made(target.url), made(gone), lambda: [p.body.decode() for p in target.posted])


def by_apprise(stack: ExitStack) -> Way:
    target = stack.enter_context(HttpTarget())

    def made(url: str) -> Apprise:
        return Apprise(
            AppriseChannel(kind="apprise", urls=(url.replace("http://", "json://"),), timeout_s=60)
        )

    gone = f"http://127.0.0.1:{free_port()}"
    return Way(made(target.url), made(gone), lambda: [p.body.decode() for p in target.posted])


def alertmanager(stack: ExitStack) -> Way:
    real = stack.enter_context(RealAlertmanager())

    def made(url: str) -> Alertmanager:
        return Alertmanager(
            AlertmanagerChannel(kind="alertmanager", url=url, allow_private=True, timeout_s=20)
        )

    gone = f"http://127.0.0.1:{free_port()}"
    return Way(made(real.url), made(gone), lambda: [json.dumps(found) for found in real.alerts()])


WAYS = {"memory": memory, "webhook": webhook, "apprise": by_apprise, "alertmanager": alertmanager}


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    with ExitStack() as stack:
        yield WAYS[request.param](stack)


async def test_a_notice_arrives_with_its_labels(way: Way) -> None:
    outcome = await way.works.send(notice(node="n7"))
    assert outcome.ok, outcome.detail

    async def arrived() -> list[str]:
        return way.arrived()

    found = await eventually(arrived, lambda texts: any("n7" in t for t in texts), "the notice to arrive")
    (text,) = [text for text in found if "n7" in text]
    assert "DiskFull" in text
    assert "97 % full" in text


async def test_sending_it_again_is_harmless(way: Way) -> None:
    one = notice(node="n8")
    assert (await way.works.send(one)).ok
    assert (await way.works.send(one)).ok


async def test_that_it_is_over_can_be_sent(way: Way) -> None:
    assert (await way.works.send(notice("resolved", node="n9"))).ok


async def test_nobody_at_the_other_end_is_an_outcome_and_worth_another_try(way: Way) -> None:
    outcome = await way.nobody.send(notice())
    assert not outcome.ok
    assert not outcome.for_good
    assert outcome.detail


async def test_a_real_alertmanager_holds_what_is_repeated_and_lets_go_of_what_is_over() -> None:
    with RealAlertmanager() as real:
        config = AlertmanagerChannel(kind="alertmanager", url=real.url, allow_private=True)
        assert (await Alertmanager(config).send(notice())).ok

        async def there() -> list[dict[str, Any]]:
            return real.alerts()

        (found,) = await eventually(there, lambda alerts: alerts, "the alert to be active there")
        assert found["labels"] == {
            "alertname": "DiskFull",
            "node": "n1",
            "severity": "critical",
            "origin": "bumpless",
        }
        assert found["endsAt"] > found["startsAt"]
        assert (await Alertmanager(config).send(notice("resolved"))).ok
        await eventually(there, lambda alerts: not alerts, "the alert to be over there")


# What webhooks must not do


async def test_a_webhook_is_signed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    with HttpTarget() as target:
        config = WebhookChannel(
            kind="webhook", url=f"{target.url}/x", allow_private=True, secret_file=str(secret)
        )
        assert (await Webhook(config).send(notice())).ok
    (posted,) = target.posted
    stamp = posted.headers[signing.TIMESTAMP_HEADER]
    assert posted.headers[signing.SIGNATURE_HEADER] == signing.signed(SECRET, stamp, posted.body)
    assert posted.headers[signing.ID_HEADER] == posted.json["id"] == "id-1"
    secret.write_bytes(b"short")
    outcome = await Webhook(config).send(notice())
    assert not outcome.ok
    assert "at least 16 bytes" in outcome.detail


@pytest.mark.parametrize(
    ("answer", "for_good"), [(301, True), (302, True), (307, True), (404, True), (500, False), (429, False)]
)
async def test_redirects_are_not_followed_and_refusals_are_told_apart(answer: int, for_good: bool) -> None:
    with HttpTarget() as elsewhere, HttpTarget([(answer, {"Location": f"{elsewhere.url}/in"})]) as target:
        outcome = await post.post(target.url, {}, {}, timeout_s=20, allow_private=True)
        assert (outcome.ok, outcome.for_good) == (False, for_good)
        assert str(answer) in outcome.detail
        assert elsewhere.posted == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "10.1.2.3",
        "169.254.169.254",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[fd00::1]",
        "224.0.0.1",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2002:c0a8:101::1]",
    ],
)
async def test_private_addresses_are_refused(host: str) -> None:
    with HttpTarget() as target:
        port = target.url.rsplit(":", 1)[1]
        outcome = await post.post(f"http://{host}:{port}/", {}, {}, timeout_s=20, allow_private=False)
    assert (outcome.ok, outcome.for_good) == (False, True), outcome
    assert "expected a public address" in outcome.detail
    assert target.posted == []


@pytest.mark.parametrize("url", ["nonsense://x", "json://"])
async def test_what_apprise_does_not_know_is_said(url: str) -> None:
    outcome = await Apprise(AppriseChannel(kind="apprise", urls=(url,))).send(notice())
    assert not outcome.ok
    assert "expected a URL that apprise knows" in outcome.detail


# The door


@dataclass
class Door:
    url: str
    taken: list[Observed]
    parked: list[tuple[bytes, str]]
    away: bool = False
    full: int = 0
    links: list[Link] = field(default_factory=list)

    async def knock(self, body: bytes, **headers: str) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                self.url + PATH, data=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
            ) as answer,
        ):
            return answer.status, await answer.json()


@pytest.fixture
async def door(tmp_path: Path) -> Any:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    found = Door(f"http://127.0.0.1:{free_port()}", [], [])
    file = AlertsFile.model_validate({"receiver": {"max_bytes": 4096}})

    async def take(messages: list[Observed]) -> int:
        if found.away:
            raise Retryable("Redis is away")
        found.taken += messages
        return found.full

    async def park(body: bytes, reason: str) -> None:
        found.parked.append((body, reason))

    async def acknowledge(link: Link) -> str:
        found.links.append(link)
        return "it is over" if found.full else ""

    receiver = Receiver(secret, lambda: file, take, park, acknowledge, clock.now)
    await receiver.start("127.0.0.1", int(found.url.rsplit(":", 1)[1]))
    yield found
    await receiver.stop()


TOKEN = "Bearer " + SECRET.decode()
ONE = {"status": "firing", "labels": {"alertname": "Slow"}, "startsAt": "2026-01-01T00:00:00Z"}


def body(*alerts: Any) -> bytes:
    return json.dumps({"version": "4", "alerts": list(alerts)}).encode()


async def test_who_knows_the_secret_is_let_in_by_token_or_by_signature(door: Door) -> None:
    good = body(ONE)
    assert await door.knock(good, Authorization=TOKEN) == (200, {"accepted": 1, "ours": 0, "refused": []})
    stamp = str(int(clock.now().timestamp()))
    signed = {signing.TIMESTAMP_HEADER: stamp, signing.SIGNATURE_HEADER: signing.signed(SECRET, stamp, good)}
    assert (await door.knock(good, **signed))[0] == 200
    assert len(door.taken) == 2


@pytest.mark.parametrize("how", ["nothing", "token", "signature", "stamp", "body", "odd stamp"])
async def test_who_does_not_is_not(door: Door, how: str) -> None:
    good = body(ONE)
    now = clock.now()
    old = str(int((now - timedelta(minutes=6)).timestamp()))
    stamp = old if how == "stamp" else "²" if how == "odd stamp" else str(int(now.timestamp()))
    of = b"another" if how == "body" else good
    mark = signing.signed(SECRET, stamp, of)
    headers = {
        "nothing": {},
        "token": {"Authorization": TOKEN + "x"},
        "signature": {signing.TIMESTAMP_HEADER: stamp, signing.SIGNATURE_HEADER: "sha256=" + "0" * 64},
    }.get(how, {signing.TIMESTAMP_HEADER: stamp, signing.SIGNATURE_HEADER: mark})
    status, answer = await door.knock(good, **headers)
    assert status == 401
    assert answer["error"].startswith("expected")
    assert (door.taken, door.parked) == ([], [])


async def test_what_is_wrong_is_said_and_kept_and_the_rest_is_taken(door: Door) -> None:
    wrong = body(ONE, {**ONE, "status": "odd"})
    status, answer = await door.knock(wrong, Authorization=TOKEN)
    assert (status, answer["accepted"], [f["place"] for f in answer["refused"]]) == (400, 1, [1])
    assert len(door.taken) == 1
    assert [kept for kept, _ in door.parked] == [wrong]
    status, answer = await door.knock(b"{", Authorization=TOKEN)
    assert (status, "expected JSON" in answer["error"]) == (400, True)
    assert len(door.parked) == 2


async def test_what_cannot_be_saved_is_to_be_sent_again(door: Door) -> None:
    door.away = True
    assert (await door.knock(body(ONE), Authorization=TOKEN))[0] == 503
    door.away, door.full = False, 3
    status, answer = await door.knock(body(ONE), Authorization=TOKEN)
    assert (status, "3 alerts" in answer["error"]) == (429, True)


async def test_what_is_too_large_is_not_read(door: Door) -> None:
    status, answer = await door.knock(b" " * 5000, Authorization=TOKEN)
    assert (status, answer["error"]) == (413, "expected at most 4096 bytes, found more")


async def follow(door: Door, url: str, how: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.request(how, url) as answer:
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        return answer.status, await answer.text()


async def test_a_link_acknowledges_when_its_button_is_pressed_and_not_when_it_is_opened(door: Door) -> None:
    fired = alert()
    url = ack_link.link(door.url, SECRET, fired, "chat", clock.now())
    status, page = await follow(door, url, "GET")
    assert (status, "<form" in page, door.links) == (200, True, [])
    assert (await follow(door, url, "POST"))[0] == 200
    assert door.links == [Link(fired.fingerprint, 1, "chat")]
    door.full = 1
    assert (await follow(door, url, "POST"))[0] == 409


@pytest.mark.parametrize("how", ["another alert", "old", "another secret", "script"])
async def test_a_link_that_was_changed_or_is_old_does_nothing(door: Door, how: str) -> None:
    now = clock.now() - timedelta(days=2) if how == "old" else clock.now()
    secret = b"x" * 32 if how == "another secret" else SECRET
    url = ack_link.link(door.url, secret, alert(), "chat", now)
    if how == "another alert":
        url = url.replace("episode=1", "episode=2")
    if how == "script":
        url = url.replace("channel=chat", "channel=%3Cscript%3E")
    for method in ("GET", "POST"):
        status, page = await follow(door, url, method)
        assert (status, "<form" in page, "<script" in page) == (403, False, False)
    assert door.links == []
