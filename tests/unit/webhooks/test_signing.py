"""Signatures of webhooks: the published example of Standard Webhooks, and everything that must be refused."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from multidict import CIMultiDict

from bumpless.common.webhooks.signing import (
    GITHUB_ID,
    GITHUB_SIGNATURE,
    GITLAB_ID,
    GITLAB_TOKEN,
    SKEW_S,
    Stranger,
    prove,
    read_secret,
    standard_headers,
)

SECRET = b"0123456789abcdef0123456789abcdef"
BODY = b'{"a": 1}'
NOW = datetime(2026, 1, 2, tzinfo=UTC)
HUB = "sha256=" + hmac.new(SECRET, BODY, hashlib.sha256).hexdigest()


def test_the_example_of_the_specification(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    at = datetime.fromtimestamp(1614265330, UTC)
    found = standard_headers(read_secret(file), "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("text", ["whsec_%%%", "short", "whsec_c2hvcnQ="])
def test_a_secret_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(text)
    with pytest.raises(ValueError, match="expected"):
        read_secret(file)


@pytest.mark.parametrize(
    ("headers", "form", "delivery"),
    [
        (standard_headers(SECRET, "d1", NOW, BODY), "standard", "d1"),
        ({GITHUB_SIGNATURE: HUB, GITHUB_ID: "g1"}, "github", "g1"),
        ({GITLAB_TOKEN: SECRET.decode(), GITLAB_ID: "l1"}, "gitlab", "l1"),
    ],
)
def test_who_knows_the_secret_is_known(headers: dict[str, str], form: str, delivery: str) -> None:
    found = prove(CIMultiDict(headers), BODY, SECRET, NOW + timedelta(seconds=SKEW_S - 1))
    assert (found.form, found.delivery) == (form, delivery)
    with pytest.raises(Stranger):
        prove(CIMultiDict(headers), BODY, SECRET[::-1], NOW)


def test_one_of_several_signatures_is_enough_while_a_secret_is_changed() -> None:
    good = standard_headers(SECRET, "d1", NOW, BODY)
    both = {**good, "webhook-signature": f"v1,AAAA {good['webhook-signature']}"}
    assert prove(both, BODY, SECRET, NOW).delivery == "d1"


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "d2"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(int(NOW.timestamp()) + 1)},
        {"webhook-timestamp": "²"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": ""},
    ],
)
def test_whatever_is_changed_is_refused(change: dict[str, str]) -> None:
    headers = {**standard_headers(SECRET, "d1", NOW, BODY), **change}
    with pytest.raises(Stranger):
        prove(headers, BODY, SECRET, NOW)


@pytest.mark.parametrize(
    ("headers", "body", "late_s"),
    [
        (standard_headers(SECRET, "d1", NOW, BODY), BODY + b" ", 0),
        (standard_headers(SECRET, "d1", NOW, BODY), BODY, SKEW_S + 1),
        (standard_headers(SECRET, "d1", NOW, BODY), BODY, -SKEW_S - 1),
        (standard_headers(SECRET, "x" * 257, NOW, BODY), BODY, 0),
        ({GITHUB_SIGNATURE: HUB}, BODY, 0),
        ({GITHUB_SIGNATURE: HUB, GITHUB_ID: "g"}, BODY + b" ", 0),
        ({GITLAB_TOKEN: SECRET.decode()}, BODY, 0),
        ({}, BODY, 0),
    ],
)
def test_what_is_of_another_body_or_time_or_has_no_id_is_refused(
    headers: dict[str, str], body: bytes, late_s: int
) -> None:
    with pytest.raises(Stranger, match="expected"):
        prove(headers, body, SECRET, NOW + timedelta(seconds=late_s))
