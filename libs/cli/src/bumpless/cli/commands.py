"""All commands of `bumpless`, and the options they share."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup
from typer.main import get_command

from bumpless.cli import artifact_commands
from bumpless.cli.context import Context
from bumpless.cli.home import Home
from bumpless.cli.lazy import MARKUP, LazyCommand
from bumpless.cli.output import Format, Output

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=MARKUP,
    pretty_exceptions_enable=False,
    help="Upgrade a running product on many nodes without a bump, and take it back in seconds when it is worse.",
)


@app.callback()
def options(
    ctx: typer.Context,
    home: Annotated[
        Path | None, typer.Option(help="Where `bumpless up` keeps everything.", envvar="BUMPLESS_HOME")
    ] = None,
    nats: Annotated[
        str | None,
        typer.Option(help="The broker, where it is not the embedded one.", envvar="BUMPLESS_NATS_URL"),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Where packages lie, where it is not the broker: file:///…, s3://… (docs/stores.md).",
            envvar="BUMPLESS_STORE_URL",
        ),
    ] = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="How results are printed.")] = Format.TABLE,
    color: Annotated[bool, typer.Option("--color/--no-color", help="Colour on terminals.")] = True,
    debug: Annotated[bool, typer.Option(help="Show tracebacks.")] = False,
) -> None:
    context = ctx.obj = Context(Home.find(home), nats, Output(output, color), debug, store)
    if ctx.invoked_subcommand != artifact_commands.NAME:  # they log nothing, unless they ask for a client
        context.configure_logging()


def command() -> TyperGroup:
    """`bumpless` with all its commands."""
    found = get_command(app)
    assert isinstance(found, TyperGroup)
    for part in (
        LazyCommand("up", "control_commands", "Start the whole control plane on this machine: broker, store, services; and local nodes."),
        LazyCommand("down", "control_commands", "Stop what `bumpless up` started, the services on local nodes included."),
        LazyCommand("plan", "plan_commands", "Show what a release would do on the fleet as it is now, without doing it."),
        LazyCommand("stage", "stage_commands", "Prove that every node a release would reach can take it: fetch, rebuild and verify there, and remove it again."),
        LazyCommand("apply", "release_commands", "Start a release and follow it to its end."),
        LazyCommand("status", "rollout_commands", "Where a rollout is, why, since when and until when; waits for its end, an automatic revert included."),
        LazyCommand("pause", "operator_commands", "Start no further batch; those under way come to rest."),
        LazyCommand("resume", "operator_commands", "Go on after a pause."),
        LazyCommand("promote", "operator_commands", "Take a baking batch as passed, without waiting for its gate."),
        LazyCommand("abort", "operator_commands", "Stop a rollout as failed; its rollback policy decides what follows."),
        LazyCommand("approve", "operator_commands", "Let a rollout start that waits for approval of its plan, or one batch of it."),
        LazyCommand("deny", "operator_commands", "Refuse what waits for approval: the rollout is cancelled; a batch fails, and the rollback policy decides."),
        LazyCommand("retry", "operator_commands", "Plan the same release again, from what the fleet runs now."),
        LazyCommand("waive", "statement_commands", "Sign that one finding of one release may pass until a moment; `apply --waiver` takes the file."),
        LazyCommand("rehearsed", "statement_commands", "Sign that a release succeeded on this fleet, for another fleet that asks for a rehearsal."),
        LazyCommand("rollback", "rollback_command", "Take back what a rollout did, in reverse order; works while the planner is down."),
        LazyCommand("doctor", "doctor_command", "Look at the whole deployment: broker, state store, keys, services, nodes, clocks, parked messages, certificates."),
        LazyCommand("backup", "backup_commands", "Write keys, settings, and every stream and bucket of the broker into one file, while all goes on."),
        LazyCommand("restore", "backup_commands", "Fill an empty broker from a backup, and put keys and settings where they are missing."),
        LazyCommand("keys", "control_commands", "Signing keys."),
        LazyCommand("agent", "control_commands", "The executor of one node."),
        artifact_commands.group(),
        LazyCommand("release", "release_commands", "Releases."),
        LazyCommand("compat", "compat_commands", "What fits together: levels, paths, and what changes for callers."),
        LazyCommand("contract", "contract_commands", "Contracts of consumers and providers (Pact): verified, and where they stand."),
        LazyCommand("config", "config_commands", "Configuration files of components: checked, carried from version to version, rendered for a mixed fleet."),
        LazyCommand("record", "record_commands", "Records of a release's types: checked, and moved from version to version."),
        LazyCommand("rollout", "rollout_commands", "Rollouts: what goes on, what went on."),
        LazyCommand("gate", "gate_commands", "Gates without a rollout: what they would read, recorded traces, simulated traffic."),
        LazyCommand("fleet", "fleet_commands", "Nodes, and what runs on them."),
        LazyCommand("drill", "drill_commands", "Drills: a fault injected into one node, and what came of it."),
        LazyCommand("cluster", "cluster_commands", "A broker of three servers: configuration and certificates."),
        LazyCommand("node", "node_commands", "Nodes: their keys, and what is installed on them."),
        LazyCommand("alert", "alert_commands", "Alerts: what is wrong, who takes care of it, and what is silenced."),
        LazyCommand("webhook", "webhook_commands", "Webhooks to other tools: how deliveries stand."),
        LazyCommand("dashboard", "dashboard_commands", "The dashboard: who may log in, and links that do."),
        LazyCommand("events", "fleet_commands", "Events from the broker."),
    ):  # fmt: skip
        found.add_command(part)
    return found


def run(words: Sequence[str]) -> int:
    """Run the command in `words`; what is wrong with the words themselves is told here. Returns the exit code."""
    try:
        code = command()(words, standalone_mode=False)
    except typer.TyperException as error:
        if not error.format_message():  # no command at all: the help has been shown
            return 0
        print(f"error: {error.format_message()} (--help shows what there is)", file=sys.stderr)
        return 1
    except typer.Abort:
        return 130
    return code if isinstance(code, int) else 0
