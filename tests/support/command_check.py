"""One run of the table of commands: its exit code is documented and the one expected, and its JSON fits the schema."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys

import jsonschema

from bumpless.cli import app
from bumpless.cli.answers import ANSWERS
from support.command_table import Run
from support.fleet_lab import Ended


def words_of(name: str, run: Run, fill: dict[str, str]) -> list[str]:
    words = [*run.before.split(), *name.split(), *run.words.split()]
    return [re.sub(r"\{(\w+)\}", lambda found: fill[found[1]], word) for word in words]


def in_process(*words: str) -> Ended:
    """`bumpless` with these words, in this process: starting one takes longer than most commands."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["bumpless", "-o", "json", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            app.main()
    except SystemExit as end:
        if isinstance(end.code, str):  # as the interpreter does at its end
            return Ended(1, out.getvalue(), err.getvalue() + end.code)
        return Ended(int(end.code or 0), out.getvalue(), err.getvalue())
    finally:
        sys.argv = before
    raise AssertionError("main exits")


def faults(name: str, run: Run, done: Ended) -> list[str]:
    """What is wrong with a run, in one text."""
    try:
        check(name, run, done.code, done.out, done.err)
    except (AssertionError, ValueError, jsonschema.ValidationError) as error:
        return [f"{name} {run.words}: {error}"]
    return []


def check(name: str, run: Run, code: int, out: str, err: str) -> None:
    """`out` is what came with `--output json`. Raises: what `faults` tells."""
    told = f"bumpless {name} {run.words} ended with {code}: {out[-2000:]}{err[-2000:]}"
    assert code == run.code, told
    answer = ANSWERS[name]
    assert code in answer.exits, f"{told}: documented are {sorted(answer.exits)}"
    assert "Traceback" not in err, told
    if code != 0 and not out:
        assert re.search(r"error: |refused|expected ", err), told
        return
    schema = answer.document()
    if schema is None:
        assert not out, told
        return
    documents = out.splitlines() if answer.lines else [out]
    for document in documents:
        jsonschema.Draft202012Validator(schema).validate(json.loads(document))
