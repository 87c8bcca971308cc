"""Documents of interfaces: what a release file names (OpenAPI, JSON Schemas of messages), and what is signed of them.

Signed are facts, not documents: for every two versions whether clients of the one work with the other, and where not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from bumpless.common.contract.base import Digest, Model, StrictModel, Token
from bumpless.common.model.channels import ChannelName
from bumpless.common.model.compat import VersionText
from bumpless.common.model.version import Version

THIS = ""
"""In place of a version: that of the component in this release."""


def _by_version(value: Any) -> Any:
    """A text or number alone is for the version of this release."""
    return value if isinstance(value, Mapping) else {THIS: value}


def _checked(versions: dict[str, str]) -> dict[str, str]:
    seen: dict[Version, str] = {}
    for text in versions:
        if text == THIS:
            continue
        version = Version.parse(text)
        if version in seen:
            raise ValueError(f"expected one entry for {version}, found {seen[version]!r} and {text!r}")
        seen[version] = text
    return versions


Paths = Annotated[dict[str, str], BeforeValidator(_by_version), AfterValidator(_checked)]
"""A path, or a path for every version."""
Built = Annotated[dict[str, VersionText], BeforeValidator(_by_version), AfterValidator(_checked)]


class InterfaceFile(StrictModel):
    """One component. `openapi`: its documents by version. `uses`: against which version of a provider it was built, by
    its own version. `calls`: all it calls of a provider, such as `GET /v1/files`; not given: it may call anything.
    """

    openapi: Paths | None = None
    uses: dict[Token, Built] = {}
    calls: dict[Token, tuple[str, ...]] = {}


class InterfacesFile(StrictModel):
    """`messages`: for every channel, the JSON Schema of every format, as paths beside the release file."""

    components: dict[Token, InterfaceFile] = {}
    messages: dict[ChannelName, Annotated[dict[VersionText, str], AfterValidator(_checked)]] = {}


class Break(Model):
    """Why somebody fails: where in the document, and what is there."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


class Gone(Model):
    """What clients of the one version may use and the other one does not have. `announced`: it was called deprecated."""

    where: str
    announced: bool


class OneWay(Model):
    """Clients of one version at another one. `more`: breaks that are not listed.

    `deprecated`: places that only the version they come to calls deprecated.
    """

    works: bool = True
    breaks: tuple[Break, ...] = ()
    more: int = 0
    gone: tuple[Gone, ...] = ()
    deprecated: tuple[str, ...] = Field(default=(), exclude_if=lambda places: not places)


class Compared(Model):
    """`backward`: clients of `old` at `new`, and readers of `new` with messages of `old`; `forward`: the other way round."""

    old: VersionText
    new: VersionText
    backward: OneWay
    forward: OneWay


class Interface(Model):
    """`documents`: their digests (SHA-256 of the file) by version; `compared`: every two of them, the older first."""

    documents: dict[VersionText, Digest]
    compared: tuple[Compared, ...] = ()


class Uses(Model):
    """`client` at `version` was built against `built` of `provider`."""

    client: Token
    version: VersionText
    provider: Token
    built: VersionText


class Calls(Model):
    """All that `client` calls of `provider`."""

    client: Token
    provider: Token
    items: tuple[str, ...]


class Interfaces(Model):
    """What a signed release knows of its interfaces."""

    components: dict[Token, Interface] = {}
    messages: dict[ChannelName, Interface] = {}
    uses: tuple[Uses, ...] = ()
    calls: tuple[Calls, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.components or self.messages or self.uses or self.calls)
