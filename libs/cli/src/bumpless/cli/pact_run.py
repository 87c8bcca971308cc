"""Holds a pact against a provider that runs, with the verifier of pact-python in a process of its own.

Three ends: every interaction is kept, some are not, or nobody can tell, because the provider did not answer. The last is
an error and no result.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bumpless.common.compat.pact import Pact
from bumpless.common.errors import Refused

LIBRARY = "pact"
CONNECT_S = 5.0
START_S = 60.0
"""Until the process has started and the library is loaded, on a slow machine."""
MOST_FAILURES, LONGEST = 20, 400
"""How many are told and signed, and how many characters of each."""
PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
"""Settings that would send requests elsewhere than to the provider."""


@dataclass(frozen=True)
class Provider:
    """Where the provider listens. `headers` go with every request; `timeout_s` is that of one."""

    url: str
    state_change_url: str | None = None
    message_url: str | None = None
    headers: Sequence[tuple[str, str]] = ()
    timeout_s: float = 10.0


def verify(file: Path, pact: Pact, provider: Provider) -> tuple[str, ...]:
    """What the provider does not keep, a line each with the path of what differs; empty: it keeps all.

    Raises:
        Refused: the verifier is not installed, or the provider could not be asked.
    """
    if importlib.util.find_spec(LIBRARY) is None:
        raise Refused(
            "the package pact-python, which verifies contracts",
            "none",
            "install it beside bumpless: pip install 'pact-python>=4.2'",
        )
    for url in (provider.url, provider.state_change_url, provider.message_url):
        if url is not None:
            _reach(url)
    if provider.message_url is not None and _host(provider.message_url) != _host(provider.url):
        raise Refused(f"--message-url on {_host(provider.url)}, as --provider-url", provider.message_url)
    answer = _run(file, pact, provider)
    rows = answer["results"].get("interactionResults", [])
    unanswered = [_told(row) for row in rows if _mismatch(row).get("type") == "error"]
    if unanswered:
        raise Refused(
            "an answer of the provider to every interaction",
            "; ".join(text for lines in unanswered for text in lines),
            "look at its log, and verify again; nothing is said of the contract",
        )
    if len(rows) != pact.interactions:
        raise Refused(
            f"{pact.interactions} interactions to be verified",
            f"{len(rows)}" + (f": {answer['error']}" if answer["error"] else ""),
        )
    failures = [line[:LONGEST] for row in rows if row.get("result") != "OK" for line in _told(row)]
    more = len(failures) - MOST_FAILURES
    return (*failures[:MOST_FAILURES], *([f"and {more} more"] if more > 0 else []))


def _reach(url: str) -> None:
    parts = urlsplit(url)
    try:
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise ValueError
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise Refused("a URL such as http://127.0.0.1:8080", repr(url)) from None
    try:
        socket.create_connection((parts.hostname, port), CONNECT_S).close()
    except OSError as error:
        raise Refused(
            f"something that listens at {url}", str(error), "start the provider of that version first"
        ) from error


def _host(url: str) -> str | None:
    return urlsplit(url).hostname


def _run(file: Path, pact: Pact, provider: Provider) -> dict[str, Any]:
    # Every interaction may take one request, one for its states and one to find them gone.
    limit = START_S + 3 * provider.timeout_s * pact.interactions
    with tempfile.TemporaryFile() as results:
        asked = {
            "answer": results.fileno(),
            "pact": str(file.absolute()),
            "provider": pact.provider,
            "url": provider.url,
            "message_url": provider.message_url,
            "state_change_url": provider.state_change_url,
            "headers": list(provider.headers),
            "timeout_ms": int(provider.timeout_s * 1000),
        }
        try:
            done = subprocess.run(
                [sys.executable, "-m", "bumpless.cli.pact_child"],
                input=json.dumps(asked).encode(),
                capture_output=True,
                timeout=limit,
                pass_fds=(results.fileno(),),
                env={name: text for name, text in os.environ.items() if name.lower() not in PROXIES}
                | {"PACT_DO_NOT_TRACK": "true"},
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Refused(f"the verifier to end within {limit:g} s", "it did not") from None
        results.seek(0)
        data = results.read()
    if done.returncode or not data:
        last = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-1:]
        raise Refused("a result of the Pact verifier", f"exit code {done.returncode}: {''.join(last)}")
    found: dict[str, Any] = json.loads(data)
    return found


def _mismatch(row: dict[str, Any]) -> dict[str, Any]:
    found = row.get("mismatch")
    return found if isinstance(found, dict) else {}


def _told(row: dict[str, Any]) -> list[str]:
    """A line for each thing that differs: which interaction, where, what was expected and found."""
    what = str(row.get("description", "an interaction"))
    if states := [state for state in row.get("providerStates", []) if state]:
        what += f" (given {' and '.join(map(str, states))})"
    found = _mismatch(row)
    rows = found.get("mismatches") or [found]
    return [f"{what}: {line}" for each in rows for line in _lines(each)]


def _lines(found: dict[str, Any]) -> list[str]:
    text = str(found.get("mismatch") or found.get("message") or found.get("type") or "it failed")
    path = found.get("path") or found.get("key") or ""
    missing = _missing_keys(found)
    if missing:
        return [f"{path}.{key}: expected, and not in what was answered" for key in missing]
    if not found.get("mismatch") and "expected" in found:
        text = f"expected {found['expected']}, found {found.get('actual')}"
    kind = str(found.get("type", "")).removesuffix("Mismatch").lower()
    return [f"{path or kind}: {text}" if path or kind else text]


def _missing_keys(found: dict[str, Any]) -> list[str]:
    """The verifier names the object in which fields are missing; people look for the field."""
    if "missing the following keys" not in str(found.get("mismatch", "")):
        return []
    try:
        wanted, seen = json.loads(found["expected"]), json.loads(found["actual"])
    except (ValueError, KeyError, TypeError):
        return []
    return [str(key) for key in wanted if key not in seen] if isinstance(wanted, list) else []
