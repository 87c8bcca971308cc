"""When a delivery is tried again, and when it is given up; what is posted."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from bumpless.common.model.eventing import EventsFile, Webhook
from bumpless.common.webhooks.post import Outcome
from bumpless.common.webhooks.signing import prove, read_secret
from bumpless.common.yaml_file import read_yaml
from bumpless.events.deliveries import Next, follows, request
from support.delivery import TRIGGER
from support.plans import T0

HOOK = Webhook(name="ci", url="https://example.org/", first_retry_s=5, last_retry_s=60, deadline_s=100)
BUSY = Outcome(False, "HTTP 503")


@pytest.mark.parametrize(("tries", "wait_s"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (5000, 60)])
def test_the_wait_doubles_up_to_its_limit(tries: int, wait_s: float) -> None:
    assert follows(HOOK, BUSY, tries, T0, T0) == Next(wait_s=wait_s)


def test_what_was_taken_or_refused_is_over() -> None:
    assert follows(HOOK, Outcome(True), 1, T0, T0).done
    refused = follows(HOOK, Outcome(False, "HTTP 404", for_good=True), 1, T0, T0)
    assert refused.given_up == "HTTP 404"


def test_a_try_that_would_come_after_the_deadline_is_not_waited_for() -> None:
    found = follows(HOOK, BUSY, 5, T0, T0 + timedelta(seconds=41))
    assert found.given_up == "not delivered within 100 s, in 5 tries: HTTP 503"


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_what_is_posted_is_a_signed_cloudevent(mode: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 32)
    hook = HOOK.model_copy(update={"mode": mode, "secret_file": str(secret)})
    body, headers = request(hook, TRIGGER.as_cloudevent(), T0)
    assert prove(headers, body, read_secret(secret), T0).delivery == TRIGGER.context.id
    data = json.loads(body)
    if mode == "structured":
        assert headers["Content-Type"] == "application/cloudevents+json"
        assert (data["specversion"], data["data"]["subject"]["type"]) == ("1.0", "artifact")
    else:
        assert headers["Content-Type"] == "application/json"
        assert (headers["ce-specversion"], data["subject"]["type"]) == ("1.0", "artifact")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("webhooks: [{name: a, url: ftp://x}]", "webhooks.0.url"),
        ("webhooks: [{name: a, url: http://x, retries: 3}]", "webhooks.0.retries"),
        ("webhooks: [{name: a, url: http://x, events: [everything]}]", "webhooks.0.events.0"),
        ("webhooks: [{name: a, url: http://x}, {name: a, url: http://y}]", "found a twice"),
        ("webhooks: [", "expected YAML"),
    ],
)
def test_a_file_that_is_wrong_says_where(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_yaml(text, "events.yaml", EventsFile)
