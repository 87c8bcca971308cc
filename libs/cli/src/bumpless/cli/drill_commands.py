"""`drill list|run|report`: a fault injected into one node of a fleet that obeys drills, and how it was dealt with.

A drill leaves nothing of its own behind: who started its rollout says that it was one, and what came of it is in the
log of that rollout.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from bumpless.cli.client import Client, whoami
from bumpless.cli.context import Context
from bumpless.cli.output import records, table
from bumpless.cli.publishing import upload
from bumpless.cli.release_commands import FileArg, KeyOpt, TimeoutOpt, build
from bumpless.cli.reporting import report_of
from bumpless.cli.stage_commands import reached
from bumpless.cli.watching import TIMED_OUT, follow
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.commands import Fault, FaultAnswer, InjectFault
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Refused
from bumpless.common.model.rollout import RolloutStatus, rollout_id
from bumpless.common.render.report import Report
from bumpless.common.shell import clock
from bumpless.common.shell.reading import readable

ANSWER_S = 5.0
OTHERWISE = 2
FAULTS: dict[Fault, tuple[str, tuple[RolloutStatus, ...]]] = {
    "fail-stage": ("the node cannot have the new version", (RolloutStatus.FAILED,)),
    "slow-stage": ("the node has the new version 10 s late", (RolloutStatus.SUCCEEDED,)),
    "fail-start": ("the new version does not get ready", (RolloutStatus.REVERTED,)),
    "crash-after-ready": ("the new version dies when it is ready", (RolloutStatus.REVERTED,)),
    "fail-switch": ("the new version dies while the old one is drained", (RolloutStatus.REVERTED,)),
}
"""What each does to one component on one node, once; and how a rollout that meets it ends."""
_MARK = re.compile(r"(?P<by>.*) \(drill: (?P<fault>\S+) on (?P<place>\S+)\)")
"""Who started a rollout that is a drill."""
_COLUMNS = ("Rollout", "Version", "Fault", "Place", "End", "Noticed after s", "Back after s", "By")


def register(app: typer.Typer) -> None:
    drill = typer.Typer(
        no_args_is_help=True, help="Drills: a fault injected into one node, and what came of it."
    )
    drill.command("list")(list_faults)
    drill.command("run")(run)
    drill.command("report")(report)
    app.add_typer(drill, name="drill")


def list_faults(ctx: typer.Context) -> None:
    """The faults that can be injected, and how a rollout that meets one should end.

    Example: bumpless drill list
    """
    context: Context = ctx.obj
    columns = ["Fault", "Does", "Ends"]
    rows = [[fault, does, " or ".join(ends)] for fault, (does, ends) in FAULTS.items()]
    context.output.data(records(columns, rows), table(columns, rows))


def run(
    ctx: typer.Context,
    fault: Annotated[str, typer.Argument(help="A fault of `drill list`.")],
    file: FileArg,
    node: Annotated[str, typer.Option(help="The node that misbehaves, once.")],
    component: Annotated[str, typer.Option(help="The component that it misbehaves with.")],
    key: KeyOpt = None,
    timeout: TimeoutOpt = None,
) -> int:
    """Inject a fault into one node, roll a release out, and see that it is dealt with: exit code 0 where it was.

    Only nodes that were started to obey drills do (`bumpless up --drills`, BUMPLESS_EXECUTOR_DRILLS).

    Example: bumpless drill run fail-start v2.yaml --node node-1 --component web
    """
    context: Context = ctx.obj
    if fault not in FAULTS:
        raise Refused(f"a fault ({', '.join(FAULTS)})", fault)
    named: Fault = next(known for known in get_args(Fault) if known == fault)

    async def work(client: Client) -> int:
        rollout = await _begin(context, client, file, key, named, node, component)
        code = await follow(client, context.output, rollout, timeout)
        if code == TIMED_OUT:
            return code
        found = _row(await report_of(client, rollout), named, f"{node}/{component}", whoami())
        wanted = " or ".join(FAULTS[named][1])
        told = [
            f"drill {named} on {node}/{component}: {found['end']}, expected {wanted}",
            f"noticed after {found['noticed_s']} s" if found["noticed_s"] is not None else "",
            f"back after {found['back_s']} s" if found["back_s"] is not None else "",
        ]
        context.output.item(found, "; ".join(filter(None, told)))
        return 0 if found["end"] in FAULTS[named][1] else OTHERWISE

    return context.with_client(work)


async def _begin(
    context: Context, client: Client, file: Path, key: Path | None, fault: Fault, node: str, component: str
) -> RolloutId:
    """Nothing is armed unless the release would reach the place. Raises: Refused, Retryable."""
    built = await build(context, client, file, key)
    await upload(built, client.artifacts, lambda text: None)
    attempt = await client.attempt(built.release.product, built.digest)
    by = f"{whoami()} (drill: {fault} on {node}/{component})"
    announced = built.announcement(by=by, attempt=attempt)
    answer = await client.plan(announced)
    if answer.plan is None:
        raise Refused("a release that can run on this fleet", "; ".join(answer.reasons))
    if component not in {target.component for target in reached(answer.plan, (node,))[node]}:
        raise Refused(f"a release that changes {component} on {node}", "one that does not")
    await _arm(client, fault, node, component)
    await client.connection.publish(announced, source="ci")
    context.output.say(f"armed {fault} on {node}/{component}")
    return rollout_id(announced.product, announced.digest, announced.attempt)


async def _arm(client: Client, fault: Fault, node: str, component: str) -> None:
    order = InjectFault(
        id=clock.fresh_id(), at=clock.now(), node=node, component=component, fault=fault, by=whoami()
    )
    subject = subjects.subject_for(InjectFault, node=node)
    said = FaultAnswer.model_validate_json(
        await client.connection.request(subject, wire.encode(order), ANSWER_S)
    )
    if not said.armed:
        hint = "for rehearsals: `bumpless up --drills`, or BUMPLESS_EXECUTOR_DRILLS=true for its executor"
        raise Refused(f"{node} to obey drills", said.text, hint)


def report(ctx: typer.Context) -> None:
    """Every drill that the log still has: when the fault was noticed, when it was taken back, how it ended.

    Example: bumpless drill report --output json
    """
    context: Context = ctx.obj

    async def work(client: Client) -> list[dict[str, Any]]:
        items = await client.connection.snapshot(
            Stream.RO, subjects.subject_for(e.RolloutPlanned), history=True
        )
        found = []
        for planned in readable(items, e.RolloutPlanned):
            if planned.of is None and (mark := _MARK.match(planned.by)):
                made = await report_of(client, planned.rollout)
                found.append(_row(made, mark["fault"], mark["place"], mark["by"]))
        return found

    rows = context.with_client(work)
    context.output.data(rows, table(_COLUMNS, [list(row.values()) for row in rows]))


def _row(made: Report, fault: str, place: str, by: str) -> dict[str, Any]:
    """Seconds: until something was noticed, from the start; until everything was back, from there."""
    first, last = made.courses[0], made.courses[-1]
    noticed = made.incidents[0].at if made.incidents else None
    back = last.ended if last is not first else None
    return {
        "rollout": first.rollout,
        "version": made.version,
        "fault": fault,
        "place": place,
        "end": last.status,  # of the revert, which ends a moment before its rollout hears of it
        "noticed_s": None if noticed is None else round((noticed - first.began).total_seconds(), 1),
        "back_s": None if noticed is None or back is None else round((back - noticed).total_seconds(), 1),
        "by": by,
    }
