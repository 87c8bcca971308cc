"""`artifact build`: from a tree, in any form, to a signed artifact with its packages."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from bumpless.cli.artifact_progress import packing
from bumpless.cli.artifact_report import as_json, described, package_table, renderable
from bumpless.cli.artifact_sources import SUFFIX, open_source, read_artifact, rebuilt
from bumpless.cli.context import Context
from bumpless.cli.output import Output
from bumpless.common.artifacts.build import BuiltArtifact, PreviousTree, build_artifact
from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.limits import MIB
from bumpless.common.artifacts.manifest import Name, Version
from bumpless.common.artifacts.signing import Role, SigningKey, TrustStore
from bumpless.common.artifacts.workers import Workers
from bumpless.common.errors import Refused

JobsOpt = Annotated[int | None, typer.Option(min=1, help="Threads; by default one for each processor.")]
MemoryOpt = Annotated[int, typer.Option(min=64, help="MiB that packing may use at once, about.")]
PredictOpt = Annotated[
    bool,
    typer.Option(
        "--reference-prediction/--no-reference-prediction",
        help="Predict what moved code refers to: smaller deltas of programs, more work.",
    ),
]
VerboseOpt = Annotated[bool, typer.Option("--verbose", help="Show every file.")]
MEMORY = 1536


def register(app: typer.Typer) -> None:
    app.command()(build)


def build(
    ctx: typer.Context,
    tree: Annotated[
        str, typer.Argument(help="A folder, tar, wheel, or OCI image layout (oci:PATH or oci:PATH:FOLDER).")
    ],
    name: Annotated[str, typer.Option(help="The component's name.")],
    version: Annotated[str, typer.Option(help="Its version.")],
    earlier: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            help="VERSION=TREE, or an earlier .artifact.json: a delta is made from it. May be repeated.",
        ),
    ] = None,
    keep_last: Annotated[
        int, typer.Option(min=0, help="Deltas also from so many of the latest versions in --out.")
    ] = 3,
    subpath: Annotated[str | None, typer.Option(help="The folder in TREE that is meant.")] = None,
    jobs: JobsOpt = None,
    memory: MemoryOpt = MEMORY,
    predict: PredictOpt = True,
    out: Annotated[Path, typer.Option(help="Where to write.")] = Path("dist"),
    key: Annotated[Path | None, typer.Option(help="The release key.")] = None,
    verbose: VerboseOpt = False,
) -> None:
    """Pack a tree into a signed artifact, with deltas from earlier versions.

    Example: bumpless artifact build build/api --name api --version v2 --from v1=build/api-v1
    """
    context: Context = ctx.obj
    _check(Name, name, "--name of small letters, digits, - and _, at most 63")
    _check(Version, version, "--version of letters, digits and . _ + -, at most 64")
    signing = context.release_key(key)
    trust = _trust(context, signing)
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        previous = {
            known: opened.enter_context(open_source(source, out, trust))
            for known, source in (_parse(item, trust) for item in earlier or [])
        }
        for found in _latest(out, name, keep_last, {version, *previous}, trust, opened, context.output):
            previous[found.version] = found.path
        folder = opened.enter_context(open_source(tree, out, trust, subpath))
        workers = opened.enter_context(Workers(jobs, memory * MIB))
        with packing(context.output) as tell:
            built = build_artifact(
                folder,
                name=name,
                version=version,
                previous=[PreviousTree(known, path) for known, path in previous.items()],
                out=out,
                key=signing,
                on_progress=tell,
                workers=workers,
                predict=predict,
            )
    _show(context.output, built, verbose)


def _check(kind: Any, value: str, expected: str) -> None:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise Refused(expected, repr(value)) from error


def _trust(context: Context, key: SigningKey) -> TrustStore:
    """What this builder signed itself needs no other word for it."""
    own = frozenset({(Role.RELEASE, key.public)})
    known = context.trust().keys if context.home.trust.exists() else frozenset()
    return TrustStore(own | known)


def _parse(item: str, trust: TrustStore) -> tuple[str, str]:
    """Version and source of one --from."""
    if item.endswith(SUFFIX) and Path(item).is_file():
        return read_artifact(Path(item), trust).version, item
    version, equals, source = item.partition("=")
    if not equals or not source:
        raise Refused("--from VERSION=TREE, or an .artifact.json that exists", item)
    _check(Version, version, "--from VERSION=TREE with a version of letters, digits and . _ + -")
    if source.endswith(SUFFIX) and (said := read_artifact(Path(source), trust).version) != version:
        raise Refused(f"--from {said}={source}, as the artifact says", item)
    return version, source


def _latest(
    out: Path, name: str, count: int, known: set[str], trust: TrustStore, opened: ExitStack, output: Output
) -> list[PreviousTree]:
    """The trees of the artifacts in `out` that were written last. One that is of no use is left out, and said so."""
    found: list[PreviousTree] = []
    roots: set[str] = set()
    descriptions = sorted(
        out.glob(f"{name}-*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns, reverse=True
    )
    for path in descriptions:
        if len(found) == count:
            break
        try:
            artifact = read_artifact(path, trust)
            if artifact.name == name and artifact.version not in known and artifact.root not in roots:
                roots.add(artifact.root)
                tree = opened.enter_context(rebuilt(path, artifact, out))
                found.append(PreviousTree(artifact.version, tree))
        except ArtifactError as error:
            output.say(f"no delta from {path}: {error}")
    return found


def _show(output: Output, built: BuiltArtifact, verbose: bool) -> None:
    from rich.console import Group

    artifact = built.artifact
    for dropped in built.dropped:
        output.say(f"no delta from {dropped}: it would save too little of the full package")
    output.say(described(artifact))
    reports = built.reports.items()
    raw = {
        **artifact.model_dump(mode="json"),
        "path": str(built.envelope_path),
        "dropped": list(built.dropped),
        "packages": {what: as_json(info) for what, info in reports},
    }
    parts = [renderable(what, info, everything=verbose) for what, info in reports]
    output.data(raw, Group(package_table(artifact), *parts))
