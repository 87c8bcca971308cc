"""Until when certificates are good: those of the authorities that we trust, and the one that the broker shows."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from bumpless.cli.doctor_facts import Certificate
from bumpless.common.access.entry import Entry
from bumpless.common.errors import ReleaseError

NATS_PORT = 4222


def authorities(file: Path) -> list[Certificate]:
    try:
        found = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        return [Certificate(str(file), fault=str(error))]
    return [
        Certificate(f"{one.subject.rfc4514_string()} in {file}", one.not_valid_after_utc) for one in found
    ]


async def shown_by(entry: Entry, limit_s: float) -> Certificate:
    """The broker greets in the clear, and is then asked to encrypt, as its clients do."""
    first = entry.url.split(",")[0]
    place = urlsplit(first if "://" in first else f"nats://{first}")
    name = f"the broker at {place.hostname}:{place.port or NATS_PORT}"
    writer = None
    try:
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection(place.hostname, place.port or NATS_PORT)
            await reader.readline()
            await writer.start_tls(
                entry.tls() or ssl.create_default_context(), server_hostname=place.hostname
            )
            data = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return Certificate(name, x509.load_der_x509_certificate(data).not_valid_after_utc)
    except (OSError, TimeoutError, ValueError, ReleaseError) as error:
        return Certificate(name, fault=str(error) or type(error).__name__)
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), limit_s)
