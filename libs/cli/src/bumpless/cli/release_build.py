"""`release build`: a release signed and uploaded, and the event by which any tool can start it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bumpless.cli.client import Client, whoami
from bumpless.cli.context import Context
from bumpless.cli.publishing import BuiltRelease, upload
from bumpless.cli.release_commands import FileArg, KeyOpt, build
from bumpless.common.artifacts.stores.open_store import writable
from bumpless.common.contract.base import derive_id
from bumpless.common.contract.cdevents import PUBLISHED, CdEvent, Subject, purl
from bumpless.common.contract.cdevents import Context as EventContext
from bumpless.common.shell import clock


def release_build(
    ctx: typer.Context,
    file: FileArg,
    key: KeyOpt = None,
    event: Annotated[Path | None, typer.Option(help="Write the event that starts it here.")] = None,
) -> None:
    """Build, sign and upload a release, and start nothing: whoever publishes the event that this prints does.

    Example: bumpless release build release.yaml --event published.json
    """
    context: Context = ctx.obj

    async def work(client: Client) -> dict[str, Any]:
        built = await build(context, client, file, key)
        sent = await upload(built, client.artifacts, lambda text: None)
        envelope = built.envelope.to_bytes()
        await writable(client.artifacts).put(envelope)
        context.output.say(f"uploaded {sent + len(envelope)} bytes")
        return described(built, envelope)

    found = context.with_client(work)
    if event is not None:
        event.write_text(json.dumps(found["event"], indent=2) + "\n")
    context.output.data(found, f"bumpless-release: {found['envelope_digest']}\n")


def described(built: BuiltRelease, envelope: bytes) -> dict[str, Any]:
    """What was built, and the event that says so."""
    digest = "sha256:" + hashlib.sha256(envelope).hexdigest()
    product, version = built.release.product, built.release.version
    told = CdEvent(
        context=EventContext(
            id=derive_id("published", product, digest),
            source=f"/ci/{whoami()}",
            type=f"{PUBLISHED}0.2.0",
            timestamp=clock.now(),
        ),
        subject=Subject(id=purl(product, version, digest), type="artifact"),
    )
    return {
        "product": product,
        "version": version,
        "release_digest": built.digest,
        "envelope_digest": digest,
        "event": told.model_dump(mode="json"),
    }
