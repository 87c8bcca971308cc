"""Links that log in once: whoever can read the secret on this machine makes them, for ten minutes.

The token is in the part of the address behind `#`, which no browser sends and no log has.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from datetime import datetime
from pathlib import Path

from bumpless.common.errors import Refused

VALID_S = 600
SECRET_BYTES = 32


def secret_at(path: Path, *, make: bool = False) -> bytes:
    """The secret in the file; with `make`, a new one where there is none.

    Raises:
        Refused: there is none, or it is too short.
    """
    if make and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(SECRET_BYTES) + "\n")
    try:
        found = path.read_bytes().strip()
    except FileNotFoundError as error:
        raise Refused(f"a secret at {path}", "none", "`bumpless up` makes one") from error
    if len(found) < SECRET_BYTES:
        raise Refused(f"a secret of at least {SECRET_BYTES} bytes in {path}", f"{len(found)}")
    return found


def make_token(secret: bytes, who: str, now: datetime) -> str:
    body = json.dumps({"who": who, "until": now.timestamp() + VALID_S, "once": secrets.token_hex(8)}).encode()
    return f"{_text(body)}.{_text(_signed(secret, body))}"


def link(address: str, token: str) -> str:
    return f"{address}/#login={token}"


class OneTime:
    """Takes each token once."""

    def __init__(self, secret: bytes | None) -> None:
        self._secret = secret
        self._used: dict[str, float] = {}

    def take(self, token: str, now: datetime) -> str | None:
        """Who it is for; None: it is not ours, too old, or was used."""
        if self._secret is None:
            return None
        try:
            body, signature = (base64.urlsafe_b64decode(part) for part in token.split("."))
            if not hmac.compare_digest(signature, _signed(self._secret, body)):
                return None
            said = json.loads(body)
        except ValueError:
            return None
        present = now.timestamp()
        self._used = {once: until for once, until in self._used.items() if until > present}
        if said["until"] <= present or said["once"] in self._used:
            return None
        self._used[said["once"]] = said["until"]
        return str(said["who"])


def _signed(secret: bytes, body: bytes) -> bytes:
    return hmac.new(secret, b"dashboard-login\0" + body, hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()
