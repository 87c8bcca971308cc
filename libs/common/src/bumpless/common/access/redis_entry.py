"""How a process gets to Redis: address, user and the key its password follows from, and whom it trusts to be Redis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bumpless.common.access.nkey import secret_of
from bumpless.common.errors import Refused


def password(seed: Path) -> str:
    """What the owner of this key shows Redis. It follows from the key, so nobody keeps two secrets, and exchanging the key
    exchanges both. Raises: Refused: no such key."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"bumpless redis password")
    return derived.derive(secret_of(seed)).hex()


@dataclass(frozen=True)
class RedisEntry:
    """`seed` is the file with the key of `user` (the one for the broker), `ca` one with the authorities (PEM) that may
    vouch for Redis.

    Without a seed we come as `url` says, with its user and password or none. With `ca` the connection is encrypted or
    there is none.
    """

    url: str
    user: str = ""
    seed: Path | None = None
    ca: Path | None = None

    @classmethod
    def of(cls, given: str | RedisEntry) -> RedisEntry:
        return given if isinstance(given, RedisEntry) else cls(given)

    def options(self) -> dict[str, Any]:
        """For `Redis.from_url`, beside the URL. Raises: Refused."""
        found: dict[str, Any] = {}
        if self.seed is not None:
            if "@" in self.url:
                raise Refused("a key or a user in the URL of Redis", "both", "leave one of them out")
            found |= {"username": self.user, "password": password(self.seed)}
        if self.ca is not None:
            if not self.url.startswith("rediss://"):
                raise Refused(
                    "rediss:// for a Redis whose authorities are named", self.url, "or name no authorities"
                )
            if not self.ca.is_file():
                raise Refused(f"certificate authorities (PEM) in {self.ca}", "no such file")
            found["ssl_ca_certs"] = str(self.ca)
        return found
