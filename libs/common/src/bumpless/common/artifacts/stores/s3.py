"""Blobs in a bucket of anything that speaks the S3 API: `PREFIX/<sha256 hex>`.

The client is obstore, imported when such a store is opened. Its calls run in threads: its asynchronous ones end the
interpreter with an abort now and then, when it exits soon after an answer. Credentials are what AWS's own tools would
find in the environment, a credentials file or the machine's role; they are not part of any address or message.
"""

from __future__ import annotations

import asyncio
import configparser
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from ..errors import BlobMissing, Corrupt, StoreUnavailable
from ..limits import PIECE
from ..manifest import BlobRef
from .blobs import describe, hex_name, is_hex_name
from .store import BlobStore, StoredBlob

T = TypeVar("T")

ATTEMPTS = 4
RETRY_WITHIN = timedelta(seconds=30)
REQUEST_TIMEOUT = timedelta(seconds=60)
"""For one request with its body, which has one piece at most, or one part of an upload."""
UPLOADS_AT_ONCE = 2
TOUCHED = ".touched"
"""Ends the name of a copy that lives for a moment; see `_touch`."""
Missing = (FileNotFoundError, NotFoundError)


class S3Blobs(BlobStore):
    """`endpoint` is for what is not AWS; `ca_file` (PEM) adds certificate authorities to the system's."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._where = f"s3://{bucket}/{prefix}".rstrip("/")
        given = {"endpoint": endpoint, "region": region, **_credentials()}
        client: dict[str, Any] = {
            "timeout": REQUEST_TIMEOUT,
            "allow_http": (endpoint or "").startswith("http:"),
        }
        if ca_file is not None:
            client["root_certificate"] = ca_file.read_bytes()
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            client_options=client,  # type: ignore[arg-type]
            retry_config={"max_retries": ATTEMPTS - 1, "retry_timeout": RETRY_WITHIN},
            **{name: value for name, value in given.items() if value},  # type: ignore[arg-type]
        )

    async def put(self, data: bytes | Path) -> BlobRef:
        ref = await asyncio.to_thread(describe, data)
        name = hex_name(ref.digest)
        if await self.renew(ref.digest):
            return ref
        hasher = hashlib.sha256()
        pieces = _pieces(data, hasher.update)
        await self._ask(
            lambda: (
                obstore.put(self._store, name, pieces, max_concurrency=UPLOADS_AT_ONCE)
                if ref.size
                else obstore.put(self._store, name, b"", use_multipart=False)
            )
        )
        if ref.size and (written := f"sha256:{hasher.hexdigest()}") != ref.digest:
            await self._ask(lambda: obstore.delete(self._store, name))
            raise Corrupt(ref.digest, f"{written} (it changed while it was stored)", str(data))
        return ref

    async def renew(self, digest: str) -> bool:
        name = hex_name(digest)
        try:
            await self._ask(lambda: self._touch(name))
        except Missing:
            return False
        return True

    async def has(self, digest: str) -> bool:
        return await self._head(digest) is not None

    async def read(self, digest: str, start: int = 0) -> AsyncGenerator[bytes, None]:
        found = await self._head(digest)
        if found is None:
            raise BlobMissing(digest, self._where)
        name, done = hex_name(digest), start
        while done < found["size"]:
            end = min(done + PIECE, found["size"])
            try:
                piece = bytes(
                    await self._ask(
                        lambda at=done, end=end: obstore.get_range(self._store, name, start=at, end=end)  # type: ignore[misc]
                    )
                )
            except Missing:
                raise BlobMissing(digest, self._where) from None
            if not piece:
                raise Corrupt(f"{found['size']} bytes", f"{done}", f"blob {digest}")
            done += len(piece)
            yield piece

    async def stored(self) -> AsyncIterator[StoredBlob]:
        for found in await self._ask(self._all):
            if is_hex_name(found["path"]):
                yield StoredBlob(f"sha256:{found['path']}", found["size"], found["last_modified"])

    async def delete(self, digest: str, *, before: datetime) -> bool:
        found = await self._head(digest)
        if found is None or found["last_modified"] >= before:
            return False
        await self._ask(lambda: obstore.delete(self._store, hex_name(digest)))
        return True

    async def sweep(self, before: datetime) -> int:
        """Parts of uploads that were never completed are not seen here: a lifecycle rule removes them."""
        left = [
            found
            for found in await self._ask(self._all)
            if found["path"].endswith(TOUCHED) and found["last_modified"] < before
        ]
        if left:
            await self._ask(lambda: obstore.delete(self._store, [found["path"] for found in left]))
        return sum(found["size"] for found in left)

    def _touch(self, name: str) -> None:
        """Renew the date of an object without sending it again: only a copy from another name does that."""
        obstore.copy(self._store, name, name + TOUCHED)
        obstore.copy(self._store, name + TOUCHED, name)
        obstore.delete(self._store, name + TOUCHED)

    def _all(self) -> list[Any]:
        return [found for page in obstore.list(self._store) for found in page]

    async def _head(self, digest: str) -> Any:
        name = hex_name(digest)
        try:
            return await self._ask(lambda: obstore.head(self._store, name))
        except Missing:
            return None

    async def _ask(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(call)
        except Missing:
            raise
        except (BaseError, OSError) as error:
            # Its first line says what was asked and answered; what follows is the library's inside.
            raise StoreUnavailable(self._where, str(error).partition("\n")[0]) from None


def _pieces(data: bytes | Path, hashed: Callable[[bytes], None]) -> Iterator[bytes]:
    if isinstance(data, bytes):
        hashed(data)
        yield data
        return
    with open(data, "rb", buffering=0) as file:
        while piece := file.read(PIECE):
            hashed(piece)
            yield piece


def _credentials() -> dict[str, str]:
    """Of the profile in AWS's credentials file; none where the environment has them, or there is no such file."""
    if "AWS_ACCESS_KEY_ID" in os.environ:
        return {}
    file = configparser.ConfigParser(interpolation=None)
    file.read(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path("~/.aws/credentials").expanduser())
    profile = os.environ.get("AWS_PROFILE", "default")
    if not file.has_section(profile):
        return {}
    names = {
        "access_key_id": "aws_access_key_id",
        "secret_access_key": "aws_secret_access_key",
        "session_token": "aws_session_token",
    }
    return {ours: file[profile][theirs] for ours, theirs in names.items() if theirs in file[profile]}
