"""`artifact gc`: what no release, rollout or node names any more leaves the store."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from bumpless.cli.client import Client
from bumpless.cli.context import Context
from bumpless.cli.output import records, table
from bumpless.common.artifacts.stores.collect import PlannedRollout, garbage, live_artifacts, live_blobs
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.artifacts.stores.open_store import writable
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.envelope import Envelope
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Refused
from bumpless.common.model.release import Release
from bumpless.common.model.rollout import RolloutStatus
from bumpless.common.shell import clock
from bumpless.common.shell.reading import read
from bumpless.common.shell.rollouts import Plans

ENDED = frozenset({RolloutStatus.SUCCEEDED, RolloutStatus.REVERTED, RolloutStatus.CANCELLED})
"""Nobody goes on from here, unless by naming a kept release: failed and halted ones wait for a person."""


def register(app: typer.Typer) -> None:
    app.command()(gc)


def gc(
    ctx: typer.Context,
    keep_last: Annotated[int, typer.Option(min=1, help="Releases of each product to keep.")] = 5,
    grace_h: Annotated[
        float, typer.Option(min=1, help="Hours for which what was put, or put again, stays in any case.")
    ] = 24,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
) -> None:
    """Remove packages from the store that no kept release, no rollout and no node names.

    Example: bumpless artifact gc --keep-last 3 --dry-run
    """
    context: Context = ctx.obj

    async def work(client: Client) -> None:
        store = writable(client.artifacts)
        before = clock.now() - timedelta(hours=grace_h)
        # First what is there, then what is needed: what is announced in between is needed.
        stored = [blob async for blob in store.stored()]
        artifacts = live_artifacts(
            await _releases(client), await _rollouts(client), await client.fleet(), keep_last=keep_last
        )
        dead = garbage(stored, await live_blobs(artifacts, store), before)
        gone = [blob for blob in dead if dry_run or await store.delete(blob.digest, before=before)]
        swept = 0 if dry_run else await store.sweep(before)
        freed = sum(blob.size for blob in gone) + swept
        columns = ["Digest", "Bytes", "Put"]
        rows: list[list[Any]] = [[b.digest, b.size, f"{b.put_at:%Y-%m-%d %H:%M:%S}"] for b in gone]
        raw = {"removed": records(columns, rows), "bytes": freed, "kept": len(stored) - len(gone)}
        context.output.data({**raw, "dry_run": dry_run}, table(columns, rows))
        verb = "would be removed" if dry_run else "removed"
        context.output.say(f"{len(gone)} of {len(stored)} blobs {verb}, {freed} bytes")

    context.with_client(work)


async def _releases(client: Client) -> list[Release]:
    """Every release that is still in the stream, in the order of the announcements."""
    items = await client.connection.snapshot(
        Stream.REL, subjects.subject_for(e.ReleaseAnnounced), history=True
    )
    found = []
    for item in items:
        message = read(item)
        if not isinstance(message, e.ReleaseAnnounced):
            raise _unknown(f"message {item.sequence} of {Stream.REL}")
        try:
            found.append(Release.model_validate_json(Envelope.from_bytes(message.envelope.encode()).payload))
        except ValueError as error:
            raise _unknown(f"the release {message.digest}") from error
    if not found:
        raise Refused(
            "a release that was announced on this broker",
            "none",
            "nothing was removed; name the broker that belongs to the store with --nats",
        )
    return found


async def _rollouts(client: Client) -> list[PlannedRollout]:
    """Every rollout and revert in the log, with its plan."""
    connection = client.connection
    planned = await connection.snapshot(Stream.RO, subjects.subject_for(e.RolloutPlanned), history=True)
    advanced = await connection.snapshot(Stream.RO, subjects.subject_for(e.RolloutAdvanced))
    status: dict[RolloutId, str] = {}
    for item in advanced:
        message = read(item)
        if not isinstance(message, e.RolloutAdvanced):
            raise _unknown(f"message {item.sequence} of {Stream.RO}")
        status[message.rollout] = message.status
    plans = Plans(JetStreamBlobs(connection.js, subjects.PLAN_BUCKET))
    found = []
    for item in planned:
        message = read(item)
        if not isinstance(message, e.RolloutPlanned):
            raise _unknown(f"message {item.sequence} of {Stream.RO}")
        plan = await plans.get(message.plan_hash)
        found.append(PlannedRollout(plan, ended=status.get(message.rollout) in ENDED))
    return found


def _unknown(what: str) -> Refused:
    return Refused(
        f"{what} in a form that this version reads",
        "another",
        "nothing was removed, because it may name packages; use a newer `bumpless`",
    )
