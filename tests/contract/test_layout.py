"""What the sources themselves must keep: one place for subjects, one for streams, no I/O in the pure layers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(file for top in ("libs", "services") for file in (ROOT / top).glob("*/src/**/*.py"))
COMMON = ROOT / "libs/common/src/bumpless/common"
SUBJECTS = COMMON / "contract/subjects.py"
TOPOLOGY = COMMON / "shell/topology.py"
SUBJECT = re.compile(r"^(rel|cmd|live|ro|op|alr|evt|inv|prog|dlq|drill|report|api)\.|\$JS")
DECLARES = {"add_stream", "add_consumer", "create_object_store"}
PURE = sorted(
    file for layer in ("compat", "contract", "model", "engine") for file in (COMMON / layer).glob("*.py")
)
ALLOWED = {
    "__future__",
    "base64",
    "collections",
    "collections.abc",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "io",  # text in memory
    "itertools",
    "json",
    "jsonschema",
    "jsonschema.exceptions",
    "math",
    "networkx",
    "operator",
    "pydantic",
    "re",
    "ruamel.yaml",
    "ruamel.yaml.error",
    "ruamel.yaml.nodes",
    "ruamel.yaml.tokens",
    "semver",
    "tomllib",
    "typing",
    "urllib.parse",
    "uuid",
}


def strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string literal but docstrings; of an f-string, the parts."""
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.lineno, node.value


def calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The last name of everything that is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield node.lineno, name


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def read(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), str(file))


def named(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_there_are_sources() -> None:
    assert {SUBJECTS, TOPOLOGY} < set(SOURCES)


@pytest.mark.parametrize("file", SOURCES, ids=named)
def test_only_the_table_of_subjects_holds_subjects(file: Path) -> None:
    found = [f"{named(file)}:{line}: {text!r}" for line, text in strings(read(file)) if SUBJECT.match(text)]
    assert bool(found) == (file == SUBJECTS), found


@pytest.mark.parametrize("file", SOURCES, ids=named)
def test_only_the_topology_declares_streams(file: Path) -> None:
    found = {name for _, name in calls(read(file)) if name in DECLARES | {"StreamConfig", "update_stream"}}
    if file == TOPOLOGY:
        assert found >= DECLARES
    else:
        assert not found, f"{named(file)} calls {found}"


@pytest.mark.parametrize("file", PURE, ids=named)
def test_the_pure_layers_import_nothing_that_reads_or_writes(file: Path) -> None:
    own = tuple(f"bumpless.common.{layer}" for layer in ("compat", "contract", "errors", "model", "engine"))
    foreign = [name for name in imports(read(file)) if name not in ALLOWED and not name.startswith(own)]
    assert foreign == []


@pytest.mark.parametrize("file", PURE, ids=named)
def test_the_pure_layers_neither_read_the_clock_nor_draw(file: Path) -> None:
    forbidden = {"now", "utcnow", "today", "uuid1", "uuid4", "open", "print", "input", "random"}
    found = [f"{named(file)}:{line}: {name}" for line, name in calls(read(file)) if name in forbidden]
    assert found == []
