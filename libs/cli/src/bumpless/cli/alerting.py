"""A person's side of alerts: what there is, and commands with their one answer."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

from bumpless.cli.client import Client
from bumpless.common.contract import alerts as a
from bumpless.common.contract import wire
from bumpless.common.contract.subjects import Stream, subject_for
from bumpless.common.errors import Refused, Retryable
from bumpless.common.model.alert import Alert, Silence, SilenceMatcher
from bumpless.common.model.gate import parse_selector
from bumpless.common.shell.answers import ANSWER_S
from bumpless.common.shell.broker import Received
from bumpless.common.shell.reading import read, readable

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


async def alerts(client: Client) -> list[a.AlertChanged]:
    """What became last of every alert, the worst and latest first."""
    items = await client.connection.snapshot(Stream.ALR, subject_for(a.AlertChanged))
    found = readable(items, a.AlertChanged)
    return sorted(
        found, key=lambda m: (not m.alert.active, -m.alert.severity.rank, -m.alert.since.timestamp())
    )


async def find(client: Client, given: str) -> Alert:
    """The alert whose fingerprint begins so, or the one active alert of that name.

    Raises:
        Refused: none, or more than one.
    """
    known = [message.alert for message in await alerts(client)]
    found = [alert for alert in known if alert.fingerprint.startswith(given)]
    found = found or [alert for alert in known if alert.name == given and alert.active]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{alert.fingerprint} ({alert.name})" for alert in (found or known)[:5]) or "none"
    raise Refused(
        f"one alert whose fingerprint begins with {given}, or one active of that name",
        str(len(found)),
        f"there are: {names}",
    )


async def history(client: Client, fingerprint: str) -> list[a.AlertChanged]:
    wanted = subject_for(a.AlertChanged, fingerprint=fingerprint)
    return readable(await client.connection.snapshot(Stream.ALR, wanted, history=True), a.AlertChanged)


async def silences(client: Client) -> list[Silence]:
    items = await client.connection.snapshot(Stream.ALR, subject_for(a.SilenceChanged))
    found = [message.silence for message in readable(items, a.SilenceChanged)]
    return sorted(found, key=lambda silence: silence.ends_at, reverse=True)


async def ask(
    client: Client, command: a.AlertingCommand, about: str, limit_s: float = ANSWER_S
) -> a.AlertingAnswered:
    """Give a command and wait for its one answer.

    Raises:
        Refused: the answer is no.
        Retryable: nobody answered in time; the command is kept.
    """
    answered: asyncio.Future[a.AlertingAnswered] = asyncio.get_running_loop().create_future()

    async def heard(item: Received) -> None:
        message = read(item)
        if isinstance(message, a.AlertingAnswered) and message.cause == command.id and not answered.done():
            answered.set_result(message)

    listening = await client.connection.subscribe(subject_for(a.AlertingAnswered, about=about), heard)
    try:
        await client.connection.nc.flush()
        await client.connection.publish(command, source="operator")
        answer = await asyncio.wait_for(answered, limit_s)
    except TimeoutError as error:
        raise Retryable(
            f"expected an answer from the alerts service within {limit_s:g} s, found none; the command is kept and "
            "will be carried out when it is back"
        ) from error
    finally:
        await listening.unsubscribe()
    if not answer.accepted:
        raise Refused(f"{wire.type_of(command)} of {about} to be accepted", "a refusal", answer.text)
    return answer


def matchers(selector: str) -> tuple[SilenceMatcher, ...]:
    """A selector such as `alertname="NodeDown",node=~"web-.*"` in Alertmanager's shape."""
    try:
        found = parse_selector(selector)
    except ValueError as error:
        raise Refused('matchers such as alertname="NodeDown",node=~"web-.*"', selector, str(error)) from error
    return tuple(
        SilenceMatcher(
            name=m.label, value=m.value, is_regex=m.operator.endswith("~"), is_equal=m.operator[0] != "!"
        )
        for m in found
    )


def told(found: tuple[SilenceMatcher, ...]) -> str:
    signs = {(False, True): "=", (False, False): "!=", (True, True): "=~", (True, False): "!~"}
    return ",".join(f'{m.name}{signs[m.is_regex, m.is_equal]}"{m.value}"' for m in found)


def duration(text: str) -> timedelta:
    """`90s`, `30m`, `2h`, `7d`. Raises: Refused."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None:
        raise Refused("a duration such as 30m, 2h or 7d", text)
    return timedelta(seconds=int(found[1]) * UNITS[found[2]])
