"""How a judge says that something does not hold."""

from __future__ import annotations

from typing import NoReturn


class Violation(Exception):
    """An invariant does not hold."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name, self.text = name, text


def fail(name: str, text: str) -> NoReturn:
    raise Violation(name, text)
