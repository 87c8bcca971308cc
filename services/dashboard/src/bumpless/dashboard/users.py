"""Who may log in: a file of names, roles and password hashes (scrypt), written by `bumpless dashboard user`."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from bumpless.common.errors import Refused

N, R, P = 1 << 16, 8, 2
MEMORY = 192 << 20
SHORTEST = 12
LONGEST = 1024
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]


class Role(StrEnum):
    """`operator` may order all but approvals, `approver` may approve or deny, `viewer` may look. One person may have several."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"


class User(BaseModel):
    """`hash` is scrypt of the password with `salt`, both hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    roles: frozenset[Role]
    salt: str
    hash: str
    n: int = N
    r: int = R
    p: int = P

    @classmethod
    def of(cls, name: str, roles: Iterable[Role], password: str, *, n: int = N) -> Self:
        """`n` is what a guess costs, in memory and time.

        Raises:
            Refused: for a password that is too short or a name that cannot be one.
        """
        if not SHORTEST <= len(password) <= LONGEST:
            raise Refused(f"a password of {SHORTEST} to {LONGEST} characters", f"{len(password)}")
        salt = secrets.token_bytes(16)
        hashed = _scrypt(password, salt, n, R, P).hex()
        try:
            return cls(name=name, roles=frozenset(roles), salt=salt.hex(), hash=hashed, n=n)
        except ValidationError as error:
            raise Refused("a name of letters, digits and . _ @ -, at most 64", repr(name)) from error

    def knows(self, password: str) -> bool:
        """Takes about 0.3 s of a processor, on purpose."""
        found = _scrypt(password, bytes.fromhex(self.salt), self.n, self.r, self.p)
        return hmac.compare_digest(found, bytes.fromhex(self.hash))


NOBODY = User(name="nobody", roles=frozenset(), salt="00" * 16, hash="00" * 32)
"""Checked where there is no such user, so that the time does not tell who exists."""


class UsersFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    users: dict[str, User] = {}

    def with_user(self, user: User) -> UsersFile:
        return UsersFile(users={**self.users, user.name: user})

    def without(self, name: str) -> UsersFile:
        if name not in self.users:
            raise Refused(f"one of {', '.join(sorted(self.users)) or 'no users'}", repr(name))
        return UsersFile(users={key: user for key, user in self.users.items() if key != name})


def read_users(path: Path) -> UsersFile:
    """No file: nobody.

    Raises:
        Refused: it is of another form.
    """
    try:
        return UsersFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return UsersFile()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(f"a users file at {path}", f"{where}: {first['msg']}") from error


def write_users(path: Path, file: UsersFile) -> None:
    """Readable by its owner only; whoever reads it meanwhile finds the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.new")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(file.model_dump_json(indent=2) + "\n")
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)


class Users:
    """The file as it is now: read again when it changes, and nobody's while it cannot be read."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._file = UsersFile()

    def find(self, name: str) -> User | None:
        """Raises: Refused, OSError."""
        if self._path is not None:
            try:
                stat = self._path.stat()
                seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            except FileNotFoundError:
                seen = None
            if seen != self._seen or seen is None:
                self._file = UsersFile()
                self._file, self._seen = read_users(self._path), seen
        return self._file.users.get(name)


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=MEMORY, dklen=32)
