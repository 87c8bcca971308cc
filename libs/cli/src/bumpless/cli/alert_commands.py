"""`alert list|show|ack|check|test-channel` and `alert silence add|list|expire`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from bumpless.cli import alerting
from bumpless.cli.client import Client, whoami
from bumpless.cli.context import Context
from bumpless.cli.output import records, table
from bumpless.common.contract import alerts as a
from bumpless.common.errors import Refused
from bumpless.common.model.alert import Alert, Silence
from bumpless.common.shell import clock

TRY_S = 90.0
"""How long a channel may take, an answer included."""


def register(app: typer.Typer) -> None:
    alert = typer.Typer(
        no_args_is_help=True, help="Alerts: what is wrong, who takes care of it, and what is silenced."
    )
    alert.command("list")(list_alerts)
    alert.command("show")(show)
    alert.command("ack")(ack)
    alert.command("check")(check)
    alert.command("test-channel")(test_channel)
    silence = typer.Typer(
        no_args_is_help=True, help="Silences: they mute messages, never verdicts or rollbacks."
    )
    silence.command("add")(add)
    silence.command("list")(list_silences)
    silence.command("expire")(expire)
    alert.add_typer(silence, name="silence")
    app.add_typer(alert, name="alert")


def list_alerts(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
) -> None:
    """Alerts that are pending, firing or acknowledged, the worst first.

    Example: bumpless alert list
    """
    context: Context = ctx.obj
    found = [m.alert for m in context.with_client(alerting.alerts) if every or m.alert.active]
    columns = ["Fingerprint", "Alert", "Severity", "Status", "Since", "Labels", "Muted by", "Reason"]
    rows = [
        [
            alert.fingerprint,
            alert.name,
            alert.severity.value,
            alert.status.value + (f" by {alert.acknowledged.by}" if alert.acknowledged else ""),
            f"{alert.since:%Y-%m-%d %H:%M:%S}",
            _labels(alert),
            ", ".join(alert.muted_by),
            alert.detail,
        ]
        for alert in found
    ]
    raw = [alert.model_dump(mode="json") for alert in found]
    context.output.data(raw, table(columns, rows))


def _labels(alert: Alert) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(alert.labels.items()) if name != "alertname")


def show(
    ctx: typer.Context,
    alert: Annotated[str, typer.Argument(help="The start of its fingerprint, or its name.")],
) -> None:
    """One alert: what is known of it, whom it was told to, what was done, and how it came to that.

    Example: bumpless alert show 3f2a
    """
    context: Context = ctx.obj

    async def work(client: Client) -> tuple[Alert, list[a.AlertChanged]]:
        found = await alerting.find(client, alert)
        return found, await alerting.history(client, found.fingerprint)

    found, changes = context.with_client(work)
    raw: dict[str, Any] = {
        "alert": found.model_dump(mode="json"),
        "history": [{"at": m.at.isoformat(), "status": m.alert.status, "why": list(m.why)} for m in changes],
    }
    context.output.data(raw, _shown(found, changes))


def _shown(alert: Alert, changes: list[a.AlertChanged]) -> str:
    lines = [
        f"{alert.name} {alert.fingerprint}",
        f"  {alert.severity}, {alert.status} since {alert.since:%Y-%m-%d %H:%M:%S} UTC, episode {alert.episode}",
        f"  {alert.detail}",
        *(f"  {name}: {value}" for name, value in sorted({**alert.labels, **alert.annotations}.items())),
    ]
    if alert.acknowledged is not None:
        known = alert.acknowledged
        lines.append(f"acknowledged by {known.by} until {known.until:%H:%M:%S} UTC {known.comment}".rstrip())
    if alert.muted_by:
        lines.append(f"muted by {', '.join(alert.muted_by)} until {alert.muted_until} (messages only)")
    for delivery in alert.deliveries:
        lines.append(
            f"told {delivery.channel} ({delivery.about}, step {delivery.step + 1}): {delivery.status} at {delivery.at:%H:%M:%S}"
            + (f", {delivery.detail}" if delivery.detail else "")
        )
    for action in alert.actions:
        lines.append(f"action {action.name} ({action.do}): {action.status}, {action.detail}")
    lines.append("history:")
    lines += [f"  {m.at:%Y-%m-%d %H:%M:%S} {m.alert.status}: {'; '.join(m.why)}" for m in changes]
    return "\n".join(lines) + "\n"


def ack(
    ctx: typer.Context,
    alert: Annotated[str, typer.Argument(help="The start of its fingerprint, or its name.")],
    comment: Annotated[str, typer.Option(help="For whoever looks at it next.")] = "",
    hold: Annotated[
        str | None, typer.Option("--for", help="How long, such as 30m or 2h; else as its route says.")
    ] = None,
) -> None:
    """Take an alert up: nobody further is told, until the acknowledgement runs out.

    Example: bumpless alert ack 3f2a --comment "the disk is being cleaned" --for 1h
    """
    context: Context = ctx.obj
    hold_s = None if hold is None else alerting.duration(hold).total_seconds()

    async def work(client: Client) -> a.AlertingAnswered:
        found = await alerting.find(client, alert)
        command = a.AcknowledgeAlert(
            id=clock.fresh_id(),
            at=clock.now(),
            by=whoami(),
            alert=found.fingerprint,
            comment=comment,
            hold_s=hold_s,
        )
        return await alerting.ask(client, command, found.fingerprint)

    answer = context.with_client(work)
    context.output.data({"alert": answer.about, "text": answer.text}, f"{answer.about}: {answer.text}\n")


def check(ctx: typer.Context, file: Annotated[Path, typer.Argument(help="The alerts file.")]) -> None:
    """Whether a file would be taken as the alerts file, and what it says.

    Example: bumpless alert check alerts.yaml
    """
    from bumpless.common.alerts_file import read_alerts

    context: Context = ctx.obj
    found = read_alerts(file.read_text(), str(file))
    columns = ["Rule", "Kind", "Severity", "For s"]
    rows = [[rule.name, rule.rule, rule.severity.value, f"{rule.for_s:g}"] for rule in found.every_rule]
    context.output.data(records(columns, rows), table(columns, rows))


def test_channel(ctx: typer.Context, channel: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Have the service send one message, which says that it is a test, through a channel.

    Example: bumpless alert test-channel chat
    """
    context: Context = ctx.obj
    try:
        command = a.TryChannel(id=clock.fresh_id(), at=clock.now(), by=whoami(), channel=channel)
    except ValidationError as error:
        raise Refused("the name of a channel", channel) from error
    answer = context.with_client(lambda client: alerting.ask(client, command, channel, TRY_S))
    context.output.data({"channel": channel, "text": answer.text}, f"{channel}: {answer.text}\n")


def add(
    ctx: typer.Context,
    match: Annotated[str, typer.Argument(help='Matchers: alertname="NodeDown",node=~"web-.*"')],
    hold: Annotated[str, typer.Option("--for", help="How long, such as 30m, 2h or 7d.")],
    comment: Annotated[str, typer.Option(help="Why.")],
    after: Annotated[str | None, typer.Option(help="Begins so long from now; else at once.")] = None,
) -> None:
    """Mute the messages of alerts that fit. Verdicts, actions and rollbacks are the same with and without it.

    Example: bumpless alert silence add 'alertname="NodeDown",node="web-3"' --for 2h --comment "new memory"
    """
    context: Context = ctx.obj
    now = clock.now()
    starts = now if after is None else now + alerting.duration(after)
    number = clock.fresh_id()
    try:
        silence = Silence(
            id=number,
            matchers=alerting.matchers(match),
            starts_at=starts,
            ends_at=starts + alerting.duration(hold),
            created_by=whoami(),
            comment=comment,
        )
    except ValidationError as error:
        raise Refused("a silence", match, error.errors(include_url=False)[0]["msg"]) from error
    command = a.SetSilence(id=clock.fresh_id(), at=now, by=whoami(), silence=silence)
    answer = context.with_client(lambda client: alerting.ask(client, command, number))
    raw = silence.model_dump(mode="json", by_alias=True)
    context.output.data(raw, f"{number}: {answer.text}\n")


def list_silences(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
) -> None:
    """Silences that people made. Windows of the alerts file, and those of batches under way, are shown with the alerts they mute.

    Example: bumpless alert silence list
    """
    context: Context = ctx.obj
    now = clock.now()
    found = [s for s in context.with_client(alerting.silences) if every or s.ends_at > now]
    columns = ["Id", "Matchers", "From", "To", "By", "Comment"]
    rows = [
        [
            s.id,
            alerting.told(s.matchers),
            f"{s.starts_at:%Y-%m-%d %H:%M:%S}",
            f"{s.ends_at:%Y-%m-%d %H:%M:%S}",
            s.created_by,
            s.comment,
        ]
        for s in found
    ]
    context.output.data([s.model_dump(mode="json", by_alias=True) for s in found], table(columns, rows))


def expire(ctx: typer.Context, silence: Annotated[str, typer.Argument(help="The start of its id.")]) -> None:
    """End a silence now.

    Example: bumpless alert silence expire 6f1d
    """
    context: Context = ctx.obj

    async def work(client: Client) -> a.AlertingAnswered:
        known = [s.id for s in await alerting.silences(client) if s.id.startswith(silence)]
        if len(known) != 1:
            raise Refused(f"one silence whose id begins with {silence}", str(len(known)))
        command = a.ExpireSilence(id=clock.fresh_id(), at=clock.now(), by=whoami(), silence_id=known[0])
        return await alerting.ask(client, command, known[0])

    answer = context.with_client(work)
    context.output.data({"silence": answer.about, "text": answer.text}, f"{answer.about}: {answer.text}\n")
