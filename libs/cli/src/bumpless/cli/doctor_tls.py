"""Until when certificates are good: those of the authorities that we trust, and those that broker and Redis show."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from bumpless.cli.doctor_facts import Certificate
from bumpless.common.access.entry import Entry
from bumpless.common.access.redis_entry import RedisEntry
from bumpless.common.access.untrusted import untrusted

NATS_PORT, REDIS_PORT = 4222, 6379


def authorities(file: Path) -> list[Certificate]:
    try:
        found = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        return [Certificate(str(file), fault=str(error))]
    return [
        Certificate(f"{one.subject.rfc4514_string()} in {file}", one.not_valid_after_utc) for one in found
    ]


async def of_broker(entry: Entry, limit_s: float) -> Certificate:
    """The broker greets in the clear, and is then asked to encrypt, as its clients do."""
    first = entry.url.split(",")[0]
    place = urlsplit(first if "://" in first else f"nats://{first}")
    port = place.port or NATS_PORT
    return await _shown(
        f"the broker at {place.hostname}:{port}", place.hostname, port, entry.ca, limit_s, greets=True
    )


async def of_redis(entry: RedisEntry, limit_s: float) -> Certificate:
    place = urlsplit(entry.url)
    port = place.port or REDIS_PORT
    return await _shown(f"Redis at {place.hostname}:{port}", place.hostname, port, entry.ca, limit_s)


async def _shown(
    name: str, host: str | None, port: int, ca: Path | None, limit_s: float, *, greets: bool = False
) -> Certificate:
    writer = None
    try:
        trusted = ssl.create_default_context(cafile=ca)
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection(host, port)
            if greets:
                await reader.readline()
            await writer.start_tls(trusted, server_hostname=host)
            data = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return Certificate(name, x509.load_der_x509_certificate(data).not_valid_after_utc)
    except (OSError, TimeoutError, ValueError) as error:
        if shown := untrusted(error):
            return Certificate(name, fault=shown[0], do=shown[1])
        return Certificate(name, fault=str(error) or type(error).__name__)
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), limit_s)
