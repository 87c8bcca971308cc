"""What a machine gets so that systemd runs parts of Bumpless on it: units, settings, copies of keys. Writes files only.

Units are ours and written anew each time; what a site wants otherwise stands in drop-ins. Settings and keys are the
site's: those that are there and say something else are kept, unless they are to be replaced.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bumpless.cli import units
from bumpless.cli.identities import ACCOUNTS, REDIS_USERS
from bumpless.cli.units import SETTINGS
from bumpless.common.access.redis_users import OWNERS
from bumpless.common.access.rights import SERVICES as KEYED
from bumpless.common.errors import Refused

UNITS = Path("/etc/systemd/system")
EXECUTOR, NATS, REDIS = "executor", "nats", "redis"
PARTS = (NATS, REDIS, *(service.name for service in units.SERVICES))
"""What a machine of the control plane can be given."""
SECRET, OPEN = 0o600, 0o644

_NOBODY = "# Without accounts: with --access, the broker knows who comes.\n"
_NATS_CONF = """\
# The broker of one machine, on loopback: docs/identities.md says how others come to it.
server_name: nats
listen: "127.0.0.1:4222"
max_payload: 8MB
# The most that streams and packages may take. Streams reserve some of it, so a small disk without this line is refused.
jetstream { store_dir: "/var/lib/bumpless-nats", sync_interval: always, max_file_store: 20GB }
"""
_REDIS_CONF = f"""\
# The state store. It answers once what it was told is on the disk, and through its socket file only.
port 0
unixsocket {units.REDIS_SOCKET}
unixsocketperm 770
dir /var/lib/bumpless-redis
appendonly yes
appendfsync always
save ""
"""


@dataclass(frozen=True)
class Wanted:
    """A file below the root of the machine. `ours` is written anew; what is not is the site's."""

    path: Path
    content: bytes
    mode: int = OPEN
    ours: bool = False


@dataclass(frozen=True)
class Broker:
    """How parts get to the broker: its address, the authorities that vouch for it, the folder with keys of services."""

    url: str
    ca: Path | None = None
    access: Path | None = None


@dataclass(frozen=True)
class NodeParts:
    """Of the executor: `trust` has the keys that may release and deploy, `key` is the node's own."""

    name: str
    trust: Path
    key: Path | None = None
    address: str = "127.0.0.1"
    labels: Mapping[str, str] | None = None


def node_files(node: NodeParts, broker: Broker, prefix: Path) -> list[Wanted]:
    """Raises: Refused: a file that is to be copied cannot be read."""
    own = Path(SETTINGS)
    settings = {
        "NODE": node.name,
        "ADDRESS": node.address,
        "DATA_DIR": "/var/lib/bumpless",
        "NATS_URL": broker.url,
        "TRUST": f"{own}/trusted.json",
    }
    if node.labels:
        settings["LABELS"] = json.dumps(dict(node.labels), sort_keys=True)
    files = [Wanted(own / "trusted.json", _read(node.trust, "the keys that may release and deploy"))]
    if node.key is not None:
        settings["NATS_SEED"] = f"{own}/node.seed"
        files.append(Wanted(own / "node.seed", _read(node.key, "the key of the node"), SECRET))
    if broker.ca is not None:
        settings["NATS_CA"] = f"{own}/broker-ca.pem"
        files.append(_ca(broker.ca))
    text = "".join(f"BUMPLESS_EXECUTOR_{name}={value}\n" for name, value in settings.items())
    return [_unit(EXECUTOR, prefix), Wanted(own / "executor.env", text.encode(), SECRET), *files]


def control_files(parts: Sequence[str], broker: Broker, prefix: Path) -> list[Wanted]:
    """Units of the control plane, and how each gets to the broker.

    Raises:
        Refused: a part that there is not, or a file that is to be copied cannot be read.
    """
    files: list[Wanted] = []
    for part in dict.fromkeys(parts):
        if part not in PARTS:
            raise Refused(f"one of {', '.join(PARTS)}", part)
        files.append(_unit(part, prefix))
        if part == NATS:
            files += _nats(broker.access)
        elif part == REDIS:
            files += _redis(broker.access)
        else:
            files += _to_the_broker(part, broker)
    return files


def lacking(root: Path, parts: Sequence[str]) -> dict[str, list[str]]:
    """By part, which files it cannot start without are not there yet."""
    needed = {service.name: tuple(service.credentials.values()) for service in units.SERVICES}
    found = {
        part: [
            f"{SETTINGS}/{file}"
            for file in needed.get(part, ())
            if not _below(root, Path(SETTINGS, file)).exists()
        ]
        for part in parts
    }
    return {part: files for part, files in found.items() if files}


def write(root: Path, files: Iterable[Wanted], *, replace: bool) -> dict[str, str]:
    """Each file's path to what was done: written, same, or kept because it says something else and is the site's.

    Raises:
        Refused: it cannot be written.
    """
    done: dict[str, str] = {}
    for wanted in files:
        target = _below(root, wanted.path)
        try:
            before = target.read_bytes() if target.exists() else None
            if before == wanted.content:
                done[str(wanted.path)] = "same"
            elif before is not None and not wanted.ours and not replace:
                done[str(wanted.path)] = "kept"
            else:
                _put(target, wanted)
                done[str(wanted.path)] = "written"
        except OSError as error:
            raise Refused(
                f"to write {target}", str(error), "run it as root, or give another --root"
            ) from error
    return done


def _unit(part: str, prefix: Path) -> Wanted:
    name = f"bumpless-{part}.service"
    return Wanted(UNITS / name, units.units(prefix)[name].encode(), ours=True)


def _nats(access: Path | None) -> list[Wanted]:
    if access is None:
        return [Wanted(Path(SETTINGS) / "nats.conf", f"{_NOBODY}{_NATS_CONF}".encode())]
    accounts = _read(access / ACCOUNTS, "who the broker knows")
    return [
        Wanted(Path(SETTINGS) / "nats.conf", f'{_NATS_CONF}include "{ACCOUNTS}"\n'.encode()),
        Wanted(Path(SETTINGS) / ACCOUNTS, accounts, ours=True),
    ]


def _redis(access: Path | None) -> list[Wanted]:
    """The users are named by a drop-in, so that they come into force also where the settings are the site's."""
    files = [Wanted(Path(SETTINGS) / "redis.conf", _REDIS_CONF.encode())]
    if access is not None:
        users = Wanted(
            Path(SETTINGS) / REDIS_USERS, _read(access / REDIS_USERS, "who Redis knows"), ours=True
        )
        started = units.redis_start(f" --aclfile {users.path}")
        text = f"# Written by `bumpless node install`.\n[Service]\nExecStart=\n{started}"
        files += [users, Wanted(UNITS / "bumpless-redis.service.d" / "users.conf", text.encode(), ours=True)]
    return files


def _to_the_broker(part: str, broker: Broker) -> list[Wanted]:
    """A drop-in, because the service sees keys as copies of its own only."""
    variable = f"BUMPLESS_{part.upper().replace('-', '_')}_"
    lines, files = [f"Environment={variable}NATS_URL={broker.url}\n"], []
    if broker.access is not None and part in KEYED:
        place = Path(SETTINGS, "access", "services", f"{part}.seed")
        key = _read(broker.access / "services" / f"{part}.seed", f"the key of {part}")
        files.append(Wanted(place, key, SECRET))
        lines += [f"LoadCredential=nats.seed:{place}\n", f"Environment={variable}NATS_SEED=%d/nats.seed\n"]
        if part in OWNERS:
            lines.append(f"Environment={variable}REDIS_SEED=%d/nats.seed\n")
    if broker.ca is not None:
        ca = _ca(broker.ca)
        files.append(ca)
        lines += [
            f"LoadCredential=broker-ca.pem:{ca.path}\n",
            f"Environment={variable}NATS_CA=%d/broker-ca.pem\n",
        ]
    text = "# Written by `bumpless node install`.\n[Service]\n" + "".join(lines)
    return [*files, Wanted(UNITS / f"bumpless-{part}.service.d" / "broker.conf", text.encode(), ours=True)]


def _ca(file: Path) -> Wanted:
    return Wanted(Path(SETTINGS) / "broker-ca.pem", _read(file, "the authorities of the broker"))


def _read(file: Path, what: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Refused(f"{what} in {file}", str(error)) from error


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _put(target: Path, wanted: Wanted) -> None:
    """In one step and on the disk: a machine that loses power meanwhile has the old file or the new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, wanted.mode)
    with open(descriptor, "wb") as file:
        file.write(wanted.content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(target)
