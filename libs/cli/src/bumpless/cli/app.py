"""The `bumpless` command: options every command shares, and the one place where errors become exit codes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli import (
    artifact_commands,
    control_commands,
    fleet_commands,
    release_commands,
    rollout_commands,
)
from bumpless.cli.context import Context
from bumpless.cli.home import Home
from bumpless.cli.output import Format, Output
from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.errors import ReleaseError
from bumpless.common.release_file import ReleaseInvalid
from bumpless.common.shell.log import configure_logging

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Upgrade a running product on many nodes without a bump, and take it back in seconds when it is worse.",
)


@app.callback()
def options(
    ctx: typer.Context,
    home: Annotated[
        Path | None, typer.Option(help="Where `bumpless up` keeps everything.", envvar="BUMPLESS_HOME")
    ] = None,
    nats: Annotated[
        str | None,
        typer.Option(help="The broker, where it is not the embedded one.", envvar="BUMPLESS_NATS_URL"),
    ] = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="How results are printed.")] = Format.TABLE,
    color: Annotated[bool, typer.Option("--color/--no-color", help="Colour on terminals.")] = True,
    debug: Annotated[bool, typer.Option(help="Show tracebacks.")] = False,
) -> None:
    configure_logging("cli", "debug" if debug else "critical")
    ctx.obj = Context(Home.find(home), nats, Output(output, color), debug)


for part in (control_commands, artifact_commands, release_commands, rollout_commands, fleet_commands):
    part.register(app)


FLAGS = frozenset({"--color", "--no-color", "--debug", "--no-debug"})


def hoisted(words: list[str]) -> list[str]:
    """`words` with the options of every command in front, where they are declared: people write them after it."""
    first: list[str] = []
    rest: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            return [*first, *rest, word, *left]
        if word in ("-o", "--output"):
            first += [word, *([value] if (value := next(left, None)) is not None else [])]
        elif word.startswith("--output=") or word in FLAGS:
            first.append(word)
        else:
            rest.append(word)
    return first + rest


def main() -> None:
    """Run a command. Exit codes: 0 ok, 1 error, 2 changes pending or rollout failed, 3 timed out, 4 waits for a
    person, 5 locked."""
    debug = "--debug" in sys.argv
    try:
        code = app(hoisted(sys.argv[1:]), standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except (ReleaseError, ReleaseInvalid, ArtifactError) as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except typer.TyperException as error:
        if not error.format_message():  # no command at all: the help has been shown
            sys.exit(0)
        print(f"error: {error.format_message()} (--help shows what there is)", file=sys.stderr)
        sys.exit(1)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except (OSError, ValueError) as error:
        if debug:
            raise
        print(f"error: {error} (--debug shows where)", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
