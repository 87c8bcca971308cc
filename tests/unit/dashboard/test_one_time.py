"""Links that log in once."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from bumpless.common.errors import Refused
from bumpless.dashboard.one_time import VALID_S, OneTime, link, make_token, secret_at
from support.plans import T0, at

SECRET = b"s" * 32


def test_a_token_is_taken_once_and_in_time() -> None:
    links = OneTime(SECRET)
    token = make_token(SECRET, "ada@here", T0)
    assert links.take(token, at(VALID_S - 1)) == "ada@here"
    assert links.take(token, at(VALID_S - 1)) is None
    late = make_token(SECRET, "ada@here", T0)
    assert links.take(late, at(VALID_S)) is None
    assert link("http://here", token).startswith("http://here/#login=")


@pytest.mark.parametrize("change", ["another secret", "another body", "no dot", "no base64", ""])
def test_what_was_not_signed_here_is_not_taken(change: str) -> None:
    body, signature = make_token(SECRET, "ada", T0).split(".")
    other = base64.urlsafe_b64encode(json.dumps({"who": "eve", "until": 4e9, "once": "1"}).encode()).decode()
    token = {
        "another secret": make_token(b"t" * 32, "eve", T0),
        "another body": f"{other}.{signature}",
        "no dot": body,
        "no base64": f"{body}.é",
        "": "",
    }[change]
    assert OneTime(SECRET).take(token, T0) is None


def test_without_a_secret_there_are_no_links(tmp_path: Path) -> None:
    assert OneTime(None).take(make_token(SECRET, "ada", T0), T0) is None
    path = tmp_path / "login.secret"
    with pytest.raises(Refused, match="bumpless up"):
        secret_at(path)
    made = secret_at(path, make=True)
    assert secret_at(path, make=True) == made
    path.write_text("short")
    with pytest.raises(Refused, match="at least 32 bytes"):
        secret_at(path)
