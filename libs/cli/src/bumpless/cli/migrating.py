"""The SQL scripts of a release file, read from the disk beside it and shown to a linter."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from bumpless.common.contract.base import Digest
from bumpless.common.errors import Refused
from bumpless.common.model.migration import Migration, MigrationFile, SqlProblem
from bumpless.common.model.release import ComponentFile

MAX_SQL_BYTES = 4 << 20
MAX_PROBLEMS = 200
"""Of one script: a release has to fit into one message."""
LIMIT_S = 60.0
LINTER = "squawk"


def signed_migrations(base: Path, item: ComponentFile) -> tuple[Migration, ...]:
    """The scripts of a component with what the linter says of them. `base`: the folder of the release file.

    Raises:
        Refused: a script is missing or unreadable, or the linter is not installed or does not answer.
    """
    if not item.migrations:
        return ()
    program = linter()
    version = _run([program, "--version"], b"", item.name).decode(errors="replace").strip()
    return tuple(_looked_at(base, item.name, migration, program, version) for migration in item.migrations)


def linter() -> str:
    """The program. It is installed beside this interpreter, or somewhere in the path. Raises: Refused."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    found = shutil.which(LINTER, path=beside)
    if found is None:
        raise Refused(
            f"the program {LINTER}, which looks at SQL before it is published",
            "none",
            "install it: pip install 'bumpless-cli[sql]'",
        )
    return found


def _looked_at(base: Path, component: str, migration: MigrationFile, program: str, version: str) -> Migration:
    path = base / migration.sql
    what = f"{component}: migration {migration.id}"
    try:
        data = path.read_bytes()
        data.decode()
    except (FileNotFoundError, IsADirectoryError):
        raise Refused(f"{what}: a file with SQL", f"nothing at {path}") from None
    except UnicodeDecodeError as error:
        raise Refused(f"{what}: UTF-8 in {path}", str(error)) from error
    if len(data) > MAX_SQL_BYTES:
        raise Refused(f"{what}: at most {MAX_SQL_BYTES} bytes in {path}", str(len(data)))
    # No file of settings from wherever this runs: the same script gives the same answer everywhere.
    words = [program, "--reporter", "json", "--config", os.devnull, "--stdin-filepath", migration.sql]
    said = _run(words, data, what)
    try:
        found = _problems(json.loads(said))
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(f"{what}: an answer of {LINTER} as JSON", f"{error}: {said[:200]!r}") from error
    if len(found) > MAX_PROBLEMS:
        raise Refused(f"{what}: at most {MAX_PROBLEMS} different problems in {path}", str(len(found)))
    digest = Digest("sha256:" + hashlib.sha256(data).hexdigest())
    return Migration(id=migration.id, sql=migration.sql, digest=digest, linter=version, found=found)


def _run(words: list[str], data: bytes, what: str) -> bytes:
    """What the program says; it ends with 1 where it found something. Raises: Refused."""
    try:
        done = subprocess.run(words, input=data, capture_output=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise Refused(f"{what}: an answer of {LINTER}", str(error)) from error
    if done.returncode not in (0, 1) or (done.returncode and not done.stdout.strip()):
        raise Refused(f"{what}: an answer of {LINTER}", done.stderr.decode(errors="replace")[:500])
    return done.stdout


def _problems(rows: list[dict[str, Any]]) -> tuple[SqlProblem, ...]:
    """One for every text of a rule, with all its lines, in the order of the file."""
    lines: dict[tuple[str, str, str], list[int]] = {}
    for row in rows:
        key = str(row["rule_name"]), str(row["message"]), str(row.get("help") or "")
        lines.setdefault(key, []).append(int(row["line"]) + 1)
    return tuple(
        SqlProblem(rule=rule, lines=tuple(sorted(set(found))), text=text, help=advice)
        for (rule, text, advice), found in lines.items()
    )
