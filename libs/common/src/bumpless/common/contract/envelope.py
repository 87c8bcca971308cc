"""Signed bytes: the DSSE envelope (https://github.com/secure-systems-lab/dsse, protocol 1.0.0).

The signature covers the type and the exact bytes of the payload, so the receiver verifies what it received and
parses it once, after that. Signing and verifying live in `artifacts.signing`; this module only knows the form.
"""

from __future__ import annotations

import base64
import json
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

MAX_ENVELOPE_BYTES = 1 << 20

RELEASE_TYPE = "application/vnd.bumpless.release+json"
ARTIFACT_TYPE = "application/vnd.bumpless.artifact+json"
COMMAND_TYPE = "application/vnd.bumpless.command+json"
ALERT_HOOK_TYPE = "application/vnd.bumpless.alert-hook+json"
STATEMENT_TYPE = "application/vnd.bumpless.statement+json"


class Signature(BaseModel):
    model_config = ConfigDict(frozen=True)

    keyid: str
    sig: bytes


class Envelope(BaseModel):
    """`payload` as it was signed, its type, and who signed it."""

    model_config = ConfigDict(frozen=True)

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...] = ()

    def to_bytes(self) -> bytes:
        """The DSSE JSON form."""
        return json.dumps(
            {
                "payloadType": self.payload_type,
                "payload": base64.b64encode(self.payload).decode(),
                "signatures": [
                    {"keyid": s.keyid, "sig": base64.b64encode(s.sig).decode()} for s in self.signatures
                ],
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse the DSSE JSON form.

        Raises:
            ValueError: `data` is too large or is not such an envelope.
        """
        if len(data) > MAX_ENVELOPE_BYTES:
            raise ValueError(f"expected an envelope of at most {MAX_ENVELOPE_BYTES} bytes, found {len(data)}")
        try:
            raw = json.loads(data, object_pairs_hook=_no_duplicates)
            if not isinstance(raw, dict) or set(raw) != {"payloadType", "payload", "signatures"}:
                raise ValueError("its fields are not payloadType, payload and signatures")
            return cls(
                payload_type=raw["payloadType"],
                payload=base64.b64decode(raw["payload"], validate=True),
                signatures=tuple(
                    Signature(keyid=s["keyid"], sig=base64.b64decode(s["sig"], validate=True))
                    for s in raw["signatures"]
                ),
            )
        except (ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
            raise ValueError(
                f"expected a signed envelope (DSSE JSON), found something else: {error}"
            ) from error


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: the bytes that are signed (DSSE protocol, section "Signature Definition")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"field {key!r} stands twice")
        found[key] = value
    return found
