"""Posting JSON to an address that a person configured: no redirects, no proxies, no private networks unless allowed.

The name is resolved once and the connection goes to the address that was looked at, so that an answer which changes
between the two cannot lead inside (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

ANSWER_BYTES = 500
"""Of an answer that refuses, shown to people."""
FOR_GOOD = frozenset({400, 401, 403, 404, 405, 410, 411, 413, 414, 415, 422})
"""Answers that another try will not change."""
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: an IPv4 address in the last 32 bits."""


@dataclass(frozen=True)
class Outcome:
    """How one try went. `for_good`: the receiver refused it, or it cannot be sent, and will not be another time."""

    ok: bool
    detail: str = ""
    for_good: bool = False


class _Private(OSError):
    """The address is one that must not be called."""


class _Public(AbstractResolver):
    """Resolves names, and refuses addresses that are not public."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for result in found:
            refuse_private(result["host"])
        return found

    async def close(self) -> None:
        await self._inner.close()


def refuse_private(host: str) -> None:
    """Raises: OSError, if `host` is an address of a private network, loopback, link-local, or no unicast address."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if any(not one.is_global or one.is_multicast for one in _within(address) or [address]):
        raise _Private(f"expected a public address, found {host}; allow_private lets it pass")


def _within(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The IPv4 address that an IPv6 one stands for (mapped, 6to4, NAT64): gateways lead there."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[ipaddress.IPv4Address | None] = [address.ipv4_mapped, address.sixtofour]
    if address in NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


async def post(
    url: str, value: Any, headers: Mapping[str, str], *, timeout_s: float, allow_private: bool
) -> Outcome:
    """POST `value` as JSON. Never raises."""
    return await post_bytes(
        url, json.dumps(value).encode(), headers, timeout_s=timeout_s, allow_private=allow_private
    )


async def post_bytes(
    url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, allow_private: bool
) -> Outcome:
    """POST JSON that is written already. Never raises."""
    try:
        if not allow_private and (literal := _literal(url)) is not None:
            refuse_private(literal)
        resolver = None if allow_private else _Public()
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver, force_close=True),
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                trust_env=False,
            ) as session,
            session.post(
                url,
                data=body,
                headers={"Content-Type": "application/json", **headers},
                allow_redirects=False,
            ) as answer,
        ):
            if 200 <= answer.status < 300:
                return Outcome(True, f"HTTP {answer.status}")
            said = (await answer.content.read(ANSWER_BYTES)).decode(errors="replace").strip()
            text = f"HTTP {answer.status}" + (f": {said}" if said else "")
            if 300 <= answer.status < 400:
                return Outcome(False, f"{text}: redirects are not followed", for_good=True)
            return Outcome(False, text, for_good=answer.status in FOR_GOOD)
    except _Private as error:
        return Outcome(False, str(error), for_good=True)
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        private = error.__cause__ if isinstance(error.__cause__, _Private) else None
        inner = getattr(error, "os_error", None)
        private = inner if isinstance(inner, _Private) else private
        if private is not None:
            return Outcome(False, str(private), for_good=True)
        return Outcome(False, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _literal(url: str) -> str | None:
    """The address in `url`, where it names one and no host."""
    host = URL(url).host or ""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return host
