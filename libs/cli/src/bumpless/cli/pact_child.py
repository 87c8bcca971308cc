"""The process that runs the Pact verifier: native code that prints where it likes, so it is kept apart.

Reads one JSON object (`Request` of `pact_run`) on standard input; writes one to the file descriptor that it names.
Imports the heavy library, and nothing of ours.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any
from urllib.parse import urlsplit


def main() -> None:
    asked: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    with os.fdopen(asked["answer"], "w") as out:
        json.dump(_verified(asked), out)


def _verified(asked: dict[str, Any]) -> dict[str, Any]:
    from pact import Verifier

    url = urlsplit(asked["url"])
    host = url.hostname or ""
    verifier = Verifier(asked["provider"], host=f"[{host}]" if ":" in host else host)
    verifier.add_transport(protocol="http", port=url.port, path=url.path or "/", scheme=url.scheme)
    verifier.add_source(asked["pact"])
    if asked["message_url"] is not None:
        at = urlsplit(asked["message_url"])
        verifier.add_transport(
            protocol="message", port=at.port, path=at.path or "/", scheme=at.scheme or "http"
        )
    if asked["state_change_url"] is not None:
        verifier.state_handler(asked["state_change_url"], body=True)
    for name, value in asked["headers"]:
        verifier.add_custom_header(name, value)
    verifier.set_request_timeout(asked["timeout_ms"])
    verifier.set_coloured_output(enabled=False)
    try:
        verifier.verify()
    except RuntimeError as error:  # of every failure; the results say which
        return {"results": verifier.results, "error": str(error)}
    return {"results": verifier.results, "error": ""}


if __name__ == "__main__":
    main()
