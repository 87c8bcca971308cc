"""Finds the layers of the image in an OCI image layout (image-spec 1.1), every blob checked against its digest.

What is in an index is not signed: whoever builds from an image decides that it is the right one. Layers are read by
`tar`, whiteouts by `contents`.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bumpless.common.artifacts.errors import Corrupt
from bumpless.common.artifacts.limits import MIB, Limits
from bumpless.common.errors import Refused

_DOCUMENT_MAX = 4 * MIB
_NESTED_MAX = 4
_DIGEST = re.compile(r"(sha256|sha512):([0-9a-f]{64,128})")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def layers(layout: Path) -> list[Path]:
    """The layers of the one image in `layout`, the lowest first.

    Raises:
        Refused: there is no image, or more than one that this machine could run.
        Corrupt, TooLarge: a blob is missing, is another one, or is no description of an image.
    """
    try:
        return [_blob(layout, descriptor) for descriptor in _manifest(layout)["layers"]]
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise Corrupt("the descriptions of an image", f"other documents ({error!r})", str(layout)) from error


def _manifest(layout: Path) -> Mapping[str, Any]:
    found = list(_images(layout, _document(layout / "index.json"), _NESTED_MAX))
    if len(found) > 1:
        here = _ARCHITECTURES.get(platform.machine(), platform.machine())
        found = [d for d in found if d.get("platform", {}).get("architecture") == here] or found
    if len(found) != 1:
        listed = ", ".join(_described(d) for d in found) or "none"
        raise Refused(
            f"one image for this machine in {layout}",
            listed,
            "copy the one that is meant into a layout of its own, such as with `skopeo copy`",
        )
    return _document(_blob(layout, found[0]))


def _images(layout: Path, index: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    for descriptor in index.get("manifests", ()):
        if str(descriptor.get("mediaType", "")).endswith(("image.index.v1+json", "manifest.list.v2+json")):
            if depth:
                yield from _images(layout, _document(_blob(layout, descriptor)), depth - 1)
        elif descriptor.get("platform", {}).get("os") != "unknown":  # build attestations
            yield descriptor


def _blob(layout: Path, descriptor: Mapping[str, Any]) -> Path:
    digest, size = str(descriptor["digest"]), int(descriptor["size"])
    parts = _DIGEST.fullmatch(digest)
    if parts is None:
        raise Corrupt("a sha256 or sha512 digest", repr(digest), str(layout))
    path = layout / "blobs" / parts[1] / parts[2]
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, parts[1]).hexdigest()
            length = file.tell()
    except FileNotFoundError:
        raise Corrupt(f"the blob {digest}", "nothing", str(layout)) from None
    if (found, length) != (parts[2], size):
        raise Corrupt(f"{digest} of {size} bytes", f"{parts[1]}:{found} of {length}", str(path))
    return path


def _document(path: Path) -> Mapping[str, Any]:
    with open(path, "rb") as file:
        data = file.read(_DOCUMENT_MAX + 1)
    Limits.check(_DOCUMENT_MAX, len(data), str(path))
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Corrupt("a JSON document", str(error), str(path)) from error
    if not isinstance(found, dict):
        raise Corrupt("a JSON object", type(found).__name__, str(path))
    return found


def _described(descriptor: Mapping[str, Any]) -> str:
    name = descriptor.get("annotations", {}).get("org.opencontainers.image.ref.name")
    where = descriptor.get("platform", {})
    system = "/".join(str(where[key]) for key in ("os", "architecture", "variant") if key in where)
    return " ".join(filter(None, (name, system))) or str(descriptor.get("digest"))
