"""Whole streams out of a broker and into one, by its own snapshots: messages keep their sequences and times, consumers what
they have acknowledged. What is inside a snapshot is the broker's business.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from nats.aio.msg import Msg

from bumpless.common.contract.subjects import stream_request
from bumpless.common.errors import Refused, Retryable
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.nats_client import Away

ANSWER_S = 30.0
"""A large stream is looked through before its first part comes."""
CHUNK = 256 << 10

Info = Mapping[str, Any]
"""`config` and `state` of a stream, as the broker writes them."""


async def stream_infos(connection: Connection) -> dict[str, Info]:
    """Every stream of the account by its name, sorted. Raises: Retryable, Refused."""
    found: dict[str, Info] = {}
    while True:
        answer = await _ask(connection, stream_request("LIST", "").rstrip("."), {"offset": len(found)})
        for one in answer.get("streams") or ():
            found[one["config"]["name"]] = one
        if len(found) >= int(answer.get("total", 0)) or not answer.get("streams"):
            return dict(sorted(found.items()))


async def snapshot(connection: Connection, stream: str) -> AsyncGenerator[bytes | Info, None]:
    """First the stream's config and state, then its snapshot in parts.

    Raises:
        Retryable: the broker is away, or stopped in the middle.
        Refused: it gives none, of a stream in memory for example.
    """
    inbox = connection.nc.new_inbox()
    try:
        listening = await connection.nc.subscribe(inbox)
        try:
            asked = {"deliver_subject": inbox, "chunk_size": CHUNK, "no_consumers": False}
            info = await _ask(connection, stream_request("SNAPSHOT", stream), asked)
            yield {"config": info["config"], "state": info["state"]}
            while True:
                part: Msg = await listening.next_msg(timeout=ANSWER_S)
                if not part.data:
                    _check_end(part, stream)
                    return
                yield part.data
                if part.reply:
                    await connection.nc.publish(part.reply, b"")
        finally:
            await listening.unsubscribe()
    except Away as error:
        raise Retryable(f"broker is away: reading stream {stream}: {error!r}") from error


async def restore(connection: Connection, stream: str, info: Info, parts: AsyncIterator[bytes]) -> None:
    """Make the stream anew of what `snapshot` gave.

    Raises:
        Retryable: the broker is away.
        Refused: it does not take it; there is a stream of that name already, for example.
    """
    begun = await _ask(connection, stream_request("RESTORE", stream), info)
    to = begun["deliver_subject"]
    async for part in parts:
        await _ask(connection, to, part)
    await _ask(connection, to, b"")


async def _ask(connection: Connection, subject: str, body: Mapping[str, Any] | bytes) -> dict[str, Any]:
    """Raises: Refused: the broker says why not; Retryable: it says nothing."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        answer = await connection.nc.request(subject, data, timeout=ANSWER_S)
    except Away as error:
        raise Retryable(f"expected the broker to answer {subject}, found {error!r}") from error
    found: dict[str, Any] = json.loads(answer.data) if answer.data else {}
    if "error" in found:
        raise Refused(f"the broker to do {subject}", str(found["error"].get("description", found["error"])))
    return found


def _check_end(part: Msg, stream: str) -> None:
    status = (part.headers or {}).get("Status", "204")
    if status != "204":
        raise Retryable(f"the snapshot of {stream} to be whole, found that the broker stopped: {status}")
