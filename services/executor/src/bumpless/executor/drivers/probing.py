"""One try of a probe: over HTTP, over TCP, or by a command. Never raises for what it finds; that is the outcome."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bumpless.common.errors import Refused
from bumpless.common.model.probe import CommandProbe, HttpProbe
from bumpless.executor.drivers.hook_commands import run_command

MAX_BODY = 1 << 20
"""What is looked at of an answer."""
DETAIL = 120
"""Characters of the reason that are kept."""


@dataclass(frozen=True)
class Outcome:
    """`detail` says why it failed; empty where it did not. `value` is the number that a command printed."""

    ok: bool
    detail: str = ""
    value: float | None = None


async def http(probe: HttpProbe, timeout_s: float) -> Outcome:
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers={"User-Agent": "bumpless-probe"}) as session,
            session.request(
                probe.method,
                probe.url,
                headers=probe.headers,
                data=probe.body.encode() or None,
                allow_redirects=False,
            ) as answer,
        ):
            body = b"" if probe.contains is None else await beginning(answer)
    except TimeoutError:
        return Outcome(False, f"no answer within {timeout_s:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Outcome(False, _short(error))
    if answer.status not in probe.status:
        return Outcome(False, f"status {answer.status}")
    if probe.contains is not None and probe.contains.encode() not in body:
        return Outcome(False, f"no {probe.contains!r} in the answer"[:DETAIL])
    return Outcome(True)


async def beginning(answer: aiohttp.ClientResponse) -> bytes:
    """The body, or MAX_BODY of it."""
    found = b""
    async for piece in answer.content.iter_chunked(1 << 16):
        found += piece
        if len(found) >= MAX_BODY:
            answer.close()
            break
    return found[:MAX_BODY]


async def tcp(address: str, timeout_s: float) -> Outcome:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except TimeoutError:
        return Outcome(False, f"no connection within {timeout_s:g} s")
    except (OSError, ValueError) as error:
        return Outcome(False, _short(error))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return Outcome(True)


async def command(
    probe: CommandProbe, argv: Sequence[str], env: Mapping[str, str], cwd: Path, timeout_s: float, log: Path
) -> Outcome:
    """Run `argv`, which is the probe's with its placeholders filled in. All that it started ends with it."""
    try:
        said = await run_command(argv, env, cwd, timeout_s, log)
    except (Refused, OSError) as error:
        return Outcome(False, _short(_ending(error.found) if isinstance(error, Refused) else error))
    if probe.reads == "exit":
        return Outcome(True)
    last = said.splitlines()[-1] if said else ""
    try:
        return Outcome(True, value=float(last))
    except ValueError:
        return Outcome(False, f"expected a number in its last line, found {last!r}"[:DETAIL])


def _ending(found: str) -> str:
    """How it ended, with the last line that it wrote, which is most often the reason."""
    how, _, words = found.removeprefix("it ").partition("; its last words: ")
    return f"{how}: {words.splitlines()[-1]}" if words else how


def _short(error: object) -> str:
    return (str(error) or type(error).__name__)[:DETAIL]
