"""Commands are imported when they are entered, and nobody can tell."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperCommand, TyperGroup

from bumpless.cli.app import hoisted
from bumpless.cli.commands import command
from bumpless.cli.lazy import LazyCommand
from bumpless.common.artifacts.delta import build_delta
from unit.artifacts.trees import write_tree


def lazy(group: TyperGroup) -> Iterator[LazyCommand]:
    for found in group.commands.values():
        if isinstance(found, LazyCommand):
            yield found
        elif isinstance(found, TyperGroup):
            yield from lazy(found)


def leaves(group: TyperGroup) -> Iterator[TyperCommand]:
    for found in group.commands.values():
        loaded = found.load() if isinstance(found, LazyCommand) else found
        if isinstance(loaded, TyperGroup):
            yield from leaves(loaded)
        else:
            assert isinstance(loaded, TyperCommand)
            yield loaded


@pytest.mark.parametrize("listed", list(lazy(command())), ids=lambda listed: listed.name)
def test_what_is_listed_is_what_the_command_says(listed: LazyCommand) -> None:
    own = (listed.load().help or "").split("\n\n")[0]
    assert listed.help == " ".join(own.split())


@pytest.mark.parametrize("leaf", list(leaves(command())), ids=lambda leaf: leaf.name)
def test_every_command_has_an_example(leaf: TyperCommand) -> None:
    assert re.search("Example: .*bumpless ", leaf.help or "")


def test_options_of_every_command_may_stand_anywhere() -> None:
    assert hoisted(["artifact", "diff", "a", "-o", "json", "b", "--debug", "--", "-o"]) == [
        "-o", "json", "--debug", "artifact", "diff", "a", "b", "--", "-o",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "shown"),
    [("bumpless ro", {"rollback", "rollout"}), ("bumpless artifact ", {"apply", "build", "diff", "gc"}),
     ("bumpless rollout st", {"status"}), ("bumpless artifact build --keep", {"--keep-last"})],
)  # fmt: skip
def test_completion(words: str, shown: set[str]) -> None:
    environment = {
        **os.environ,
        "_BUMPLESS_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    script = "import sys; sys.argv[0] = 'bumpless'; from bumpless.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert shown <= set(done.stdout.split())


def imported(*words: str) -> set[str]:
    """The top-level packages that a command has imported at its end."""
    script = (
        "import json, sys; from bumpless.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: print('\\n' + json.dumps([m.partition('.')[0] for m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.rpartition("\n[")[2].join(("[", ""))))


def test_help_imports_no_command() -> None:
    assert not imported("--help") & {"nats", "pydantic", "cryptography", "numpy", "networkx", "structlog"}


def test_apply_imports_only_what_it_needs(tmp_path: Path) -> None:
    trees = [write_tree(tmp_path / name, {"file": name.encode()}) for name in ("old", "new")]
    package = tmp_path / "package"
    package.write_bytes(build_delta(*trees).package)
    found = imported("artifact", "apply", str(trees[0]), str(package), str(tmp_path / "out"))
    assert (tmp_path / "out/file").read_bytes() == b"new"
    assert not found & {"typer", "rich", "pydantic", "cryptography", "nats", "numpy", "asyncio"}


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    script = f"{sys.executable} -m bumpless.cli.app --help; echo code $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({script}) | true"], capture_output=True, text=True, check=True, timeout=120
    )
    assert re.fullmatch("code (0|1|141)\n", done.stderr)  # 1: the library that prints the help
