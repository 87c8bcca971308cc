"""`compat level|path|report|schema|openapi`: answers from files alone, without a control plane."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from bumpless.cli.context import Context
from bumpless.cli.contracting import signed_contracts, trust_of
from bumpless.cli.documents import read_document
from bumpless.cli.interfaces import signed_interfaces
from bumpless.cli.output import table
from bumpless.cli.publishing import read_release
from bumpless.common.compat import openapi, written
from bumpless.common.compat.contracts import Contracts
from bumpless.common.compat.fleet_path import Move, NoFleetPath, fleet_path
from bumpless.common.compat.hops import NoPath
from bumpless.common.compat.interfaces import Documents
from bumpless.common.compat.lifecycle import Report
from bumpless.common.compat.matrix import Matrix
from bumpless.common.compat.pairs import Says
from bumpless.common.compat.schemas import level_between
from bumpless.common.errors import Refused
from bumpless.common.model.finding import Finding, Severity
from bumpless.common.model.interfaces import Interfaces
from bumpless.common.model.level import Level, weakest
from bumpless.common.model.release import ReleaseFile
from bumpless.common.model.version import InvalidVersion, Version

MAX_SCHEMA_BYTES = 4 << 20

FileArg = Annotated[Path, typer.Argument(help="The release file.")]
ComponentArg = Annotated[str, typer.Argument(help="The component.")]
OldArg = Annotated[str, typer.Argument(metavar="OLD", help="From this version.")]
NewArg = Annotated[str, typer.Argument(metavar="NEW", help="To this version.")]


def register(app: typer.Typer) -> None:
    compat = typer.Typer(
        no_args_is_help=True, help="What fits together: levels, paths, and what changes for callers."
    )
    compat.command("level")(level)
    compat.command("path")(path)
    compat.command("report")(report)
    compat.command("schema")(schema)
    compat.command("openapi")(api)
    compat.command("interfaces")(interfaces)
    app.add_typer(compat, name="compat")


def level(ctx: typer.Context, file: FileArg, component: ComponentArg, old: OldArg, new: NewArg) -> None:
    """What is stated about two versions of a component running side by side.

    Example: bumpless compat level release.yaml api 2.0.0 2.1.0
    """
    context: Context = ctx.obj
    matrix = written.matrices(read_release(file).compat).get(component, Matrix(component))
    found = matrix.between(version(old), version(new))
    data = {
        "component": component,
        "from": str(found.old),
        "to": str(found.new),
        "level": found.level.value,
        "backward": found.level.backward,
        "forward": found.level.forward,
        "order": found.level.order,
        "way_back": found.level.way_back,
        "evidence": found.evidence,
    }
    text = (
        f"{component} {found.old} > {found.new}: {found.level} ({found.evidence})\n"
        f"  order: {found.level.order}\n  way back: {found.level.way_back}\n"
    )
    context.output.data(data, text)


def path(
    ctx: typer.Context,
    file: FileArg,
    source: Annotated[
        list[str],
        typer.Option(
            "--from", metavar="COMPONENT=VERSION[,VERSION]", help="What runs now; for each component."
        ),
    ],
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--to", metavar="COMPONENT=VERSION", help="What is wanted; without it, what the release file has."
        ),
    ] = None,
) -> int:
    """The way of a fleet to the wanted versions, such that everything fits together at every moment.

    Exit code 1: there is none; it says which hop is missing and what can be reached.

    Example: bumpless compat path release.yaml --from api=1.0.0 --from db=1.2.0,1.3.0 --to api=3.0.0
    """
    context: Context = ctx.obj
    release = read_release(file)
    running = named_versions(source)
    wanted = {name: version(v) for name, v in map(_pair, target or ())} or _released(release, running)
    strange = sorted(wanted.keys() - running.keys())
    if strange:
        raise Refused(f"--from for every component with --to ({', '.join(wanted)})", f"none for {strange[0]}")
    edges = {c.name: c.depends_on for c in release.components}
    contracts = signed_contracts(file.parent, release.contracts, trust_of(context))
    known = Contracts(contracts)
    also: list[Says] = [known] if contracts else []
    if facts := signed_interfaces(file.parent, release):
        callers = [(client, provider) for client, providers in edges.items() for provider in providers]
        items = written.lifecycle(release.lifecycle)
        also.append(Documents(facts, callers, wanted, running, items))
    for name, versions in known.named.items():
        if name not in edges and name not in running:
            running[name] = sorted(versions)
    try:
        moves = fleet_path(
            written.matrices(release.compat), written.pairs(release.compat, edges, also), running, wanted
        )
    except NoFleetPath as error:
        gaps = {name: _gap(gap) for name, gap in error.gaps.items()}
        data = {"path": None, "reasons": list(error.reasons), "gaps": gaps}
        context.output.data(data, "no path\n" + "".join(f"  {reason}\n" for reason in error.reasons))
        return 1
    context.output.data(_way(moves), _told(moves))
    return 0


def report(
    ctx: typer.Context,
    file: FileArg,
    component: ComponentArg,
    old: OldArg,
    new: NewArg,
    usage: Annotated[
        Path | None,
        typer.Option(help="Calls seen, as JSON: item id to number. They turn a removal into a block."),
    ] = None,
) -> int:
    """What changes for the callers of a component, what each should do, and what should not be so.

    Exit code 1: something blocks.

    Example: bumpless compat report release.yaml files 1.0.0 3.0.0
    """
    context: Context = ctx.obj
    release = read_release(file)
    found = written.lifecycle(release.lifecycle, None if usage is None else _usage(usage))
    result = found.report(component, version(old), version(new))
    findings = [*found.contradictions(), *result.findings]
    data = {
        "component": component,
        "from": str(result.source),
        "to": str(result.target),
        "changes": [
            {"change": c.change.value, "kind": c.item.kind.value, "id": c.item.id, "advice": c.advice}
            for c in result.changes
        ],
        "findings": [shown(finding) for finding in findings],
    }
    context.output.data(data, _report_text(result, findings))
    return int(any(f.severity is Severity.BLOCK for f in findings))


def schema(
    ctx: typer.Context,
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A JSON Schema.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The JSON Schema that comes after it.")],
) -> int:
    """The level from one JSON Schema to the next: what breaks new readers, and what breaks old ones.

    Exit code 1: the level is none.

    Example: bumpless compat schema schemas/file1.json schemas/file2.json
    """
    context: Context = ctx.obj
    found, backward, forward = level_between(*(read_json(path, MAX_SCHEMA_BYTES) for path in (old, new)))
    data = {
        "level": found.value,
        "new_reads_old": [{"path": m.path, "text": m.text} for m in backward],
        "old_reads_new": [{"path": m.path, "text": m.text} for m in forward],
    }
    lines = [f"{found}: {found.order}"]
    for title, misfits in (
        ("the new one reading the old", backward),
        ("the old one reading the new", forward),
    ):
        lines += [f"  {title}: {misfit}" for misfit in misfits]
    context.output.data(data, "\n".join(lines) + "\n")
    return int(found is Level.NONE)


def api(
    ctx: typer.Context,
    old: Annotated[
        Path, typer.Argument(metavar="OLD", help="An OpenAPI document, 3.0 or 3.1, as JSON or YAML.")
    ],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The OpenAPI document that comes after it.")],
) -> int:
    """What changes for clients of one OpenAPI document at a server of the next, and the level between the two.

    Exit code 1: something breaks old clients.

    Example: bumpless compat openapi api/2.0.json api/3.0.json
    """
    context: Context = ctx.obj
    before, after = (read_document(path)[0] for path in (old, new))
    changes = openapi.compare(before, after)
    found = openapi.level_between(before, after)
    data = {
        "level": found.value,
        "changes": [
            {"weight": c.weight.value, "where": c.where, "text": c.text, "unannounced": c.unannounced}
            for c in changes
        ],
    }
    lines = [f"{found}: {found.order}", *(f"  {change}" for change in changes)]
    context.output.data(data, "\n".join(lines) + "\n")
    return int(bool(openapi.breaking(changes)))


def interfaces(ctx: typer.Context, file: FileArg) -> int:
    """What the documents of a release file say: every two versions compared, with what breaks in either direction.

    These are the facts that are signed when the release is published. Exit code 1: something breaks.

    Example: bumpless compat interfaces release.yaml
    """
    context: Context = ctx.obj
    facts = signed_interfaces(file.parent, read_release(file))
    context.output.data(facts.model_dump(mode="json"), _facts(facts))
    compared = [two for one in (*facts.components.values(), *facts.messages.values()) for two in one.compared]
    return int(not all(two.backward.works for two in compared))


def _facts(facts: Interfaces) -> str:
    lines = []
    for name, one in (*facts.components.items(), *facts.messages.items()):
        if len(one.documents) < 2:
            lines.append(f"{name}: only {' and '.join(one.documents)}, so nothing is compared")
        for two in one.compared:
            level = Level.of(backward=two.backward.works, forward=two.forward.works)
            lines.append(f"{name} {two.old} > {two.new}: {level} ({level.order})")
            ends = f"clients of {two.old} at {two.new}", f"clients of {two.new} at {two.old}"
            if name in facts.messages:
                ends = f"readers of {two.new} with {two.old}", f"readers of {two.old} with {two.new}"
            for way, who in zip((two.backward, two.forward), ends, strict=True):
                lines += [f"  {who}: {found}" for found in way.breaks]
                lines += [f"  {who}: {way.more} more"] if way.more else []
            lines += [
                f"  {gone.where} goes without having been deprecated"
                for gone in two.backward.gone
                if not gone.announced
            ]
    lines += [f"{u.client} {u.version} was built against {u.provider} {u.built}" for u in facts.uses]
    return "\n".join(lines or ["no interfaces in the release file"]) + "\n"


def read_json(path: Path, max_bytes: int) -> dict[str, Any]:
    """The JSON object in a file; `-` is standard input. Raises: Refused."""
    try:
        data = sys.stdin.buffer.read(max_bytes + 1) if str(path) == "-" else path.read_bytes()
        if len(data) > max_bytes:
            raise Refused(f"at most {max_bytes} bytes in {path}", "more")
        found = json.loads(data)
    except FileNotFoundError:
        raise Refused("a file with JSON", f"nothing at {path}") from None
    except RecursionError:
        raise Refused(f"JSON in {path}", "objects nested too deep") from None
    except ValueError as error:
        raise Refused(f"JSON in {path}", str(error)) from error
    if not isinstance(found, dict):
        raise Refused(f"a JSON object in {path}", type(found).__name__)
    return found


def version(text: str) -> Version:
    """Raises: Refused."""
    try:
        return Version.parse(text)
    except InvalidVersion as error:
        raise Refused(*str(error).removeprefix("expected ").split(", found ", 1)) from None


def named_versions(given: Iterable[str]) -> dict[str, list[Version]]:
    """`NAME=VERSION[,VERSION]`, for each. Raises: Refused."""
    return {name: [version(v) for v in versions.split(",")] for name, versions in map(_pair, given)}


def shown(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code.value,
        "severity": finding.severity.value,
        "subject": finding.subject,
        "evidence": finding.evidence,
        "recommendation": finding.recommendation,
        "waivable": finding.waivable,
    }


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name or not value:
        raise Refused("COMPONENT=VERSION", repr(text))
    return name, value


def _released(release: ReleaseFile, running: dict[str, list[Version]]) -> dict[str, Version]:
    found = {c.name: c.version or release.version for c in release.components if c.name in running}
    return {name: version(text) for name, text in found.items() if text is not None}


def _usage(path: Path) -> dict[str, float]:
    found = read_json(path, MAX_SCHEMA_BYTES)
    if not all(isinstance(v, int | float) for v in found.values()):
        raise Refused(f"a JSON object of numbers in {path}", "something else")
    return found


def _gap(gap: NoPath) -> dict[str, Any]:
    return {
        "from": str(gap.source),
        "to": str(gap.target),
        "reachable": [str(v) for v in gap.reachable],
        "missing": None if gap.missing is None else [str(v) for v in gap.missing],
        "closed": [{"hop": str(hop), "why": hop.closed} for hop in gap.closed],
    }


def _way(moves: tuple[Move, ...]) -> dict[str, Any]:
    return {
        "path": [
            {
                "component": m.component,
                "from": str(m.source),
                "to": str(m.target),
                "level": m.statement.level.value,
                "order": m.statement.level.order,
                "evidence": m.statement.evidence,
            }
            for m in moves
        ],
        "levels": {
            name: weakest(m.statement.level for m in moves if m.component == name).value
            for name in dict.fromkeys(m.component for m in moves)
        },
    }


def _told(moves: tuple[Move, ...]) -> Any:
    if not moves:
        return "nothing to do\n"
    rows = [
        (n, m.component, str(m.source), str(m.target), m.statement.level, m.statement.level.order)
        for n, m in enumerate(moves, start=1)
    ]
    return table(("#", "Component", "From", "To", "Level", "Order"), rows)


def _report_text(result: Report, findings: list[Finding]) -> str:
    lines = [f"{result.component} {result.source} > {result.target}"]
    lines += [f"  {c.change:<10} {c.item.kind} {c.item.id}: {c.advice}" for c in result.changes]
    lines += ["  nothing changes for callers"] if not result.changes else []
    return "\n".join([*lines, *(f"  {finding}" for finding in findings)]) + "\n"
