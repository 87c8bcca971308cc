"""Which store is meant: one URL, for nodes and for whoever publishes.

    jetstream:BUCKET                                     the broker's object store
    file:///DIRECTORY                                    a directory, such as a network file system's mount
    https://HOST/PATH, http://HOST/PATH                  any web server; to read only
    s3://BUCKET/PREFIX?endpoint=URL&region=REGION        anything that speaks the S3 API

No URL has a password in it: addresses are logged, and seen in lists of processes.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from nats.js import JetStreamContext

from bumpless.common.errors import Refused

from .http import HttpBlobs
from .jetstream import JetStreamBlobs
from .store import BlobReader, BlobStore, DirectoryBlobs

FORMS = (
    "jetstream:BUCKET, file:///DIRECTORY, https://HOST/PATH or s3://BUCKET/PREFIX?endpoint=URL&region=REGION"
)


def open_store(url: str, *, js: JetStreamContext | None, ca_file: Path | None = None) -> BlobReader:
    """The store at `url`; close it after use. Nothing is asked of it yet.

    `ca_file` has the certificate authorities (PEM) of an https or s3 store that the system does not know.

    Raises:
        Refused: the URL is of no known form, or has a password in it.
    """
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise Refused(f"a store as {FORMS}", f"a URL that cannot be read: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise Refused(
            f"a store at {parts.hostname} without user and password in its URL",
            "some",
            "S3 credentials come from the environment or a file: see docs/stores.md",
        )
    unknown = sorted(query.keys() - ({"endpoint", "region"} if parts.scheme == "s3" else set()))
    match parts.scheme:
        case _ if unknown or parts.fragment:
            pass
        case "jetstream" if parts.path and not parts.netloc and js is not None:
            return JetStreamBlobs(js, parts.path)
        case "file" if not parts.netloc and parts.path.startswith("/"):
            return DirectoryBlobs(Path(unquote(parts.path)))
        case "http" | "https" if parts.hostname:
            return HttpBlobs(url, ca_file=ca_file)
        case "s3" if parts.netloc:
            from .s3 import S3Blobs  # the client takes memory that other stores need not pay for

            return S3Blobs(
                parts.netloc,
                unquote(parts.path).strip("/"),
                endpoint=query.get("endpoint"),
                region=query.get("region"),
                ca_file=ca_file,
            )
    raise Refused(f"a store as {FORMS}", f"{url!r}" + (f" with {', '.join(unknown)}" if unknown else ""))


def writable(store: BlobReader) -> BlobStore:
    """The store, to write to.

    Raises:
        Refused: it can only be read.
    """
    if isinstance(store, BlobStore):
        return store
    raise Refused(
        "a store that takes blobs",
        "one on a web server, which is read only",
        "publish to the store behind it (file:///… or s3://…), and let nodes read it from there",
    )
