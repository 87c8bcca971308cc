"""Who sent a webhook, and when: signatures that both sides can make from a secret that they share.

Three forms are made or read. Standard Webhooks (github.com/standard-webhooks/standard-webhooks, specification 1.0.0)
covers id, time and body. That of the alerts service covers time and body. GitHub's covers the body alone, and GitLab's
is the secret itself: neither says when it was made, so only the id of the delivery tells a copy.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bumpless.common.model.alerting import MIN_SECRET_BYTES

SIGNATURE_HEADER = "X-Bumpless-Signature"
TIMESTAMP_HEADER = "X-Bumpless-Timestamp"
ID_HEADER = "X-Bumpless-Id"

STANDARD_ID = "webhook-id"
STANDARD_TIMESTAMP = "webhook-timestamp"
STANDARD_SIGNATURE = "webhook-signature"
STANDARD_SECRET = "whsec_"
GITHUB_SIGNATURE = "X-Hub-Signature-256"
GITHUB_ID = "X-GitHub-Delivery"
GITLAB_TOKEN = "X-Gitlab-Token"
GITLAB_ID = "X-Gitlab-Event-UUID"

SKEW_S = 300
"""How far the time of a signed request may be from ours."""
ID_LIMIT = 256


class Stranger(ValueError):
    """The request is not proven to be from one who knows the secret, or not to be of now; says why."""


@dataclass(frozen=True)
class Proven:
    """A request whose sender knows the secret: which form proved it, and the sender's id of the delivery."""

    form: str
    delivery: str


def read_secret(path: str | Path) -> bytes:
    """The secret in a file, without white space around it; after `whsec_`, what the base64 says.

    Raises: OSError; ValueError, if it is too short or no base64.
    """
    found = Path(path).read_bytes().strip()
    if found.startswith(STANDARD_SECRET.encode()):
        try:
            found = base64.b64decode(found.removeprefix(STANDARD_SECRET.encode()), validate=True)
        except binascii.Error as error:
            raise ValueError(f"expected base64 after {STANDARD_SECRET} in {path}: {error}") from error
    if len(found) < MIN_SECRET_BYTES:
        raise ValueError(f"expected at least {MIN_SECRET_BYTES} bytes in {path}, found {len(found)}")
    return found


def signed(secret: bytes, timestamp: str, body: bytes) -> str:
    """`sha256=` and the HMAC-SHA256 of timestamp, a dot, and the body, in hexadecimal."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def standard_headers(secret: bytes, delivery: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks for one delivery. Every try of it has the same id."""
    stamp = str(int(at.timestamp()))
    return {
        STANDARD_ID: delivery,
        STANDARD_TIMESTAMP: stamp,
        STANDARD_SIGNATURE: _standard(secret, delivery, stamp, body),
    }


def prove(headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime) -> Proven:
    """Who sent a request, by whichever of the forms it has.

    `headers` finds names in any case.

    Raises:
        Stranger: it has none, another secret made it, it is too old, or it has no id by which a copy is known.
    """
    if (given := headers.get(STANDARD_SIGNATURE)) is not None:
        delivery, stamp = headers.get(STANDARD_ID, ""), headers.get(STANDARD_TIMESTAMP, "")
        fresh(stamp, now, STANDARD_TIMESTAMP)
        wanted = _standard(secret, delivery, stamp, body)
        if not any(same(one.encode(), wanted.encode()) for one in given.split(" ")[:16]):
            raise Stranger(f"expected the right {STANDARD_SIGNATURE}, found another")
        return Proven("standard", _id(delivery, STANDARD_ID))
    if (given := headers.get(GITHUB_SIGNATURE)) is not None:
        wanted = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
        if not same(given.encode(), wanted.encode()):
            raise Stranger(f"expected the right {GITHUB_SIGNATURE}, found another")
        return Proven("github", _id(headers.get(GITHUB_ID, ""), GITHUB_ID))
    if (given := headers.get(GITLAB_TOKEN)) is not None:
        if not same(given.encode(), secret):
            raise Stranger(f"expected the right {GITLAB_TOKEN}, found another")
        return Proven("gitlab", _id(headers.get(GITLAB_ID, ""), GITLAB_ID))
    raise Stranger(f"expected {STANDARD_SIGNATURE}, {GITHUB_SIGNATURE} or {GITLAB_TOKEN}, found none of them")


def fresh(stamp: str, now: datetime, header: str) -> None:
    """Raises: Stranger, unless `stamp` is a time in seconds that is not far from `now`."""
    number = stamp.isascii() and stamp.isdigit() and len(stamp) < 12
    if not number or abs(int(stamp) - now.timestamp()) > SKEW_S:
        raise Stranger(f"expected a {header} of the last {SKEW_S} s in seconds, found {stamp[:20]!r}")


def same(found: bytes, wanted: bytes) -> bool:
    """Compared by their digests, so that neither the length nor the place of a difference shows in time."""
    return hmac.compare_digest(hashlib.sha256(found).digest(), hashlib.sha256(wanted).digest())


def _standard(secret: bytes, delivery: str, stamp: str, body: bytes) -> str:
    content = b".".join((delivery.encode(), stamp.encode(), body))
    return "v1," + base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()


def _id(found: str, header: str) -> str:
    if not 0 < len(found) <= ID_LIMIT:
        raise Stranger(f"expected an id of the delivery in {header}, found {found[:20]!r}")
    return found
