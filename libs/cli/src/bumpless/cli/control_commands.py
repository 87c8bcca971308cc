"""`up`, `down`, `keys` and `agent`: the control plane on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli.client import client
from bumpless.cli.context import Context
from bumpless.cli.dashboard_commands import login_link
from bumpless.cli.home import Home
from bumpless.cli.identities import Identities
from bumpless.cli.output import records, table
from bumpless.common.access.entry import Entry
from bumpless.common.access.redis_entry import password
from bumpless.common.access.redis_users import KNOWN
from bumpless.common.access.rights import ADMIN, OPERATOR
from bumpless.common.artifacts.signing import PublicKey, Role, SigningKey, TrustStore
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Digest
from bumpless.common.errors import Refused, Retryable
from bumpless.common.shell import clock

READY_S = 60.0


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)
    keys = typer.Typer(no_args_is_help=True, help="Signing keys.")
    keys.command("generate")(keys_generate)
    keys.command("trust")(keys_trust)
    keys.command("redis-password")(keys_redis_password)
    app.add_typer(keys, name="keys")
    agent = typer.Typer(no_args_is_help=True, help="The executor of one node.")
    agent.command("run")(agent_run)
    app.add_typer(agent, name="agent")


def up(
    ctx: typer.Context,
    nodes: Annotated[int, typer.Option(min=0, max=200, help="Local nodes to start too.")] = 0,
    label: Annotated[list[str] | None, typer.Option(help="NODE:KEY=VALUE, a label of a local node.")] = None,
    drills: Annotated[bool, typer.Option(help="Local nodes obey injected faults.")] = False,
    foreground: Annotated[bool, typer.Option(help="Stay, and stop everything on Ctrl-C.")] = False,
) -> None:
    """Start the whole control plane on this machine: broker, store, services; and local nodes.

    Example: bumpless up --nodes 4 --label node-1:role=data
    """
    context: Context = ctx.obj
    home = context.home
    running = home.cluster()
    if running is not None and _alive(running["pid"]):
        raise Refused(
            f"{home.path} to be free",
            f"a control plane under process {running['pid']}",
            "stop it with `bumpless down`",
        )
    home.cluster_file.unlink(missing_ok=True)
    (home.path / "logs").mkdir(parents=True, exist_ok=True)
    if not home.trust.exists():
        generate_keys(home)
        context.output.say(f"made signing keys in {home.keys}")
    labels = _labels(label or [])
    wanted = [{"name": f"node-{n}", "labels": labels.pop(f"node-{n}", {})} for n in range(1, nodes + 1)]
    if labels:
        raise Refused(f"labels of node-1 to node-{nodes}", ", ".join(sorted(labels)))
    _check_let_in(home, [f"node-{n}" for n in range(1, nodes + 1)])
    (home.path / "wanted.json").write_text(json.dumps({"nodes": wanted, "drills": drills}))
    command = [sys.executable, "-m", "bumpless.cli.supervisor", str(home.path)]
    if foreground:
        os.execv(sys.executable, command)
    with open(home.path / "logs" / "supervisor.log", "ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    began = time.monotonic()
    asyncio.run(_ready(home, process, nodes))
    cluster = home.cluster()
    assert cluster is not None
    context.output.say(f"ready in {time.monotonic() - began:.1f} s")
    rows = [
        ["broker", cluster["nats_url"]],
        ["dashboard", cluster["dashboard"]],
        ["nodes", nodes],
        ["data", home.path],
        *sorted((name, url) for name, url in cluster["ops"].items() if name != "dashboard"),
    ]
    context.output.data(cluster, table(["part", "where"], rows))
    context.output.say(f"log in to the dashboard, once, within ten minutes: {login_link(home)}")


def _check_let_in(home: Home, nodes: list[str]) -> None:
    """Raises: Refused: one of them was shut out of this home's broker."""
    known = Identities(home.access).nodes()
    shut_out = [node for node in nodes if known.get(node) == []]
    if shut_out:
        raise Refused(
            f"nodes that may come to the broker of {home.path}",
            f"{', '.join(shut_out)} revoked",
            f"let it in again with `bumpless node enroll {shut_out[0]}`",
        )


async def _ready(home: Home, process: subprocess.Popen[bytes], nodes: int) -> None:
    deadline = time.monotonic() + READY_S
    missing = "the supervisor"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            tail = (home.path / "logs" / "supervisor.log").read_text()[-2000:]
            raise Refused("the control plane to start", f"it ended with {process.returncode}", tail)
        cluster = home.cluster()
        if cluster is not None:
            try:
                async with client(Entry(cluster["nats_url"], home.seed(OPERATOR)), timeout_s=2) as found:
                    missing = "the planner"
                    await found.plan(_probe(), timeout_s=2)
                    missing = "the nodes"
                    seen = [
                        n
                        for n in (await found.fleet()).nodes
                        if (clock.now() - n.observed_at).total_seconds() < 60
                    ]
                    if len(seen) >= nodes:
                        return
            except Retryable:
                pass
        await asyncio.sleep(0.1)
    raise Refused(
        f"the control plane ready in {READY_S:g} s",
        f"still waiting for {missing}",
        f"see {home.path / 'logs'}",
    )


def _probe() -> e.ReleaseAnnounced:
    return e.ReleaseAnnounced(
        id=clock.fresh_id(),
        at=clock.now(),
        product="probe",
        digest=Digest("sha256:" + "0" * 64),
        envelope="{}",
    )


def _labels(given: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for item in given:
        node, colon, pair = item.partition(":")
        key, equals, value = pair.partition("=")
        if not (node and colon and key and equals):
            raise Refused("a label as NODE:KEY=VALUE", item)
        found.setdefault(node, {})[key] = value
    return found


def down(
    ctx: typer.Context,
    purge: Annotated[bool, typer.Option(help="Also delete the data, keys included.")] = False,
) -> None:
    """Stop what `bumpless up` started, the services on local nodes included.

    Example: bumpless down
    """
    context: Context = ctx.obj
    home = context.home
    cluster = home.cluster()
    runs = cluster is not None and _alive(cluster["pid"])
    if cluster is not None and runs:
        os.kill(cluster["pid"], signal.SIGTERM)
        deadline = time.monotonic() + 120
        pidfd = os.pidfd_open(cluster["pid"])
        try:
            import select

            if not select.select([pidfd], [], [], deadline - time.monotonic())[0]:
                raise Refused(
                    "everything stopped in 120 s", "a process that goes on", f"see {home.path / 'logs'}"
                )
        finally:
            os.close(pidfd)
        context.output.say("stopped")
    else:
        context.output.say("nothing runs here")
    home.cluster_file.unlink(missing_ok=True)
    purged = purge and home.path.exists()
    if purged:
        shutil.rmtree(home.path)
    context.output.data({"stopped": runs, "purged": purged}, "")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def keys_generate(
    ctx: typer.Context,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the keys; the home directory's by default.")
    ] = None,
    role: Annotated[
        Role | None, typer.Option(help="Only the key of this role, added to the keys that are trusted there.")
    ] = None,
) -> None:
    """Make keys: for releases and artifacts (CI), for node commands (deploy), for waivers, for rehearsals, and for
    verified contracts.

    Example: bumpless keys generate --out keys
    """
    context: Context = ctx.obj
    found = generate_keys(context.home, out) if role is None else add_key(out or context.home.keys, role)
    context.output.data(
        {name: str(path) for name, path in found.items()},
        table(["key", "file"], [[k, v] for k, v in found.items()]),
    )


def add_key(folder: Path, role: Role) -> dict[str, Path]:
    """A new key of one role, beside those that there are, and trusted with them.

    Raises:
        Refused: there is such a key already, or no list of trusted ones.
    """
    key, trusted = folder / f"{role}.key", folder / "trusted.json"
    if key.exists():
        raise Refused(f"no {role} key yet", str(key), "keep it, or move it away first")
    if not trusted.exists():
        raise Refused("trusted keys", f"nothing at {trusted}", "`bumpless keys generate` makes all keys")
    known, made = TrustStore.load(trusted), SigningKey.generate()
    made.save(key)
    _save(TrustStore(known.keys | {(role, made.public)}), trusted)
    return {key.name: key, trusted.name: trusted}


def keys_trust(
    ctx: typer.Context,
    role: Annotated[Role, typer.Argument(help="What the key may sign.")],
    key: Annotated[
        str, typer.Argument(help="A public key as `trusted.json` has it, or the file of a private one.")
    ],
    trusted: Annotated[
        Path | None, typer.Option("--in", help="The list of trusted keys; the home directory's by default.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Trust it no longer.")] = False,
) -> None:
    """Add a public key to a list of trusted ones, or take it out. Services and nodes read it when they start.

    Example: bumpless keys trust release ci-2027.key

    Example: bumpless keys trust release 3q2+7w...= --in /etc/bumpless/trusted.json --remove
    """
    context: Context = ctx.obj
    file = trusted or context.home.trust
    known = TrustStore.load(file).keys if file.exists() else frozenset()
    public = SigningKey.load(Path(key)).public if Path(key).is_file() else PublicKey.from_text(key)
    row = (role, public)
    if remove and row not in known:
        raise Refused(f"a {role} key that {file} trusts", public.keyid)
    found = known - {row} if remove else known | {row}
    if not any(other is role for other, _ in found):
        raise Refused(f"another {role} key in {file}", "none", "trust its successor first")
    file.parent.mkdir(parents=True, exist_ok=True)
    _save(TrustStore(found), file)
    rows = [[str(one), key.keyid, key.text] for one, key in sorted(found, key=lambda r: (r[0], r[1].keyid))]
    columns = ["Role", "Keyid", "Public"]
    context.output.data(records(columns, rows), table(columns, rows))


def keys_redis_password(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(help="Whose: admin, operator, or a service that keeps a state.")
    ] = ADMIN,
    access: Annotated[
        Path | None, typer.Option(help="Folder of the identities; the home directory's by default.")
    ] = None,
) -> None:
    """Show the password of a user of Redis, which follows from that user's key; for redis-cli, in an emergency.

    Example: REDISCLI_AUTH=$(bumpless keys redis-password) redis-cli --user admin -s .bumpless/redis.sock FLUSHALL
    """
    context: Context = ctx.obj
    if name not in KNOWN:
        raise Refused(f"one of {', '.join(KNOWN)}", name)
    found = password(Identities(access or context.home.access).seed(name))
    context.output.data({"user": name, "password": found}, found)


def _save(store: TrustStore, file: Path) -> None:
    """Whoever reads it meanwhile has the list before or this one."""
    new = file.with_name(f"{file.name}.new")
    store.save(new)
    new.replace(file)


def generate_keys(home: Home, out: Path | None = None) -> dict[str, Path]:
    """New keys and the list of trusted ones.

    Raises:
        Refused: there are keys already; they are never overwritten.
    """
    folder = out or home.keys
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / name for name in (*(f"{role}.key" for role in Role), "trusted.json")}
    for path in paths.values():
        if path.exists():
            raise Refused("no keys yet", f"{path}", "keep them, or move them away first")
    keys = {role: SigningKey.generate() for role in Role}
    for role, key in keys.items():
        key.save(paths[f"{role}.key"])
    TrustStore.of(**{role.value: key.public for role, key in keys.items()}).save(paths["trusted.json"])
    return paths


def agent_run(ctx: typer.Context) -> None:
    """Run the executor of one node in the foreground; settings come from BUMPLESS_EXECUTOR_* variables.

    Example: BUMPLESS_EXECUTOR_NODE=web-1 BUMPLESS_EXECUTOR_ADDRESS=10.0.0.5 ... bumpless agent run
    """
    from bumpless.executor.launcher import main

    main()
