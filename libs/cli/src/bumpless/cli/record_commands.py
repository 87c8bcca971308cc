"""`record check|migrate`: records of the types that a release file describes, without a control plane."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from bumpless.cli.compat_commands import read_json, shown, version
from bumpless.cli.configuring import signed_record
from bumpless.cli.context import Context
from bumpless.cli.publishing import read_release
from bumpless.common.compat import written
from bumpless.common.compat.hops import NoPath
from bumpless.common.compat.lenses import Function
from bumpless.common.compat.record_findings import record_findings
from bumpless.common.compat.records import Fault, RecordInvalid, RecordType
from bumpless.common.errors import Refused
from bumpless.common.model.finding import Severity

MAX_BYTES = 16 << 20

ReleaseArg = Annotated[
    str,
    typer.Argument(
        metavar="RELEASE",
        help="The release file, or PRODUCT@VERSION for one that was published, PRODUCT@ for the last.",
    ),
]
TypeArg = Annotated[
    str, typer.Argument(metavar="TYPE", help="The type of record, as the release file names it.")
]
RecordArg = Annotated[
    Path, typer.Argument(metavar="RECORD", help="A file with one record as JSON; - is standard input.")
]


def register(app: typer.Typer) -> None:
    record = typer.Typer(
        no_args_is_help=True, help="Records of a release's types: checked, and moved from version to version."
    )
    record.command("check")(check)
    record.command("migrate")(migrate)
    record.command("path")(path)
    app.add_typer(record, name="record")


def check(
    ctx: typer.Context,
    release: ReleaseArg,
    type_: TypeArg,
    at: Annotated[str, typer.Argument(metavar="VERSION", help="The version of its schema.")],
    record: RecordArg = Path("-"),
) -> int:
    """Check a record against the schema of a version. Exit code 1: it does not fit; every fault is named.

    Example: bumpless record check release.yaml file 3 record.json
    """
    context: Context = ctx.obj
    found = _type(context, release, type_)
    wanted = version(at)
    if wanted not in found.schemas:
        raise Refused(f"a version of {type_} ({', '.join(map(str, sorted(found.schemas)))})", str(wanted))
    faults = found.faults(wanted, _record(record))
    text = "".join(f"{fault}\n" for fault in faults) or "it fits\n"
    context.output.data({"fits": not faults, "faults": _shown(faults)}, text)
    return int(bool(faults))


def migrate(
    ctx: typer.Context,
    release: ReleaseArg,
    type_: TypeArg,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The version the record has.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The version it should have.")],
    record: RecordArg = Path("-"),
    supply: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A value that a lens takes from its caller."),
    ] = None,
    kept: Annotated[
        Path | None,
        typer.Option(help="What an earlier migration took out, as its `kept` says, to be put back."),
    ] = None,
    lossy: Annotated[bool, typer.Option(help="Let it lose what the other version cannot hold.")] = False,
    code: Annotated[
        Path | None, typer.Option(help="Folder with the Python functions that lenses name. They are run.")
    ] = None,
) -> int:
    """Move a record from one version to another, up or down, checked before and after every hop.

    The same record gives the same bytes. Exit code 1: it does not fit, or there is no way.

    Example: bumpless record migrate release.yaml file 1 3 record.json --supply now=2026-01-01T00:00:00Z
    """
    context: Context = ctx.obj
    found = _type(context, release, type_)
    try:
        moved = found.move(
            _record(record),
            version(old),
            version(new),
            supplied=dict(map(given, supply or ())),
            kept=None if kept is None else _record(kept),
            lossy=lossy,
            resolve=None if code is None else lambda name: function_in(code, name),
        )
    except RecordInvalid as error:
        refusal = {"record": None, "version": str(error.version), "faults": _shown(error.faults)}
        context.output.data(
            refusal, f"refused at {type_} {error.version}\n" + "".join(f"  {f}\n" for f in error.faults)
        )
        return 1
    except NoPath as error:
        reachable = [str(v) for v in error.reachable]
        context.output.data({"record": None, "reason": str(error), "reachable": reachable}, f"{error}\n")
        return 1
    data = {
        "record": moved.record,
        "sha256": moved.sha256,
        "versions": [str(v) for v in moved.versions],
        "kept": moved.kept,
        "lossy": moved.lossy,
    }
    context.output.data(data, json.dumps(moved.record, indent=2) + "\n")
    return 0


def path(
    ctx: typer.Context,
    release: ReleaseArg,
    type_: TypeArg,
    old: Annotated[str, typer.Argument(metavar="OLD", help="From this version.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="To this version.")],
    way_back: Annotated[
        bool, typer.Option("--way-back/--no-way-back", help="Whether there must be a way back as well.")
    ] = True,
) -> int:
    """Whether lenses lead from one version to another, what they lose, and whether they lead back.

    Exit code 1: something blocks.

    Example: bumpless record path release.yaml file 1 3
    """
    context: Context = ctx.obj
    found = _type(context, release, type_)
    source, target = version(old), version(new)
    findings = record_findings(found, source, target, way_back=way_back)
    try:
        hops = [str(hop) for hop in found.graph.path(source, target, lossy=True)]
    except NoPath:
        hops = []
    blocks = any(f.severity is Severity.BLOCK for f in findings)
    lines = [*hops, *(str(finding) for finding in findings)] or ["nothing to do"]
    context.output.data(
        {"path": None if blocks and not hops else hops, "findings": [shown(f) for f in findings]},
        "".join(f"{line}\n" for line in lines),
    )
    return int(blocks)


def _type(context: Context, release: str, name: str) -> RecordType:
    product, at, number = release.rpartition("@")
    if at and not Path(release).exists():
        signed = context.with_client(lambda c: c.release(product, number or None, context.trust())).records
        if name in signed:
            return written.signed_record_type(name, signed[name])
        known = ", ".join(sorted(signed))
    else:
        records = read_release(Path(release)).records
        if name in records:
            return written.signed_record_type(name, signed_record(Path(release).parent, records[name]))
        known = ", ".join(sorted(records))
    raise Refused(f"a record type of {release} ({known or 'none'})", name)


def _record(path: Path) -> dict[str, Any]:
    return read_json(path, MAX_BYTES)


def given(text: str) -> tuple[str, str]:
    """NAME=VALUE. Raises: Refused."""
    name, sign, value = text.partition("=")
    if not sign:
        raise Refused("NAME=VALUE", repr(text))
    return name, value


def function_in(folder: Path, name: str) -> Function:
    """`module:function` from a module in `folder`, which is run. Raises: Refused."""
    module, _, function = name.partition(":")
    sys.path.insert(0, str(folder.resolve()))
    try:
        found: Function = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise Refused(f"the function {name} in {folder}", str(error)) from error
    finally:
        sys.path.pop(0)
    return found


def _shown(faults: tuple[Fault, ...]) -> list[dict[str, str]]:
    return [{"path": fault.path, "text": fault.text} for fault in faults]
