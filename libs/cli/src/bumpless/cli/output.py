"""What commands print: tables for people, JSON or YAML for programs; colour only on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

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
        width = None if sys.stdout.isatty() else PIPE_WIDTH
        return Console(no_color=not self.color, highlight=False, soft_wrap=True, width=width)

    @property
    def err(self) -> Console:
        return Console(stderr=True, no_color=not self.color, highlight=False, soft_wrap=True)

    @property
    def live(self) -> bool:
        """Whether a moving display makes sense: a person on a terminal, not CI and not a pipe."""
        return self.format is Format.TABLE and sys.stdout.isatty() and not os.environ.get("CI")

    def say(self, text: str) -> None:
        """A line for the person, not part of the result."""
        self.err.print(text, markup=False)

    def line(self, text: str) -> None:
        self.out.print(text, markup=False)

    def data(self, value: Any, table: Table | str | None = None) -> None:
        """The result: `value` in JSON types, and how it looks to a person."""
        if self.format is Format.JSON:
            print(json.dumps(value, indent=2, sort_keys=True))
        elif self.format is Format.YAML:
            text = StringIO()
            yaml = YAML(typ="safe")
            yaml.default_flow_style = False
            yaml.dump(value, text)
            print(text.getvalue(), end="")
        elif isinstance(table, str):
            self.out.print(table, markup=False, end="")
        else:
            self.out.print(table if table is not None else json.dumps(value))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    found = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        found.add_column(column, overflow="fold", no_wrap=column != "Reason")
    for row in rows:
        found.add_row(*("" if cell is None else str(cell) for cell in row))
    return found


def records(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Mapping[str, Any]]:
    return [dict(zip((c.lower().replace(" ", "_") for c in columns), row, strict=True)) for row in rows]
