"""`webhook list|dead-letters`: how deliveries to other tools stand, as the broker has it."""

from __future__ import annotations

from typing import Any

import typer

from bumpless.cli.client import Client
from bumpless.cli.context import Context
from bumpless.cli.output import table
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.subjects import Stream
from bumpless.common.shell.reading import readable
from bumpless.common.shell.topology import webhook_backlogs

PARKED_BY = "events"


def register(app: typer.Typer) -> None:
    webhook = typer.Typer(no_args_is_help=True, help="Webhooks to other tools: how deliveries stand.")
    webhook.command("list")(list_webhooks)
    webhook.command("dead-letters")(deadletters)
    app.add_typer(webhook, name="webhook")


def list_webhooks(ctx: typer.Context) -> None:
    """Every webhook with what waits for it, how its latest delivery went, and how many were given up.

    Example: bumpless webhook list
    """
    context: Context = ctx.obj
    rows = context.with_client(states)
    columns = ["Webhook", "Waiting", "Being tried", "Given up", "Latest", "Next try", "Said"]
    fields = ("webhook", "waiting", "being_tried", "given_up", "latest", "due", "detail")
    context.output.data(rows, table(columns, [[row[field] for field in fields] for row in rows]))


def deadletters(ctx: typer.Context) -> None:
    """Deliveries and triggers that were given up in the last 30 days, each with the reason.

    Example: bumpless webhook dead-letters --output json
    """
    context: Context = ctx.obj
    rows = [
        {
            "at": letter.at.isoformat(),
            "subject": letter.subject,
            "event": letter.headers.get("ce-id", ""),
            "type": letter.headers.get("ce-type", ""),
            "reason": letter.reason,
        }
        for letter in context.with_client(letters)
    ]
    context.output.data(
        rows, table(["At", "Subject", "Reason"], [[r["at"], r["subject"], r["reason"]] for r in rows])
    )


async def letters(client: Client) -> list[e.MessageParked]:
    """What the events service gave up."""
    wanted = subjects.subject_for(e.MessageParked, service=PARKED_BY)
    return readable(
        await client.connection.snapshot(Stream.DLQ, wanted, history=True),
        e.MessageParked,
    )


async def states(client: Client) -> list[dict[str, Any]]:
    """Every webhook that has a consumer, in JSON types."""
    tried = {
        message.webhook: message
        for message in readable(
            await client.connection.snapshot(Stream.PROG, subjects.subject_for(e.WebhookTried)),
            e.WebhookTried,
        )
    }
    reasons = [letter.reason for letter in await letters(client)]
    found = []
    for name, backlog in (await webhook_backlogs(client.connection)).items():
        latest = tried.get(name)
        found.append(
            {
                "webhook": name,
                "waiting": backlog.waiting,
                "being_tried": backlog.being_tried,
                "given_up": sum(reason.startswith(f"webhook {name}: ") for reason in reasons),
                "latest": None if latest is None else ("delivered" if latest.ok else "failed"),
                "event": None if latest is None else latest.event,
                "tries": None if latest is None else latest.tries,
                "due": None if latest is None or latest.due is None else latest.due.isoformat(),
                "detail": "" if latest is None else latest.detail,
            }
        )
    return found
