"""Links by which whoever reads a message may acknowledge its alert: signed, for one episode, for a day.

Opening a link changes nothing, because chats and mail scanners open links too; its page has a button that does.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from bumpless.common.model.alert import Alert

PATH = "/ack"
HOLDS = timedelta(days=1)
_FIELDS = ("alert", "episode", "channel", "until")


@dataclass(frozen=True)
class Link:
    """What a link says: which alert, in which episode, and to which channel it was sent."""

    alert: str
    episode: int
    channel: str


def link(base: str, secret: bytes, alert: Alert, channel: str, now: datetime) -> str:
    """The link below `base` for one channel."""
    until = str(int((now + HOLDS).timestamp()))
    told = dict(zip(_FIELDS, (alert.fingerprint, str(alert.episode), channel, until), strict=True))
    return f"{base.rstrip('/')}{PATH}?{urlencode({**told, 'signature': _signature(secret, told)})}"


def read(secret: bytes, query: Mapping[str, str], now: datetime) -> Link:
    """Raises: ValueError, if it is no link of ours, or one that holds no more."""
    told = {name: query.get(name, "") for name in _FIELDS}
    found, wanted = query.get("signature", "").encode(), _signature(secret, told).encode()
    if not hmac.compare_digest(hashlib.sha256(found).digest(), hashlib.sha256(wanted).digest()):
        raise ValueError("expected a link as it was sent, found another")
    if int(told["until"]) <= now.timestamp():
        raise ValueError("expected a link of the last day, found an older one; use `bumpless alert ack`")
    return Link(told["alert"], int(told["episode"]), told["channel"])


def _signature(secret: bytes, told: Mapping[str, str]) -> str:
    """Of a kind of its own, so that no other signature by the secret can stand here."""
    text = "\n".join(("bumpless alert ack", *(told[name] for name in _FIELDS)))
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Bumpless alert</title>
<body><p>{text}</p>{button}</body></html>
"""
BUTTON = '<form method="post"><button>I take care of it</button></form>'
"""It posts to the page's own address, signature included."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
