"""`node enroll`, `node rotate`, `node revoke`, `node list`: the keys with which nodes come to the broker. `node install` is in `install_commands.py`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli.context import Context
from bumpless.cli.home import Home
from bumpless.cli.identities import Identities
from bumpless.cli.install_commands import node_install
from bumpless.cli.output import records, table
from bumpless.common.errors import Refused

NameArg = Annotated[str, typer.Argument(help="The node's name.")]
FolderOpt = Annotated[
    Path | None, typer.Option("--access", help="Folder of the identities; the home directory's by default.")
]
PidOpt = Annotated[
    Path | None,
    typer.Option("--pid-file", help="Of a nats-server on this machine, which then reads its accounts again."),
]


def register(app: typer.Typer) -> None:
    node = typer.Typer(no_args_is_help=True, help="Nodes: their keys, and what is installed on them.")
    node.command("enroll")(node_enroll)
    node.command("rotate")(node_rotate)
    node.command("revoke")(node_revoke)
    node.command("list")(node_list)
    node.command("install")(node_install)
    app.add_typer(node, name="node")


def node_enroll(ctx: typer.Context, name: NameArg, access: FolderOpt = None, pid_file: PidOpt = None) -> None:
    """Make the key of a node, and let it in.

    Example: bumpless node enroll web-7
    """
    known = _identities(ctx, access)
    seed = known.enroll(_token(name))
    _tell(ctx, known, name, "enrolled", str(seed), pid_file)


def node_rotate(
    ctx: typer.Context,
    name: NameArg,
    finish: Annotated[bool, typer.Option("--finish", help="The old key is good no longer.")] = False,
    access: FolderOpt = None,
    pid_file: PidOpt = None,
) -> None:
    """Make another key for a node; the old one is good until --finish.

    Example: bumpless node rotate web-7; then move the key, restart its executor, and: bumpless node rotate web-7 --finish
    """
    known = _identities(ctx, access)
    if finish:
        known.settle(_token(name))
    else:
        known.rotate(_token(name))
    _tell(ctx, known, name, "settled" if finish else "rotated", str(known.seed(name, "nodes")), pid_file)


def node_revoke(ctx: typer.Context, name: NameArg, access: FolderOpt = None, pid_file: PidOpt = None) -> None:
    """Shut a node out: its connection is closed, and its key is good no longer.

    Example: bumpless node revoke web-7
    """
    known = _identities(ctx, access)
    known.revoke(_token(name))
    _tell(ctx, known, name, "revoked", "", pid_file)


def node_list(ctx: typer.Context, access: FolderOpt = None) -> None:
    """The nodes that have, or had, a key.

    Example: bumpless node list
    """
    context: Context = ctx.obj
    columns = ["node", "state", "key"]
    rows = [
        [name, ("revoked", "enrolled", "rotating")[min(len(keys), 2)], keys[-1] if keys else ""]
        for name, keys in sorted(_identities(ctx, access).nodes().items())
    ]
    context.output.data(records(columns, rows), table(columns, rows))


def _identities(ctx: typer.Context, access: Path | None) -> Identities:
    context: Context = ctx.obj
    return Identities(access or context.home.access)


def _tell(
    ctx: typer.Context, known: Identities, name: str, done: str, seed: str, pid_file: Path | None
) -> None:
    context: Context = ctx.obj
    reloaded = _reload(pid_file) if pid_file is not None else _reload_own(context.home, known)
    context.output.data(
        {"node": name, "state": done, "seed": seed, "accounts": str(known.accounts), "reloaded": reloaded},
        f"{name} {done}" + (f"; its key is in {seed}" if seed and done != "settled" else "") + "\n",
    )
    if not reloaded:
        context.output.say(
            f"not in force yet: give {known.accounts} to every nats-server, and have it read it again "
            "(`nats-server --signal reload`)"
        )


def _reload(pid_file: Path) -> bool:
    """Have a server on this machine read its accounts again; False where it does not run.

    Raises:
        Refused: the file has no process id.
    """
    try:
        return _told(int(pid_file.read_text()))
    except (OSError, ValueError) as error:
        raise Refused(f"the process id of a nats-server in {pid_file}", str(error)) from error


def _reload_own(home: Home, known: Identities) -> bool:
    """The same with the broker that `bumpless up` started here, where these are its identities."""
    pid = ((home.cluster() or {}).get("parts") or {}).get("nats")
    return isinstance(pid, int) and known.folder.resolve() == home.access.resolve() and _told(pid)


def _told(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        return False
    return True


def _token(name: str) -> str:
    if not name or not set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_"):
        raise Refused("the name of a node: lower case letters, digits, - and _", name or "nothing")
    return name
