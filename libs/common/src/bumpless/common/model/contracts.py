"""Consumer-driven contracts: what a release file says of them, and what is signed.

A pact belongs to a version of a consumer; it is verified against a version of a provider. Each row names such a pair.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from bumpless.common.contract.base import Digest, Model, StrictModel, Token
from bumpless.common.model.compat import VersionText
from bumpless.common.model.statement import Verified
from bumpless.common.model.version import Version

TOKEN = re.compile(r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$")
DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")


def party(text: str) -> tuple[str, Version]:
    """`sdk@2.4.0` as name and version. Raises: ValueError."""
    name, sign, version = text.partition("@")
    if not sign or not TOKEN.match(name):
        raise ValueError(f"expected a name and a version such as sdk@2.4.0, found {text!r}")
    return name, Version.parse(version)


def _party(text: str) -> str:
    party(text)
    return text


PartyText = Annotated[str, AfterValidator(_party)]


class ContractFile(StrictModel):
    """`pact`: a path beside the release file, or its digest. `verified`: the signed statement, as a path too."""

    consumer: PartyText
    provider: PartyText
    pact: str = Field(min_length=1)
    verified: str | None = None


class Contract(Model):
    """One row of a signed release. `proof` is the signed envelope of `verified`, for who judges whether it counts."""

    consumer: Token
    consumer_version: VersionText
    provider: Token
    provider_version: VersionText
    pact: Digest
    verified: Verified | None = None
    proof: str = ""

    def __str__(self) -> str:
        return f"{self.consumer}@{self.consumer_version} with {self.provider}@{self.provider_version}"
