"""Who Redis knows, and what each may do: the text of its `aclfile`.

It holds digests of passwords only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from bumpless.common.access.redis_entry import password
from bumpless.common.access.rights import ADMIN, OPERATOR

OWNERS = ("planner", "rollback", "health-gate", "alerts")
"""The services that keep a state."""
KNOWN = (*OWNERS, OPERATOR, ADMIN)
_READS = "get exists hget hgetall hmget smembers zrange zrangebyscore"
_WRITES = "set del pexpire hset hdel sadd srem zadd zrem watch unwatch multi exec discard"
_LOOKS = "type pttl scan dbsize"
_ASKS = "ping info config|get"
"""How Redis keeps what it is told is looked at by every service when it starts, and `INFO` does not have all of it."""


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
    return f"resetchannels {keys} -@all " + " ".join(f"+{each}" for each in f"{commands} {_ASKS}".split())
