"""SQL that a release brings: named in its file, and what a linter said of it when it was published.

Nothing here is run by Bumpless; whoever runs it (a hook, the component itself) finds it in the tree.
"""

from __future__ import annotations

from pydantic import Field

from bumpless.common.contract.base import Digest, Model, StrictModel, Token


class MigrationFile(StrictModel):
    """One script for PostgreSQL; `sql` is where it lies beside the release file."""

    id: Token
    sql: str = Field(min_length=1)


class SqlProblem(Model):
    """What `rule` found on `lines` (from 1); `help` is empty where the linter has no advice."""

    rule: str
    lines: tuple[int, ...]
    text: str
    help: str = ""


class Migration(Model):
    """One script in a signed release: which bytes were looked at (`digest`), by what (`linter`), and what was `found`."""

    id: Token
    sql: str
    digest: Digest
    linter: str
    found: tuple[SqlProblem, ...] = ()
