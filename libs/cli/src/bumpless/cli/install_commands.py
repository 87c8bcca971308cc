"""`node install`: units and settings of an executor, or of parts of the control plane, on the machine it is run on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli import installing
from bumpless.cli.context import Context
from bumpless.cli.installing import EXECUTOR, Broker, NodeParts
from bumpless.cli.output import records, table
from bumpless.cli.units import GROUP, PREFIX
from bumpless.common.errors import Refused

START_S = 330
"""A unit has 300 s to be ready."""


def node_install(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="The node, if this machine is to have an executor.")
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help=f"A part of the control plane: {', '.join(installing.PARTS)}. May be repeated."),
    ] = None,
    nats: Annotated[
        str, typer.Option("--broker", help="The broker as this machine calls it.")
    ] = "nats://127.0.0.1:4222",
    trust: Annotated[
        Path | None, typer.Option(help="File with the keys that may release and deploy; for an executor.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="The node's key, from `bumpless node enroll`.")] = None,
    access: Annotated[
        Path | None, typer.Option("--access", help="Folder of the identities, with the keys of services.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="Authorities (PEM) that vouch for the broker.")] = None,
    address: Annotated[str, typer.Option(help="What other nodes reach this one by.")] = "127.0.0.1",
    label: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, of the node. May be repeated.")] = None,
    prefix: Annotated[Path, typer.Option(help="The virtual environment with Bumpless in it.")] = PREFIX,
    root: Annotated[
        Path, typer.Option(help="Write below this folder, and start nothing: for an image of a machine.")
    ] = Path("/"),
    replace: Annotated[
        bool, typer.Option("--replace", help="Also settings and keys that are there and say something else.")
    ] = False,
    start: Annotated[bool, typer.Option(help="Have systemd start them, now and at every boot.")] = True,
) -> None:
    """Write the systemd units and settings of an executor, or of parts of the control plane, and start them.

    Run it again after an upgrade of Bumpless: services of the node go on, settings and keys stay.

    Example: bumpless node install web-1 --broker tls://10.0.0.1:4222 --trust trusted.json --key web-1.seed --ca ca.pem
    """
    context: Context = ctx.obj
    broker = Broker(nats, ca, access)
    parts = list(part or [])
    files = installing.control_files(parts, broker, prefix)
    if name is not None:
        if trust is None:
            raise Refused("--trust FILE", "none", "an executor obeys only what those keys have signed")
        node = NodeParts(name, trust, key, address, _pairs(label or []))
        files += installing.node_files(node, broker, prefix)
    if not files:
        raise Refused("the name of a node, or --part", "neither", "see bumpless node install --help")
    if root == Path("/") and start:
        _usable(prefix)
    done = installing.write(root, files, replace=replace)
    missing = installing.lacking(root, parts)
    names = [*parts, *([EXECUTOR] if name is not None else [])]
    begun = [f"bumpless-{each}.service" for each in names if each not in missing]
    if root == Path("/") and start:
        _start(begun)
    else:
        begun = []
    rows = [[path, what] for path, what in done.items()]
    context.output.data(
        {"files": records(["path", "done"], rows), "started": begun, "missing": missing},
        table(["file", "done"], rows),
    )
    for each, lacks in missing.items():
        context.output.say(f"{each} is not started: it needs {', '.join(lacks)}; then run this again")
    if "kept" in done.values():
        context.output.say("kept: it says something else than would be written; --replace writes it anew")


def _usable(prefix: Path) -> None:
    """Raises: Refused: systemd would find nothing to start."""
    if shutil.which("systemctl") is None:
        raise Refused("a machine that systemd runs", "no systemctl", "--no-start writes the files only")
    if not (prefix / "bin" / "python").exists():
        raise Refused(
            f"Bumpless in {prefix}",
            "no virtual environment",
            f"python3 -m venv {prefix}, and install it there, or give --prefix",
        )


def _start(names: Sequence[str]) -> None:
    """Raises: Refused: systemd says no."""
    _run("systemd-sysusers", "--inline", f"g {GROUP} -")
    _run("systemctl", "daemon-reload")
    _run("systemctl", "enable", "--quiet", *names)
    _run("systemctl", "restart", *names)


def _run(*command: str) -> None:
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=START_S)
    except subprocess.TimeoutExpired as error:
        raise Refused(
            f"`{' '.join(command)}` to end within {START_S} s", "it did not", "see journalctl"
        ) from error
    if run.returncode != 0:
        said = (run.stderr or run.stdout).strip() or f"exit status {run.returncode}"
        raise Refused(
            f"`{' '.join(command)}` to succeed", said, "see `systemctl status` and `journalctl -xe`"
        )


def _pairs(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not (name and sign and value):
            raise Refused("NAME=VALUE", each)
        found[name] = value
    return found
