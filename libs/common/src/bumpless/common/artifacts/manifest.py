"""The signed description of an artifact: its tree, and the packages that lead to it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from bumpless.common.contract.base import Model, canonical_json
from bumpless.common.contract.envelope import ARTIFACT_TYPE, Envelope

from .errors import Untrusted
from .signing import Role, SigningKey, TrustStore

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$")]
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
"""Stands in file names: no slash, no leading dot."""
Size = Annotated[int, Field(ge=0)]


class BlobRef(Model):
    """Bytes named by their digest; `size` in bytes."""

    digest: Digest
    size: Size


class DeltaRef(BlobRef):
    """The package that makes the artifact's tree from the tree `from_root`."""

    from_root: Digest
    from_version: Version


class Artifact(Model):
    """One version of one component's files. `tree_size` is the sum of all `files` files in bytes."""

    format: Literal[1] = 1
    name: Name
    version: Version
    root: Digest
    full: BlobRef
    deltas: tuple[DeltaRef, ...] = ()
    tree_size: Size
    files: Size


def sign_artifact(artifact: Artifact, key: SigningKey) -> Envelope:
    return key.sign(ARTIFACT_TYPE, canonical_json(artifact.model_dump(mode="json")))


def open_artifact(envelope_bytes: bytes, trust: TrustStore) -> Artifact:
    """The artifact in a DSSE envelope, signed by a release key.

    Raises:
        Untrusted: it is not such an envelope, or not signed as `TrustStore.verify` demands.
    """
    try:
        envelope = Envelope.from_bytes(envelope_bytes)
    except (ValueError, RecursionError) as error:
        raise Untrusted("a signed artifact", str(error)) from error
    payload = trust.verify(envelope, payload_type=ARTIFACT_TYPE, role=Role.RELEASE)
    try:
        return Artifact.model_validate_json(payload)
    except ValidationError as error:
        raise Untrusted("an artifact of format 1", str(error)) from error
