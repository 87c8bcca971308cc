"""`waive` and `rehearsed`: statements that are signed here, and given along with an announcement."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bumpless.common.errors import Refused
from bumpless.common.model.finding import Code

if TYPE_CHECKING:
    from bumpless.cli.client import Client
    from bumpless.cli.context import Context
    from bumpless.common.artifacts.signing import SigningKey
    from bumpless.common.model.statement import Rehearsed, Said, Waiver

_SPAN = re.compile(r"^(\d+)([smhd])$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
OutOpt = Annotated[Path | None, typer.Option(help="Where the signed statement is written.")]


def register(app: typer.Typer) -> None:
    app.command("waive")(waive)
    app.command("rehearsed")(rehearsed)


def waive(
    ctx: typer.Context,
    code: Annotated[str, typer.Argument(help="The code of the finding.")],
    subject: Annotated[str, typer.Argument(help="Its subject, as it is shown; '*' for all of the code.")],
    release: Annotated[str, typer.Option(help="The digest of the release, as a refusal shows it.")],
    reason: Annotated[str, typer.Option(help="Why it may pass.")],
    until: Annotated[str, typer.Option(help="When it ends: 2026-12-01T18:00+01:00, or 30m, 4h, 2d.")],
    key: Annotated[Path | None, typer.Option(help="The waiver key.")] = None,
    out: OutOpt = None,
) -> None:
    """Sign that one finding of one release may pass until a moment; `apply --waiver` takes the file.

    Example: bumpless waive WINDOW 'the fleet' --release sha256:... --reason 'incident 41' --until 2h
    """
    from bumpless.cli.client import whoami
    from bumpless.common.contract.base import Digest
    from bumpless.common.model.statement import Waiver
    from bumpless.common.shell import clock

    context: Context = ctx.obj
    if code not in Code.__members__:
        raise Refused("a code of docs/preflight.md", code)
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", release):
        raise Refused("--release sha256: and 64 hex digits", release, "a refusal of the release shows it")
    if not reason.strip():
        raise Refused("a --reason", "an empty one")
    now = clock.now()
    expires = moment(until, now)
    if expires <= now:
        raise Refused("--until in the future", f"{expires:%Y-%m-%d %H:%M} UTC")
    said = Waiver(
        release=Digest(release),
        code=Code(code),
        subject=subject,
        by=whoami(),
        reason=reason,
        expires=expires,
    )
    _write(context, said, signing_key(context, key, "waiver"), out or Path(f"waiver-{code}.json"))


def rehearsed(
    ctx: typer.Context,
    fleet: Annotated[str, typer.Option(help="The name of this fleet, as the other one's rules have it.")],
    rollout: Annotated[str | None, typer.Argument(help="A rollout's id; the latest by default.")] = None,
    key: Annotated[Path | None, typer.Option(help="The rehearsal key.")] = None,
    out: OutOpt = None,
) -> None:
    """Sign that a release succeeded on this fleet, for another fleet that asks for a rehearsal.

    Example: bumpless rehearsed --fleet staging
    """
    from bumpless.cli.client import whoami
    from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
    from bumpless.common.contract import events as e
    from bumpless.common.contract import subjects
    from bumpless.common.contract.subjects import Stream
    from bumpless.common.model.plan import Direction
    from bumpless.common.model.statement import Rehearsed
    from bumpless.common.shell import clock
    from bumpless.common.shell.reading import readable
    from bumpless.common.shell.rollouts import Plans

    context: Context = ctx.obj

    async def work(client: Client) -> Rehearsed:
        chosen = await client.find(rollout)
        known = await client.rollouts()
        ended = next((r for r in known if r.rollout == chosen and r.direction is Direction.FORWARD), None)
        reverted = any(r.of == chosen for r in known)
        if ended is None or ended.status != "succeeded" or reverted:
            found = "it was reverted" if reverted else "no such rollout" if ended is None else ended.status
            raise Refused(f"rollout {chosen} to have succeeded", found)
        items = await client.connection.snapshot(
            Stream.RO, subjects.subject_for(e.RolloutPlanned, rollout=chosen), history=True
        )
        planned = readable(items, e.RolloutPlanned)
        if not planned:
            raise Refused(f"the log of rollout {chosen}", "none; it is no longer kept")
        plan = await Plans(JetStreamBlobs(client.connection.js, subjects.PLAN_BUCKET)).get(
            planned[0].plan_hash
        )
        return Rehearsed(
            release=plan.release_digest, fleet=fleet, rollout=chosen, by=whoami(), at=clock.now()
        )

    said = context.with_client(work)
    _write(context, said, signing_key(context, key, "rehearsal"), out or Path(f"rehearsed-on-{fleet}.json"))


def moment(text: str, now: datetime) -> datetime:
    """Raises: Refused, for what is neither a moment nor a span."""
    if found := _SPAN.match(text):
        return now + timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        said = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused("a moment such as 2026-12-01T18:00+01:00, or 30m, 4h, 2d", text) from error
    return (said if said.tzinfo is not None else said.replace(tzinfo=UTC)).astimezone(UTC)


def read_statements(paths: list[Path] | None) -> tuple[str, ...]:
    """Signed statements as they are announced; who signed them is for the planner to judge. Raises: Refused."""
    from bumpless.common.contract.envelope import Envelope

    texts = []
    for path in paths or []:
        try:
            texts.append(Envelope.from_bytes(path.read_bytes()).to_bytes().decode())
        except FileNotFoundError as error:
            raise Refused("a signed statement", f"nothing at {path}") from error
        except ValueError as error:
            raise Refused(
                f"a signed statement in {path}", str(error), "`bumpless waive` writes one"
            ) from error
    return tuple(texts)


def signing_key(context: Context, given: Path | None, role: str) -> SigningKey:
    """The key of `role` in the home, if none is given. Raises: Refused, where there is none."""
    from bumpless.common.artifacts.signing import SigningKey

    path = given or context.home.keys / f"{role}.key"
    if not path.exists():
        raise Refused(
            f"a key that may sign a {role}",
            f"nothing at {path}",
            f"name one with --key; `bumpless keys generate --role {role}` makes one",
        )
    return SigningKey.load(path)


def write_statement(said: Said, key: SigningKey, out: Path) -> None:
    from bumpless.common.contract.base import canonical_json
    from bumpless.common.contract.envelope import STATEMENT_TYPE

    out.write_bytes(key.sign(STATEMENT_TYPE, canonical_json(said.model_dump(mode="json"))).to_bytes() + b"\n")


def _write(context: Context, said: Waiver | Rehearsed, key: SigningKey, out: Path) -> None:
    write_statement(said, key, out)
    context.output.data({"file": str(out), **said.model_dump(mode="json")}, f"{out}\n")
