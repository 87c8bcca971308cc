"""Configuration files as text that is changed where it must be and left alone elsewhere: comments and order stay.

Every change gives a new text. A format knows its text only; what is to be changed is decided in `configs`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

from bumpless.common.compat.paths import joined, split


class DocumentError(ValueError):
    """A text that is not of its format, or cannot be changed as wanted; `line` counts from 1."""

    def __init__(self, line: int, text: str) -> None:
        self.line = line
        super().__init__(text)


class Document(Protocol):
    """One format. Paths are names with dots; every function raises DocumentError for a text it cannot read."""

    def data(self, text: str) -> dict[str, Any]:
        """What the text says."""
        ...

    def lines(self, text: str) -> dict[str, int]:
        """On which line each path stands."""
        ...

    def move(self, text: str, old: str, new: str) -> str:
        """The entry at `old` under `new`, where nothing is yet, with its comments."""
        ...

    def put(self, text: str, path: str, value: Any, note: str) -> str:
        """With `value` at `path`: in its place where there is one, else at the end of its section, with `note`."""
        ...

    def take(self, text: str, path: str) -> str:
        """Without the entry at `path` and the comments that stand directly above it."""
        ...


class Json:
    """JSON has no comments; the order of entries and the indentation stay."""

    def data(self, text: str) -> dict[str, Any]:
        try:
            found = json.loads(text, object_pairs_hook=_once)
        except json.JSONDecodeError as error:
            raise DocumentError(error.lineno, f"expected JSON: {error.msg}") from error
        except (_Twice, RecursionError) as error:
            raise DocumentError(1, f"expected JSON with every name once: {error}") from error
        if not isinstance(found, dict):
            raise DocumentError(1, f"expected an object, found {type(found).__name__}")
        return dict(found)

    def lines(self, text: str) -> dict[str, int]:
        found: dict[str, int] = {}
        _json_lines(text, 0, "", found)
        return found

    def move(self, text: str, old: str, new: str) -> str:
        data = self.data(text)
        (parent, name), (other, fresh) = split(old), split(new)
        here = _at(data, parent)
        if parent == other:
            entries = [(fresh if key == name else key, value) for key, value in here.items()]
            here.clear()
            here.update(entries)
        else:
            _at(data, other)[fresh] = here.pop(name)
        return self._dumped(data, text)

    def put(self, text: str, path: str, value: Any, note: str) -> str:
        data = self.data(text)
        parent, name = split(path)
        _at(data, parent)[name] = value
        return self._dumped(data, text)

    def take(self, text: str, path: str) -> str:
        data = self.data(text)
        parent, name = split(path)
        del _at(data, parent)[name]
        return self._dumped(data, text)

    def _dumped(self, data: Mapping[str, Any], like: str) -> str:
        found = re.search(r"\n([ \t]+)\S", like)
        indent = found[1] if found else (None if "\n" not in like.strip() else "  ")
        return json.dumps(data, indent=indent, ensure_ascii=False) + ("\n" if like.endswith("\n") else "")


class _Twice(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(f"{next(n for n in names if names.count(n) > 1)!r} stands twice")
    return found


def _at(data: dict[str, Any], path: str) -> dict[str, Any]:
    here: Any = data
    for part in path.split(".") if path else ():
        here = here.setdefault(part, {})
        if not isinstance(here, dict):
            raise DocumentError(1, f"expected an object at {path}, found {here!r}")
    found: dict[str, Any] = here
    return found


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


def _json_lines(text: str, at: int, parent: str, found: dict[str, int]) -> None:
    """Walks the tokens of valid JSON; `found` gets the line of every name."""
    stack: list[tuple[str, bool]] = []  # the path of each open bracket, and whether it is an object
    key: str | None = None
    line, last = 1, 0
    expects_key = False
    for token in _TOKEN.finditer(text):
        line, last = line + text.count("\n", last, token.start()), token.start()
        word = token[0]
        here = stack[-1][0] if stack else parent
        if word in "{[":
            path = here if key is None else joined(here, key)
            stack.append((path, word == "{"))
            key, expects_key = None, word == "{"
        elif word in "}]":
            stack.pop()
            key, expects_key = None, False
        elif word == ",":
            key, expects_key = None, stack[-1][1]
        elif expects_key and word != ":":
            key, expects_key = json.loads(word), False
            if all(is_object for _, is_object in stack):
                found[joined(here, str(key))] = line
