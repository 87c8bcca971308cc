"""Ed25519 signatures over DSSE envelopes, and which key may sign what.

A payload is verified as the bytes that were received and is parsed after that, never before. Keys are trusted for
one role; there is no chain, no expiry and no threshold here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import ValidationError

from bumpless.common.contract.base import StrictModel
from bumpless.common.contract.envelope import Envelope, Signature, pae

from .errors import Untrusted

KEY_BYTES = 32

# Encodings of the points whose order divides 8, with the sign bit cleared, the non-canonical ones included: under
# such a "key" one signature is valid for many messages. Same list as libsodium's ge25519_has_small_order; the tests
# derive it from the curve.
_SMALL_ORDER = frozenset(
    bytes.fromhex(point)
    for point in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


class Role(StrEnum):
    RELEASE = "release"
    """May say what a release and its artifacts are."""
    DEPLOY = "deploy"
    """May command nodes."""
    WAIVER = "waiver"
    """May let findings pass."""
    REHEARSAL = "rehearsal"
    """May say that a release succeeded on another fleet."""
    VERIFICATION = "verification"
    """May say that a provider keeps a contract."""


@dataclass(frozen=True)
class PublicKey:
    """32 raw bytes (RFC 8032). Raises Untrusted for a key of small order or another length."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != KEY_BYTES:
            raise Untrusted(f"an Ed25519 key of {KEY_BYTES} bytes", f"{len(self.raw)} bytes")
        if self.raw[:31] + bytes([self.raw[31] & 0x7F]) in _SMALL_ORDER:
            raise Untrusted("an Ed25519 key of full order", f"the small-order point {self.raw.hex()}")

    @property
    def keyid(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()[:32]

    @property
    def text(self) -> str:
        """Base64; `from_text` reads it back."""
        return base64.b64encode(self.raw).decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Raises: Untrusted, if it is not the base64 of a good key."""
        try:
            return cls(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError) as error:
            raise Untrusted("an Ed25519 key in base64", repr(text[:64])) from error

    @property
    def pem(self) -> bytes:
        """SubjectPublicKeyInfo, for other tools."""
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class SigningKey:
    """A private key. It never appears in a message, a log line or `repr`."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> Self:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a PEM (PKCS8) file that only its owner can read.

        Raises:
            Untrusted: others can read it, or it is not an unencrypted Ed25519 key.
        """
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise Untrusted(f"a private key at {path} with mode 0600", f"mode {mode:04o}")
            pem = file.read()
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as error:
            raise Untrusted(f"an unencrypted PEM key at {path}", str(error)) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise Untrusted(f"an Ed25519 key at {path}", type(key).__name__)
        return cls(key)

    def save(self, path: Path) -> None:
        """Write a PEM (PKCS8) file of mode 0600. An existing file is never replaced (FileExistsError)."""
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(pem)

    @property
    def public(self) -> PublicKey:
        return PublicKey(self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, payload_type: str, payload: bytes) -> Envelope:
        signature = Signature(keyid=self.public.keyid, sig=self._key.sign(pae(payload_type, payload)))
        return Envelope(payload_type=payload_type, payload=payload, signatures=(signature,))


class _TrustedKey(StrictModel):
    role: Role
    public: str
    keyid: str


class _TrustFile(StrictModel):
    keys: tuple[_TrustedKey, ...]


@dataclass(frozen=True)
class TrustStore:
    """The keys a reader accepts, each for one role. A key in two roles stands twice."""

    keys: frozenset[tuple[Role, PublicKey]] = frozenset()

    @classmethod
    def of(cls, **keys: PublicKey) -> Self:
        """`TrustStore.of(release=key, deploy=other)`."""
        return cls(frozenset((Role(role), key) for role, key in keys.items()))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises: Untrusted, if the file is not a trust store, or a key's id is not its own."""
        try:
            file = _TrustFile.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise Untrusted(f"a trust store at {path}", str(error)) from error
        keys = set()
        for row in file.keys:
            key = PublicKey.from_text(row.public)
            if key.keyid != row.keyid:
                raise Untrusted(f"key id {key.keyid} in {path}", row.keyid)
            keys.add((row.role, key))
        return cls(frozenset(keys))

    def save(self, path: Path) -> None:
        rows = sorted((role.value, key.keyid, key.text) for role, key in self.keys)
        file = _TrustFile(keys=tuple(_TrustedKey(role=Role(r), keyid=i, public=p) for r, i, p in rows))
        path.write_text(file.model_dump_json(indent=2) + "\n")

    def verify(self, envelope: Envelope, *, payload_type: str, role: Role) -> bytes:
        """The payload, signed for `role` by at least one trusted key.

        Raises:
            Untrusted: unsigned, of another type, by unknown keys, by keys of another role, or with bad signatures.
        """
        if envelope.payload_type != payload_type:
            raise Untrusted(f"a signed {payload_type}", f"a {envelope.payload_type}")
        if not envelope.signatures:
            raise Untrusted(f"a signature of a {role} key", "no signature")
        named = {s.keyid for s in envelope.signatures}
        known = [(r, key) for r, key in self.keys if key.keyid in named]
        if not known:
            raise Untrusted(f"a signature of a trusted {role} key", f"unknown keys {sorted(named)}")
        able = [key for r, key in known if r is role]
        if not able:
            roles = sorted({r.value for r, _ in known})
            raise Untrusted(
                f"a signature of a {role} key", f"keys {sorted(named)} of role {', '.join(roles)}"
            )
        message = pae(envelope.payload_type, envelope.payload)
        for key in able:
            if any(key.verifies(s.sig, message) for s in envelope.signatures if s.keyid == key.keyid):
                return envelope.payload
        raise Untrusted(
            f"a valid signature of {sorted(k.keyid for k in able)}", "a signature of other bytes or keys"
        )
