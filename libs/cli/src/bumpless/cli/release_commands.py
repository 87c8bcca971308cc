"""`release lint|publish` and `apply`."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli.client import Client, whoami
from bumpless.cli.configuring import FilesRefused, config_findings, rendered, signed_records
from bumpless.cli.context import Context
from bumpless.cli.contracting import signed_contracts, trust_of
from bumpless.cli.hashes import plan_hash as checked
from bumpless.cli.migrating import signed_migrations
from bumpless.cli.publishing import BuiltRelease, build_release, read_release, upload
from bumpless.cli.statement_commands import read_statements
from bumpless.cli.watching import started
from bumpless.common.compat import written
from bumpless.common.compat.sql_findings import sql_findings
from bumpless.common.compat.stated import stated_faults
from bumpless.common.contract.base import PlanHash
from bumpless.common.model.finding import Finding
from bumpless.common.model.rollout import rollout_id
from bumpless.common.scans import with_reports
from bumpless.common.zones import zone_faults

FileArg = Annotated[Path, typer.Argument(help="The release file.")]
KeyOpt = Annotated[Path | None, typer.Option(help="The release key.")]
WaiverOpt = Annotated[
    list[Path] | None,
    typer.Option(
        "--waiver",
        "--statement",
        help="A signed waiver, rehearsal or verification; may be given several times.",
    ),
]
TimeoutOpt = Annotated[float | None, typer.Option(help="Seconds to wait for the end.")]


def register(app: typer.Typer) -> None:
    from bumpless.cli.release_build import release_build  # it is made of what is here

    release = typer.Typer(no_args_is_help=True, help="Releases.")
    release.command("lint")(lint)
    release.command("build")(release_build)
    release.command("publish")(publish)
    app.add_typer(release, name="release")
    app.command("apply")(apply)


def lint(ctx: typer.Context, file: FileArg) -> int:
    """Check a release file: fields, types, names, dependencies, configuration files, record types, what it states.

    Example: bumpless release lint release.yaml
    """
    context: Context = ctx.obj
    release = read_release(file)
    lifecycle = written.lifecycle(release.lifecycle)
    in_files: list[Finding] = []
    for component in release.components:
        version = component.version or release.version or ""
        try:
            rendered(file.parent, component, version)
            in_files += config_findings(file.parent, component, version, lifecycle)
        except FilesRefused as error:
            in_files += error.findings
        in_files += sql_findings(component.name, signed_migrations(file.parent, component))
    try:
        signed_records(file.parent, release)
    except FilesRefused as error:
        in_files += error.findings
    signed_contracts(file.parent, release.contracts, trust_of(context))
    names = ", ".join(component.name for component in release.components)
    with_reports(release.preflight, file.parent)
    findings = (*stated_faults(release.compat, release.lifecycle), *zone_faults(release.preflight), *in_files)
    told = "".join(f"  {finding}\n" for finding in findings)
    blocks = any(finding.blocks for finding in findings)
    raw = {
        **json.loads(release.model_dump_json()),
        "findings": [finding.model_dump(mode="json") for finding in findings],
    }
    context.output.data(
        raw, f"{file}: {'what it states is wrong' if blocks else 'fine'}; components {names}\n{told}"
    )
    return int(blocks)


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
    waiver: WaiverOpt = None,
) -> int:
    """Start a release and follow it to its end.

    Example: bumpless apply release.yaml --plan-hash sha256:...
    """
    wanted = None if plan_hash is None else checked(plan_hash)
    return _start(ctx.obj, file, key, wait, timeout, wanted, read_statements(waiver))


def _start(
    context: Context,
    file: Path,
    key: Path | None,
    wait: bool,
    timeout: float | None,
    plan_hash: PlanHash | None,
    statements: tuple[str, ...] = (),
) -> int:
    async def work(client: Client) -> int:
        built = await build(context, client, file, key)
        sent = await upload(built, client.artifacts, lambda text: None)
        attempt = await client.attempt(built.release.product, built.digest)
        rollout = rollout_id(built.release.product, built.digest, attempt)
        announcement = built.announcement(
            by=whoami(), attempt=attempt, expected_plan=plan_hash, statements=statements
        )
        await client.connection.publish(announcement, source="ci")
        context.output.say(
            f"announced {built.release.product} {built.release.version} as rollout {rollout} ({sent} bytes uploaded)"
        )
        return await started(client, context.output, rollout, built.digest, wait=wait, timeout_s=timeout)

    return context.with_client(work)


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
