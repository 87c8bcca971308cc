"""`release lint|build|publish`, `plan` and `apply`."""

from __future__ import annotations

import asyncio
import json
import shutil
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli.client import Client, whoami
from bumpless.cli.context import Context
from bumpless.cli.publishing import BuiltRelease, build_release, read_release, upload
from bumpless.cli.watching import follow, refused
from bumpless.common import render
from bumpless.common.contract import events as e
from bumpless.common.errors import Refused
from bumpless.common.model.plan import Plan
from bumpless.common.model.rollout import rollout_id

CHANGES = 2
FileArg = Annotated[Path, typer.Argument(help="The release file.")]
KeyOpt = Annotated[Path | None, typer.Option(help="The release key.")]
TimeoutOpt = Annotated[float | None, typer.Option(help="Seconds to wait for the end.")]


class Picture(StrEnum):
    TEXT = "text"
    MERMAID = "mermaid"
    DOT = "dot"


def register(app: typer.Typer) -> None:
    release = typer.Typer(no_args_is_help=True, help="Releases.")
    release.command("lint")(lint)
    release.command("publish")(publish)
    app.add_typer(release, name="release")
    app.command("plan")(plan)
    app.command("apply")(apply)


def lint(ctx: typer.Context, file: FileArg) -> None:
    """Check a release file: fields, types, names, dependencies.

    Example: bumpless release lint release.yaml
    """
    context: Context = ctx.obj
    found = read_release(file)
    names = ", ".join(component.name for component in found.components)
    context.output.data(json.loads(found.model_dump_json()), f"{file}: fine; components {names}\n")


def publish(
    ctx: typer.Context,
    file: FileArg,
    key: KeyOpt = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the rollout to its end.")] = False,
    timeout: TimeoutOpt = None,
) -> int:
    """Build, sign, upload and announce a release. Announcing it again changes nothing.

    Example: bumpless release publish release.yaml --wait
    """
    return _start(ctx.obj, file, key, wait, timeout, None)


def apply(
    ctx: typer.Context,
    file: FileArg,
    plan_hash: Annotated[
        str | None, typer.Option(help="Run this plan, as `bumpless plan` showed it, or none.")
    ] = None,
    key: KeyOpt = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the rollout to its end.")] = True,
    timeout: TimeoutOpt = None,
) -> int:
    """Start a release and follow it to its end.

    Example: bumpless apply release.yaml --plan-hash sha256:...
    """
    return _start(ctx.obj, file, key, wait, timeout, plan_hash)


def _start(
    context: Context, file: Path, key: Path | None, wait: bool, timeout: float | None, plan_hash: str | None
) -> int:
    async def work(client: Client) -> int:
        built = await build(context, client, file, key)
        sent = await upload(built, client.artifacts, lambda text: None)
        attempt = await client.attempt(built.release.product, built.digest)
        rollout = rollout_id(built.release.product, built.digest, attempt)
        announcement = built.announcement(by=whoami(), attempt=attempt, expected_plan=plan_hash)
        await client.connection.publish(announcement, source="ci")
        context.output.say(
            f"announced {built.release.product} {built.release.version} as rollout {rollout} ({sent} bytes uploaded)"
        )
        if not wait:
            answer = await client.planned(rollout)
            if isinstance(answer, e.ReleaseRefused):
                return refused(context.output, answer)
            context.output.data({"rollout": rollout, "release_digest": built.digest}, f"{rollout}\n")
            return 0
        return await follow(client, context.output, rollout, timeout)

    return context.with_client(work)


def plan(
    ctx: typer.Context,
    file: FileArg,
    key: KeyOpt = None,
    picture: Annotated[Picture, typer.Option(help="How to draw it.")] = Picture.TEXT,
    detailed_exitcode: Annotated[
        bool, typer.Option(help="Exit 2 when there is something to change.")
    ] = False,
) -> int:
    """Show what a release would do on the fleet as it is now, without doing it.

    Example: bumpless plan release.yaml
    """
    context: Context = ctx.obj

    async def work(client: Client) -> int:
        built = await build(context, client, file, key)
        attempt = await client.attempt(built.release.product, built.digest)
        answer = json.loads(await client.plan(built.announcement(by=whoami(), attempt=attempt)))
        if answer["plan"] is None:
            raise Refused("a release that can run on this fleet", "; ".join(answer["reasons"]))
        found = Plan.model_validate(answer["plan"])
        text = {
            Picture.TEXT: render.plan,
            Picture.MERMAID: render.plan_mermaid,
            Picture.DOT: render.plan_dot,
        }[picture](found)
        context.output.data({"plan": answer["plan"], "plan_hash": found.hash, "eta_s": _eta_s(found)}, text)
        if found.batches:
            context.output.say(
                f"about {timedelta(seconds=round(_eta_s(found)))} when every gate passes at its first chance"
            )
            context.output.say(f"run it with: bumpless apply {file} --plan-hash {found.hash}")
        else:
            context.output.say("nothing to change")
        return CHANGES if detailed_exitcode and found.batches else 0

    return context.with_client(work)


def _eta_s(plan: Plan) -> float:
    """The longest way through the graph: lame duck, soak and bake of every batch on it."""
    done: dict[str, float] = {}
    for batch in plan.batches:
        timing = plan.targets[target].run.timing if (target := batch.steps[0].after) is not None else None
        apply_s = 1.0 + (timing.soak_s + timing.lame_duck_s if timing is not None else 0)
        bake_s = batch.gate.warm_up_s + batch.gate.window_s if batch.gate is not None else 0
        start = max((done[need] for need in batch.needs), default=0.0)
        done[batch.id] = start + batch.wait_s + apply_s + bake_s
    return max(done.values(), default=0.0)


async def build(context: Context, client: Client, file: Path, key: Path | None) -> BuiltRelease:
    """The release in `file`, with deltas from what the fleet runs now. Raises: as `build_release`."""
    work = context.home.work
    try:
        return await build_release(
            file,
            key=context.release_key(key),
            trust=context.trust(),
            work=work,
            fleet=await client.fleet(),
            store=client.artifacts,
            tell=context.output.say,
        )
    finally:
        await asyncio.to_thread(shutil.rmtree, work / "running", True)
