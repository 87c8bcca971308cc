"""Who Redis knows, and what each may do: the text of its `aclfile`.

A password follows from the key that its owner has for the broker, so nobody keeps two secrets, and exchanging the key
exchanges both. The file holds digests of passwords only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from bumpless.common.access.nkey import secret_of
from bumpless.common.access.rights import ADMIN, OPERATOR

OWNERS = ("planner", "rollback", "health-gate", "alerts")
"""The services that keep a state."""
KNOWN = (*OWNERS, OPERATOR, ADMIN)
_READS = "get exists hget hgetall hmget smembers zrange zrangebyscore"
_WRITES = "set del pexpire hset hdel sadd srem zadd zrem watch unwatch multi exec discard"
_LOOKS = "type pttl scan dbsize config|get"


def password(seed: Path) -> str:
    """What the owner of this key shows Redis. Raises: Refused: no such key."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"bumpless redis password")
    return derived.derive(secret_of(seed)).hex()


def digest(seed: Path) -> str:
    """By which Redis knows the password. Raises: Refused."""
    return hashlib.sha256(password(seed).encode()).hexdigest()


def acl(digests: Mapping[str, Sequence[str]]) -> str:
    """The file, from names to the digests of their passwords (two while a key is exchanged).

    A service reads and writes its own keys. It runs no script and changes no setting, so a fault in what Redis runs scripts
    with is out of its reach.
    """
    lines = ["user default reset off"]
    for name, known in digests.items():
        hashes = " ".join(f"#{each}" for each in known)
        lines.append(f"user {name} reset on {hashes} {_rights(name)}")
    return "".join(line + "\n" for line in lines)


def _rights(name: str) -> str:
    if name == ADMIN:
        return "~* &* +@all"
    keys, commands = f"~bumpless:{name}:*", f"{_READS} {_WRITES}"
    if name == OPERATOR:
        keys, commands = "~bumpless:*", f"{_READS} {_LOOKS}"
    return f"resetchannels {keys} -@all " + " ".join(f"+{each}" for each in f"{commands} ping info".split())
