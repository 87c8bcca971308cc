"""`cluster init`, `cluster renew`: the files of a broker of three servers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli.cluster_files import Cluster, ClusterFolder, Server
from bumpless.cli.context import Context
from bumpless.cli.identities import ACCOUNTS
from bumpless.cli.output import records, table
from bumpless.common.errors import Refused
from bumpless.common.shell import clock

FolderArg = Annotated[Path, typer.Argument(help="Where the files of the cluster lie.")]
DaysOpt = Annotated[int, typer.Option(help="How long certificates hold.", min=1, max=3650)]
DAYS = 365


def register(app: typer.Typer) -> None:
    cluster = typer.Typer(
        no_args_is_help=True, help="A broker of three servers: configuration and certificates."
    )
    cluster.command("init")(cluster_init)
    cluster.command("renew")(cluster_renew)
    app.add_typer(cluster, name="cluster")


def cluster_init(
    ctx: typer.Context,
    folder: FolderArg,
    server: Annotated[
        list[str], typer.Option(help="NAME=HOST, once for each server; NAME=HOST:PORT:ROUTES_PORT.")
    ],
    name: Annotated[str, typer.Option(help="The cluster's name.")] = "bumpless",
    access: Annotated[
        Path | None, typer.Option(help="Folder of the identities that are let in; none: everybody is.")
    ] = None,
    at: Annotated[
        str, typer.Option(help="Where its files lie on each host; {name} is the server's.")
    ] = "/etc/bumpless",
    store: Annotated[
        str, typer.Option(help="Where each server keeps streams; {name} is the server's.")
    ] = "/var/lib/bumpless-nats",
    days: DaysOpt = DAYS,
) -> None:
    """Write a folder for each of three nats-servers: configuration, key and certificate; and an authority for all.

    Example: bumpless cluster init cluster --server nats-1=10.0.0.1 --server nats-2=10.0.0.2 --server nats-3=10.0.0.3 --access access
    """
    accounts = None if access is None else access / ACCOUNTS
    if accounts is not None and not accounts.exists():
        raise Refused(
            f"identities in {access}",
            f"no {ACCOUNTS}",
            "make some with `bumpless node enroll NAME --access DIR`",
        )
    cluster = Cluster(name, tuple(Server.given(each) for each in server), at, store)
    kept = ClusterFolder(folder)
    kept.init(cluster, accounts, clock.now(), days)
    _tell(ctx, kept, cluster)


def cluster_renew(ctx: typer.Context, folder: FolderArg, days: DaysOpt = DAYS) -> None:
    """Make new certificates for the servers, by the same authority and for the same keys.

    Example: bumpless cluster renew cluster; then move each server.pem, and: nats-server --signal reload
    """
    kept = ClusterFolder(folder)
    _tell(ctx, kept, kept.renew(clock.now(), days))


def _tell(ctx: typer.Context, kept: ClusterFolder, cluster: Cluster) -> None:
    context: Context = ctx.obj
    columns = ["server", "address", "folder", "expires"]
    rows = [list(row) for row in kept.rows(cluster)]
    context.output.data(
        {"urls": cluster.urls, "ca": str(kept.ca), "servers": records(columns, rows)}, table(columns, rows)
    )
    context.output.say(f"clients: NATS_URL={cluster.urls} and NATS_CA, a copy of {kept.ca}")
