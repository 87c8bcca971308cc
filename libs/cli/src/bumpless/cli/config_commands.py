"""`config check|migrate|render`: configuration files of a release file's components, without a control plane."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli.compat_commands import shown, version
from bumpless.cli.configuring import config_of, read_text
from bumpless.cli.context import Context
from bumpless.cli.publishing import read_release
from bumpless.cli.record_commands import function_in, given
from bumpless.common.compat import written
from bumpless.common.compat.config_problems import ConfigInvalid
from bumpless.common.compat.configs import Carried, ConfigType
from bumpless.common.compat.hops import NoPath
from bumpless.common.errors import Refused
from bumpless.common.model.config import MAX_CONFIG_BYTES, ConfigSource
from bumpless.common.model.finding import Severity
from bumpless.common.model.release import ComponentFile, ReleaseFile
from bumpless.common.model.version import Version

ReleaseArg = Annotated[Path, typer.Argument(metavar="RELEASE", help="The release file.")]
ComponentArg = Annotated[str, typer.Argument(help="The component.")]
FileArg = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        help="The configuration file, - is standard input; without it, the one the release names.",
    ),
]
PathOpt = Annotated[
    str | None,
    typer.Option("--path", help="Which file of the component, by its `path`, where it has several."),
]
AtOpt = Annotated[
    str | None,
    typer.Option("--at", metavar="VERSION", help="For this version; without it, the one in the release."),
]


def register(app: typer.Typer) -> None:
    config = typer.Typer(
        no_args_is_help=True,
        help="Configuration files of components: checked, carried from version to version, rendered for a mixed fleet.",
    )
    config.command("check")(check)
    config.command("migrate")(migrate)
    config.command("render")(render)
    app.add_typer(config, name="config")


def check(
    ctx: typer.Context,
    release: ReleaseArg,
    component: ComponentArg,
    file: FileArg = None,
    path: PathOpt = None,
    at: AtOpt = None,
) -> int:
    """Check a file against the schema of a version, as a release does before it reaches a node.

    Exit code 1: it would not be taken. Names that have a successor are told.

    Example: bumpless config check release.yaml api conf/app.yaml --at 2.1.0
    """
    context: Context = ctx.obj
    found, item, source = _source(release, component, path)
    kind, text = _read(release, item, source, file)
    written_for = source.written_for if file is None else None
    findings = kind.findings(
        text, _at(found, item, at or written_for), written.lifecycle(found.lifecycle), item.name
    )
    blocks = any(f.severity is Severity.BLOCK for f in findings)
    told = "".join(f"{finding}\n" for finding in findings) or "it fits\n"
    context.output.data({"fits": not blocks, "findings": [shown(f) for f in findings]}, told)
    return int(blocks)


def migrate(
    ctx: typer.Context,
    release: ReleaseArg,
    component: ComponentArg,
    old: Annotated[str, typer.Argument(metavar="FROM", help="The version that the file is written for.")],
    new: Annotated[str, typer.Argument(metavar="TO", help="The version that is to read it.")],
    file: FileArg = None,
    path: PathOpt = None,
    lossy: Annotated[bool, typer.Option(help="Let it lose what the other version cannot hold.")] = False,
    supply: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A value that a lens takes from its caller."),
    ] = None,
    code: Annotated[
        Path | None, typer.Option(help="Folder with the Python functions that lenses name. They are run.")
    ] = None,
) -> int:
    """Print the file in the form of another version, up or down, with its comments and its order.

    Exit code 1: it does not fit, both names of one thing differ, or there is no way.

    Example: bumpless config migrate release.yaml api 1.4.0 2.0.0 conf/app.yaml > conf/app-2.yaml
    """
    context: Context = ctx.obj
    _, item, source = _source(release, component, path)
    kind, text = _read(release, item, source, file)
    try:
        carried = kind.migrate(
            text,
            version(old),
            version(new),
            lossy=lossy,
            supplied=dict(map(given, supply or ())),
            resolve=None if code is None else lambda name: function_in(code, name),
        )
    except ConfigInvalid as error:
        return _refused(context, error)
    except NoPath as error:
        reachable = [str(v) for v in error.reachable]
        context.output.data({"text": None, "reason": str(error), "reachable": reachable}, f"{error}\n")
        return 1
    context.output.data(_told(carried), carried.text)
    return 0


def render(
    ctx: typer.Context,
    release: ReleaseArg,
    component: ComponentArg,
    file: FileArg = None,
    path: PathOpt = None,
    at: AtOpt = None,
    compat: Annotated[
        bool, typer.Option("--compat", help="With the names that older versions read, for while they live.")
    ] = False,
    old: Annotated[
        list[str] | None,
        typer.Option("--old", metavar="VERSION", help="Only for these older versions; needs --compat."),
    ] = None,
) -> int:
    """Print the file as it reaches a node of a version.

    Exit code 1: it does not fit, or one name would need two values.

    Example: bumpless config render release.yaml api --compat
    """
    context: Context = ctx.obj
    found, item, source = _source(release, component, path)
    kind, text = _read(release, item, source, file)
    wanted = _at(found, item, at)
    olds = None if old is None else tuple(map(version, old))
    try:
        if source.written_for is not None and file is None:
            text = kind.migrate(text, Version.parse(source.written_for), wanted).text
        kind.read(text, wanted)
        text = kind.both(text, wanted, olds) if compat else text
    except ConfigInvalid as error:
        return _refused(context, error)
    except NoPath as error:
        context.output.data({"text": None, "reason": str(error)}, f"{error}\n")
        return 1
    context.output.data({"version": str(wanted), "form": str(kind.form(wanted)), "text": text}, text)
    return 0


def _source(
    release: Path, component: str, path: str | None
) -> tuple[ReleaseFile, ComponentFile, ConfigSource]:
    found = read_release(release)
    item = next((c for c in found.components if c.name == component), None)
    if item is None:
        known = ", ".join(c.name for c in found.components)
        raise Refused(f"a component of {release} ({known})", component)
    paths = [source.path for source in item.config]
    if not paths:
        raise Refused(f"a config of {component} in {release}", "none")
    if path is None and len(paths) > 1:
        raise Refused(f"--path with one of {', '.join(paths)}", "none")
    source = next((s for s in item.config if path in (None, s.path)), None)
    if source is None:
        raise Refused(f"--path with one of {', '.join(paths)}", str(path))
    return found, item, source


def _read(
    release: Path, item: ComponentFile, source: ConfigSource, file: Path | None
) -> tuple[ConfigType, str]:
    if file is not None and str(file) == "-":
        text = sys.stdin.read(MAX_CONFIG_BYTES + 1)
        if len(text.encode()) > MAX_CONFIG_BYTES:
            raise Refused(f"at most {MAX_CONFIG_BYTES} bytes", "more")
        return config_of(release.parent, item.name, source, "standard input"), text
    place = release.parent / source.file if file is None else file
    return config_of(release.parent, item.name, source, str(place)), read_text(place)


def _at(release: ReleaseFile, item: ComponentFile, at: str | None) -> Version:
    text = at or item.version or release.version
    if text is None:
        raise Refused("--at with a version", "none")
    return version(text)


def _told(carried: Carried) -> dict[str, object]:
    return {
        "text": carried.text,
        "versions": [str(v) for v in carried.versions],
        "kept": carried.kept,
        "lossy": carried.lossy,
    }


def _refused(context: Context, error: ConfigInvalid) -> int:
    problems = [
        {"file": error.file, "line": p.line, "key": p.key, "expected": p.expected, "found": p.found}
        for p in error.problems
    ]
    context.output.data({"text": None, "version": str(error.version), "problems": problems}, f"{error}\n")
    return 1
