"""The documents of a release file, read from the disk beside it and compared: the facts that are signed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bumpless.cli.documents import read_document
from bumpless.common.compat.interfaces import compared_apis, compared_messages
from bumpless.common.model.interfaces import THIS, Calls, Compared, Interface, Interfaces, Uses
from bumpless.common.model.release import ReleaseFile

Compare = Callable[[str, Mapping[str, Mapping[str, Any]]], tuple[Compared, ...]]


def signed_interfaces(base: Path, file: ReleaseFile) -> Interfaces:
    """`base`: the folder of the release file, whose words were checked.

    Raises:
        Refused: a document is missing, cannot be read, or takes too many comparisons; says which.
    """
    given = file.interfaces
    version = {c.name: c.version or file.version or "" for c in file.components}
    apis = {
        name: {text or version[name]: path for text, path in one.openapi.items()}
        for name, one in sorted(given.components.items())
        if one.openapi is not None
    }
    return Interfaces(
        components={name: _interface(name, base, paths, compared_apis) for name, paths in apis.items()},
        messages={
            channel: _interface(channel, base, paths, compared_messages)
            for channel, paths in sorted(given.messages.items())
        },
        uses=tuple(
            Uses(
                client=client, version=version[client] if own == THIS else own, provider=provider, built=built
            )
            for client, one in sorted(given.components.items())
            for provider, by_version in sorted(one.uses.items())
            for own, built in by_version.items()
        ),
        calls=tuple(
            Calls(client=client, provider=provider, items=items)
            for client, one in sorted(given.components.items())
            for provider, items in sorted(one.calls.items())
        ),
    )


def _interface(name: str, base: Path, paths: Mapping[str, str], compare: Compare) -> Interface:
    read = {version: read_document(base / path) for version, path in paths.items()}
    documents = {version: document for version, (document, _) in read.items()}
    return Interface(
        documents={version: digest for version, (_, digest) in read.items()},
        compared=compare(name, documents),
    )
