"""One run of the table of commands: its exit code is documented and the one expected, and its JSON fits the schema."""

from __future__ import annotations

import json
import re

import jsonschema

from bumpless.cli.answers import ANSWERS
from support.command_table import Run


def words_of(name: str, run: Run, fill: dict[str, str]) -> list[str]:
    words = [*name.split(), *run.words.split()]
    return [re.sub(r"\{(\w+)\}", lambda found: fill[found[1]], word) for word in words]


def check(name: str, run: Run, code: int, out: str, err: str) -> None:
    """`out` is what came with `--output json`."""
    told = f"bumpless {name} {run.words} ended with {code}: {out[-2000:]}{err[-2000:]}"
    assert code == run.code, told
    answer = ANSWERS[name]
    assert code in answer.exits, f"{told}: documented are {sorted(answer.exits)}"
    assert "Traceback" not in err, told
    if code != 0 and not out:
        assert re.search(r"error: |refused", err), told
        return
    schema = answer.document()
    assert schema is not None, told
    documents = out.splitlines() if answer.lines else [out]
    for document in documents:
        jsonschema.Draft202012Validator(schema).validate(json.loads(document))
