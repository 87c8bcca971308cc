"""A command that is listed by its name and help, and imported only when it is entered.

Most commands need the broker's client, models and tables, which take longer to import than some commands take to run.
`tests/unit/cli/test_app.py` holds each listed help against the command's own.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

MARKUP: Literal["rich"] = "rich"


class LazyCommand(TyperCommand):
    """Stands for the command or group `name` that `module`, of this package, registers."""

    def __init__(self, name: str, module: str, help: str) -> None:
        super().__init__(name, help=help, rich_markup_mode=MARKUP)
        self.module = module

    def load(self) -> TyperCommand | TyperGroup:
        holder = typer.Typer(rich_markup_mode=MARKUP)
        import_module(f"{__package__}.{self.module}").register(holder)
        found = get_group(holder).commands[self.name or ""]
        assert isinstance(found, TyperCommand | TyperGroup)
        return found

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """The context of the command itself: what is run, shown as help and completed is not this."""
        return self.load().make_context(*args, **extra)
