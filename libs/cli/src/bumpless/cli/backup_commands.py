"""`backup`, `restore`: what the control plane must not lose, into one file and out of it.

Redis is in no backup: services fill it from the log.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

import redis
import typer

from bumpless.cli import embedded
from bumpless.cli.backup_file import Contents, Reading, Writing, dumped
from bumpless.cli.context import Context
from bumpless.cli.home import Home
from bumpless.common.access.entry import Entry
from bumpless.common.access.rights import ADMIN
from bumpless.common.contract import subjects
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Refused
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.snapshots import restore as restore_stream
from bumpless.common.shell.snapshots import snapshot, stream_infos

FIRST = (Stream.REL, Stream.OPS, Stream.EVT, Stream.RO)
"""Read in this order: what a service has acknowledged of the first three is in the log when that is read. Plans and
artifacts, which the log names, are read last."""
SETTINGS = ("keys", "access", "alerts.yaml", "events.yaml", "preflight.yaml", "ports.json")
"""Of an embedded control plane; all else there is made anew."""
STOP_S = 30.0
RESTART = (
    "restart the broker now, and start the services after that: until it is restarted it does not know the ids of the "
    "messages that it was given, and would take what is said again for something new"
)

SettingsOpt = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        help="Folder of keys and settings, such as /etc/bumpless; the home directory by default.",
    ),
]


def register(app: typer.Typer) -> None:
    app.command()(backup)
    app.command()(restore)


def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to write it; must not be there yet.")],
    settings: SettingsOpt = None,
) -> None:
    """Write keys, settings, and every stream and bucket of the broker into one file, while all goes on.

    The file holds private keys. It has mode 0600: keep it as you keep those.

    Example: bumpless backup /backup/bumpless-monday.zip
    """
    context: Context = ctx.obj
    folder = settings or context.home.path

    async def work() -> tuple[Contents, int]:
        async with _connected(_entry(context)) as connection:
            version = connection.nc.connected_server_version
            contents = Contents(at=clock.now(), broker=f"{version.major}.{version.minor}.{version.patch}")
            with Writing(file, contents) as out:
                for name, path in _files(folder, whole=settings is not None):
                    out.file(name, path)
                for name in await _streams(connection):
                    parts = snapshot(connection, name)
                    info = await anext(parts)
                    assert not isinstance(info, bytes)
                    await out.stream(name, dict(info), parts)
                return contents, out.finish()

    contents, size = asyncio.run(work())
    context.output.data(
        {"file": str(file), "bytes": size, **dumped(contents)},
        f"{file}: {size} bytes, {len(contents.streams)} streams, {len(contents.files)} files of keys and settings\n",
    )


def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `bumpless backup` wrote.")],
    settings: SettingsOpt = None,
    redis_url: Annotated[
        str | None,
        typer.Option(
            "--redis",
            help="The services' state store: looked at that it is empty.",
            envvar="BUMPLESS_REDIS_URL",
        ),
    ] = None,
) -> None:
    """Fill an empty broker from a backup, and put keys and settings where they are missing.

    Services must be stopped, the broker must be empty and so must Redis. An embedded control plane must be down; its
    broker is started for as long as this takes.

    Example: bumpless --home .bumpless restore /backup/bumpless-monday.zip
    """
    context: Context = ctx.obj
    folder = settings or context.home.path
    reading = Reading(file)
    try:
        named = context.nats or os.environ.get("BUMPLESS_NATS_URL")
        _check_store(context.home, redis_url, embedded=named is None)
        if named is None:
            _check_down(context.home)
        made = reading.restore_files(folder)
        if named is None:
            with _own_broker(context.home) as url:
                asyncio.run(_fill(Entry(url, context.home.seed(ADMIN)), reading))
        else:
            asyncio.run(_fill(_entry(context), reading))
            context.output.say(RESTART)
    finally:
        reading.close()
    context.output.data(
        {"file": str(file), **dumped(reading.contents), "written": [str(path) for path in made]},
        f"{len(reading.contents.streams)} streams restored, {len(made)} files written\n",
    )


async def _fill(entry: Entry, reading: Reading) -> None:
    async with _connected(entry) as connection:
        there = await stream_infos(connection)
        if there:
            raise Refused(
                "an empty broker",
                f"{len(there)} streams ({', '.join(list(there)[:5])} …)",
                "stop all services, and start the broker with an empty directory: services make streams when they start",
            )
        for name, kept in reading.contents.streams.items():
            info = {"config": kept.config, "state": kept.state}
            await restore_stream(connection, name, info, reading.stream(name))


@asynccontextmanager
async def _connected(entry: Entry) -> AsyncIterator[Connection]:
    connection = await Connection.connect(entry, name="bumpless-backup", connect_timeout_s=10)
    try:
        yield connection
    finally:
        await connection.close()


def _entry(context: Context) -> Entry:
    """As people come, but with the key that may do everything, if it is here."""
    entry = context.home.entry(context.nats)
    admin = context.home.seed(ADMIN)
    if "BUMPLESS_NATS_SEED" not in os.environ and admin.exists() and entry.seed is not None:
        return Entry(entry.url, admin, entry.ca)
    return entry


async def _streams(connection: Connection) -> list[str]:
    """All that are on disk, in the order in which they are to be read."""
    infos = await stream_infos(connection)
    kept = [name for name, info in infos.items() if info["config"].get("storage") == "file"]
    if Stream.RO.value not in kept:
        raise Refused(
            "the streams of a control plane", ", ".join(infos) or "none", "name its broker with --nats"
        )
    first = [stream.value for stream in FIRST]
    buckets = subjects.bucket_stream("")
    return [
        *(name for name in first if name in kept),
        *(name for name in kept if name not in first and not name.startswith(buckets)),
        *(name for name in kept if name.startswith(buckets)),
    ]


def _files(folder: Path, *, whole: bool) -> Iterator[tuple[str, Path]]:
    """Names and paths of what is kept below `folder`. Raises: Refused: there is nothing."""
    tops = sorted(folder.iterdir()) if whole and folder.is_dir() else [folder / name for name in SETTINGS]
    found = False
    for top in tops:
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and not path.is_symlink():
                found = True
                yield path.relative_to(folder).as_posix(), path
    if not found:
        raise Refused(
            "keys and settings",
            f"none in {folder}",
            "name their folder with --settings: a backup without keys is of little use",
        )


# an embedded control plane


def _check_down(home: Home) -> None:
    cluster = home.cluster()
    pid = None if cluster is None else cluster.get("pid")
    if isinstance(pid, int) and Path(f"/proc/{pid}").exists():
        raise Refused(
            f"no control plane that runs in {home.path}", f"process {pid}", "stop it with `bumpless down`"
        )


def _check_store(home: Home, url: str | None, *, embedded: bool) -> None:
    """A store that knows of other rollouts than the log would be believed."""
    do = "empty it: services fill it from the log"
    if embedded and (home.path / "redis").is_dir() and any((home.path / "redis").iterdir()):
        raise Refused(
            "no state of an earlier control plane", str(home.path / "redis"), do + "; remove that directory"
        )
    if url is not None:
        options = home.store(url).options()
        try:
            with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5, **options) as store:
                left = next(store.scan_iter("bumpless:*", count=1000), None)
        except redis.exceptions.RedisError as error:
            raise Refused(f"a Redis at {url.rpartition('@')[2]}", str(error)) from error
        if left is not None:
            raise Refused("an empty state store", f"{left!r} in it", do + " (FLUSHALL)")


@contextmanager
def _own_broker(home: Home) -> Iterator[str]:
    """The embedded broker, for as long as the block lasts."""
    where = embedded.layout(home, [])
    part = embedded.nats_part(home, where)
    (home.path / "logs").mkdir(exist_ok=True)
    with open(home.path / "logs" / "restore.log", "ab") as log:
        process = subprocess.Popen(part.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield where.nats_url
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
