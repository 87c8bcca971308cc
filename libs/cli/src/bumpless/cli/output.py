"""What commands print: tables for people, JSON or YAML for programs; colour only on a terminal.

Every command imports this, so it imports tables and YAML only for those that print some.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

PIPE_WIDTH = 240


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@dataclass
class Output:
    """Standard output carries the result; everything else goes to standard error."""

    format: Format = Format.TABLE
    color: bool = True

    @property
    def out(self) -> Console:
        """Wide where nobody's terminal is the limit, so that a pipe gets whole lines."""
        from rich.console import Console

        width = None if sys.stdout.isatty() else PIPE_WIDTH
        return Console(no_color=not self.color, highlight=False, soft_wrap=True, width=width)

    @property
    def err(self) -> Console:
        from rich.console import Console

        return Console(stderr=True, no_color=not self.color, highlight=False, soft_wrap=True)

    @property
    def live(self) -> bool:
        """Whether a moving display makes sense: a person on a terminal, not CI and not a pipe."""
        return self.format is Format.TABLE and sys.stdout.isatty() and not os.environ.get("CI")

    def say(self, text: str) -> None:
        """A line for the person, not part of the result."""
        print(text, file=sys.stderr)

    def data(self, value: Any, table: RenderableType | None = None) -> None:
        """The result: `value` in JSON types, and how it looks to a person."""
        if self.format is Format.JSON:
            print(json.dumps(value, indent=2, sort_keys=True))
        elif self.format is Format.YAML:
            from ruamel.yaml import YAML

            text = StringIO()
            yaml = YAML(typ="safe")
            yaml.default_flow_style = False
            yaml.dump(value, text)
            print(text.getvalue(), end="")
        elif isinstance(table, str):
            print(table, end="")
        else:
            self.out.print(table if table is not None else json.dumps(value))

    def item(self, value: Any, text: str) -> None:
        """One of many results that come one by one: a line of JSON, a document of YAML, or a line of text."""
        if self.format is Format.JSON:
            print(json.dumps(value, sort_keys=True), flush=True)
        elif self.format is Format.YAML:
            print("---")
            self.data(value)
            sys.stdout.flush()
        else:
            print(text, flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    from rich.table import Table

    found = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        found.add_column(column, overflow="fold", no_wrap=column != "Reason")
    for row in rows:
        found.add_row(*("" if cell is None else str(cell) for cell in row))
    return found


def records(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Mapping[str, Any]]:
    return [dict(zip((c.lower().replace(" ", "_") for c in columns), row, strict=True)) for row in rows]
