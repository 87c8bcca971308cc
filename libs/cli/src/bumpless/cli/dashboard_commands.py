"""`dashboard user` and `dashboard link`: who may log in to the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli.client import whoami
from bumpless.cli.context import Context
from bumpless.cli.home import Home
from bumpless.cli.output import records, table
from bumpless.common.errors import Refused
from bumpless.common.shell import clock
from bumpless.dashboard.one_time import link as link_to
from bumpless.dashboard.one_time import make_token, secret_at
from bumpless.dashboard.users import Role, User, read_users, write_users

FileOpt = Annotated[
    Path | None, typer.Option("--users", help="The users file; the home directory's by default.")
]


def register(app: typer.Typer) -> None:
    dashboard = typer.Typer(no_args_is_help=True, help="The dashboard: who may log in, and links that do.")
    user = typer.Typer(no_args_is_help=True, help="Who may log in, with a password.")
    user.command("add")(user_add)
    user.command("list")(user_list)
    user.command("remove")(user_remove)
    dashboard.add_typer(user, name="user")
    dashboard.command("link")(link)
    app.add_typer(dashboard, name="dashboard")


def user_add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The name to log in with.")],
    role: Annotated[
        list[Role], typer.Option(help="viewer looks, operator orders, approver approves (repeatable).")
    ],
    password_file: Annotated[
        Path | None, typer.Option(help="A file whose first line is the password; else it is asked for.")
    ] = None,
    users: FileOpt = None,
) -> None:
    """Let somebody log in, or change the password and roles of who may.

    Example: bumpless dashboard user add ada --role operator --role approver
    """
    context: Context = ctx.obj
    path = users or context.home.dashboard_users
    known = read_users(path)
    if password_file is None:
        password = str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    else:
        password = password_file.read_text().partition("\n")[0]
    write_users(path, known.with_user(User.of(name, role, password)))
    roles = ", ".join(sorted(set(role)))
    context.output.data(
        {"name": name, "roles": roles, "users": str(path)}, f"{name} may log in as {roles}; {path}\n"
    )


def user_list(ctx: typer.Context, users: FileOpt = None) -> None:
    """Who may log in, and as what.

    Example: bumpless dashboard user list
    """
    context: Context = ctx.obj
    found = read_users(users or context.home.dashboard_users).users
    columns = ["Name", "Roles"]
    rows = [[name, ", ".join(sorted(user.roles))] for name, user in sorted(found.items())]
    context.output.data(records(columns, rows), table(columns, rows))


def user_remove(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose access ends, sessions that are open included.")],
    users: FileOpt = None,
) -> None:
    """End somebody's access.

    Example: bumpless dashboard user remove ada
    """
    context: Context = ctx.obj
    path = users or context.home.dashboard_users
    write_users(path, read_users(path).without(name))
    context.output.data({"name": name, "users": str(path)}, f"{name} may no longer log in\n")


def link(ctx: typer.Context) -> None:
    """A link that logs whoever opens it in as you, once, within ten minutes, as operator and approver.

    Example: bumpless dashboard link
    """
    context: Context = ctx.obj
    made = login_link(context.home)
    context.output.data({"link": made}, made + "\n")


def login_link(home: Home) -> str:
    """Raises: Refused, where no control plane with a dashboard runs."""
    cluster = home.cluster()
    if cluster is None or "dashboard" not in cluster:
        raise Refused(
            f"a control plane with a dashboard in {home.path}", "none", "start one with `bumpless up`"
        )
    return link_to(cluster["dashboard"], make_token(secret_at(home.dashboard_secret), whoami(), clock.now()))
