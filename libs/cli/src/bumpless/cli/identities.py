"""Who the broker knows: public keys in `identities.json`, from which the server's accounts are written.

FOLDER/identities.json        names and public keys; `bumpless` alone writes it
FOLDER/accounts.conf          what the configuration of every nats-server includes
FOLDER/redis.acl              users of Redis, its `aclfile`
FOLDER/services/NAME.seed     keys of services, of people (`operator`) and of CI (`ci`)
FOLDER/nodes/NAME.seed        keys of nodes, to be moved to the nodes
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from bumpless.common.access import nats_config, redis_users
from bumpless.common.access.nkey import make_seed
from bumpless.common.access.rights import PEOPLE, SERVICES
from bumpless.common.errors import Refused

Kind = Literal["services", "nodes"]
ACCOUNTS = "accounts.conf"
REDIS_USERS = "redis.acl"


class Identities:
    """The identities of one installation. Keys in files are never overwritten, but moved aside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "identities.json"

    def seed(self, name: str, kind: Kind = "services") -> Path:
        return self.folder / kind / f"{name}.seed"

    @property
    def accounts(self) -> Path:
        return self.folder / ACCOUNTS

    @property
    def redis_users(self) -> Path:
        return self.folder / REDIS_USERS

    def ensure(self, nodes: Iterable[str] = ()) -> None:
        """Every service, people, CI and these nodes have a key; the accounts are written anew.

        Nodes that were revoked stay so.
        """
        with self._changing() as known:
            for name in (*SERVICES, *PEOPLE):
                if not known["services"].get(name):
                    known["services"][name] = [self._made(name, "services")]
            for name in redis_users.KNOWN:  # of an older installation only those whose keys are still here
                if not known["redis"].get(name) and self.seed(name).exists():
                    known["redis"][name] = [redis_users.digest(self.seed(name))]
            for name in nodes:
                if name not in known["nodes"]:
                    known["nodes"][name] = [self._made(name, "nodes")]

    def nodes(self) -> dict[str, list[str]]:
        """The nodes with their public keys; a revoked one has none."""
        return self._read()["nodes"]

    def enroll(self, name: str) -> Path:
        """A key for a node that has none. Returns its file.

        Raises:
            Refused: it has one.
        """
        self.ensure()
        with self._changing() as known:
            if known["nodes"].get(name):
                raise Refused(
                    f"no node {name} yet",
                    "one with a key",
                    "`bumpless node rotate` exchanges its key, `bumpless node revoke` takes it away",
                )
            known["nodes"][name] = [self._made(name, "nodes")]
        return self.seed(name, "nodes")

    def rotate(self, name: str, kind: Kind = "nodes") -> Path:
        """A second key beside the one there is; the old one is good until `settle`. Returns the new one's file.

        Raises:
            Refused: no such identity, or two keys already.
        """
        with self._changing() as known:
            keys = self._keys(known, name, kind)
            if len(keys) > 1:
                raise Refused(
                    f"one key of {name}",
                    f"{len(keys)}",
                    f"end the exchange with `bumpless node rotate {name} --finish`",
                )
            known[kind][name] = [*keys, self._made(name, kind)]
            if kind == "services" and name in redis_users.KNOWN:
                digest = redis_users.digest(self.seed(name))
                known["redis"][name] = [*known["redis"].get(name, []), digest]
        return self.seed(name, kind)

    def settle(self, name: str, kind: Kind = "nodes") -> None:
        """Only the newest key is good. Raises: Refused: no such identity."""
        with self._changing() as known:
            known[kind][name] = self._keys(known, name, kind)[-1:]
            if kind == "services" and name in known["redis"]:
                known["redis"][name] = known["redis"][name][-1:]

    def revoke(self, name: str) -> None:
        """No key of a node is good any more. Raises: Refused: no such node."""
        with self._changing() as known:
            self._keys(known, name, "nodes")
            known["nodes"][name] = []

    def _keys(self, known: dict[str, dict[str, list[str]]], name: str, kind: Kind) -> list[str]:
        keys = known[kind].get(name)
        if not keys:
            there = ", ".join(sorted(each for each, having in known[kind].items() if having)) or "none"
            raise Refused(f"one of {there}", name, "`bumpless node enroll` makes keys for nodes")
        return keys

    def _made(self, name: str, kind: Kind) -> str:
        file = self.seed(name, kind)
        with contextlib.suppress(FileNotFoundError):
            file.replace(file.with_suffix(".seed.old"))
        return make_seed(file)

    def _read(self) -> dict[str, dict[str, list[str]]]:
        try:
            found = json.loads(self._file.read_text())
            return {
                "services": dict(found["services"]),
                "nodes": dict(found["nodes"]),
                "redis": dict(found.get("redis", {})),
            }
        except FileNotFoundError:
            return {"services": {}, "nodes": {}, "redis": {}}
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"identities in {self._file}", f"{error}", "restore it from a backup") from error

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, dict[str, list[str]]]]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.folder / ".lock", "a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            known = self._read()
            yield known
            _write(self._file, json.dumps(known, indent=1, sort_keys=True))
            nodes = {name: keys for name, keys in known["nodes"].items() if keys}
            _write(self.accounts, nats_config.accounts(known["services"], nodes))
            _write(self.redis_users, redis_users.acl(known["redis"]))


def _write(file: Path, text: str) -> None:
    part = file.with_name(file.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    part.replace(file)
