"""TOML, INI and .env: sections with one entry on a line. The text is changed line by line.

What a change did is read back by whoever asked for it, so a text that this cannot change well is refused, not spoilt.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bumpless.common.compat.documents import DocumentError
from bumpless.common.compat.paths import joined, split

_SECTION = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*([#;].*)?$")
_TABLES = re.compile(r"\s*\[\[")


@dataclass(frozen=True)
class _Line:
    """An entry: lines `first` to `last`, counting from 0; `name` is written from `start` to `end` of the first."""

    path: str
    section: str
    first: int
    last: int
    start: int
    end: int


class _Sectioned:
    """What the three have in common. `_entry` matches the start of an entry: its first group is the name."""

    comments: tuple[str, ...] = ("#",)
    _entry = re.compile(r"\s*([A-Za-z0-9_.\-]+)\s*=")
    _nested = True
    _inline = False
    """Whether a comment may stand behind a value."""

    def data(self, text: str) -> dict[str, Any]:
        raise NotImplementedError

    def written(self, line: int, value: Any) -> str:
        raise NotImplementedError

    def last_line(self, rows: list[str], first: int) -> int:
        return first

    def lines(self, text: str) -> dict[str, int]:
        found = self._sections(text)
        return found | {entry.path: entry.first + 1 for entry in self._scan(text)}

    def move(self, text: str, old: str, new: str) -> str:
        entry = self._find(text, old)
        (parent, _), (other, name) = split(old), split(new)
        rows = text.splitlines(keepends=True)
        first = rows[entry.first]
        if parent == other:
            written = joined(parent[len(entry.section) :].lstrip("."), name)
            rows[entry.first] = first[: entry.start] + written + first[entry.end :]
            return "".join(rows)
        above = self._above(rows, entry)
        moved = rows[above : entry.last + 1]
        line = entry.first - above
        moved[line] = moved[line][: entry.start] + name + moved[line][entry.end :]
        return self._insert("".join(rows[:above] + rows[entry.last + 1 :]), other, moved)

    def put(self, text: str, path: str, value: Any, note: str) -> str:
        parent, name = split(path)
        found = next((e for e in self._scan(text) if e.path == path), None)
        if isinstance(value, Mapping) and value:
            for inner, each in value.items():
                text = self.put(text, joined(path, str(inner)), each, note)
            return text
        if found is not None:
            rows = text.splitlines(keepends=True)
            first = rows[found.first]
            at = first.index("=", found.end) + 1
            space = " " if first[at : at + 1] == " " else ""
            tail = self._tail(first[at:]) if found.first == found.last else ""
            rows[found.first : found.last + 1] = [
                first[:at] + space + self.written(found.first + 1, value) + tail + "\n"
            ]
            return "".join(rows)
        told = [f"{self.comments[0]} {note}\n"] if note and not self._inline else []
        tail = f"  # {note}" if note and self._inline else ""
        return self._insert(text, parent, [*told, f"{name}{self._equals}{self.written(1, value)}{tail}\n"])

    def take(self, text: str, path: str) -> str:
        rows = text.splitlines(keepends=True)
        entries = [e for e in self._scan(text) if e.path == path or e.path.startswith(f"{path}.")]
        for entry in reversed(entries):
            del rows[self._above(rows, entry) : entry.last + 1]
        headers = {
            line - 1 for name, line in self._sections(text).items() if f"{name}.".startswith(f"{path}.")
        }
        if headers:
            kept = [
                row
                for row in rows
                if (m := _SECTION.match(row)) is None or not f"{m[1]}.".startswith(f"{path}.")
            ]
            return "".join(kept)
        if not entries:
            raise DocumentError(1, f"expected {path} on a line of its own, found none; change it by hand")
        return "".join(rows)

    _equals = " = "

    def _tail(self, rest: str) -> str:
        """The comment behind a value, where there is one."""
        found = re.search(r"\s+#[^\"']*$", rest.rstrip("\n"))
        return found[0] if found else ""

    def _insert(self, text: str, section: str, block: list[str]) -> str:
        rows = text.splitlines(keepends=True)
        if rows and not rows[-1].endswith("\n"):
            rows[-1] += "\n"
        if section and section not in self._sections(text):
            if not self._nested:
                raise DocumentError(1, f"expected names without dots, found one in {section}")
            gap = ["\n"] if rows and rows[-1].strip() else []
            return "".join([*rows, *gap, f"[{section}]\n", *block])
        start = self._sections(text)[section] if section else 0
        ends = [e.last + 1 for e in self._scan(text) if e.section == section]
        at = max(ends, default=start)
        if not section and not ends:
            # Before the first section, behind the comments that open the file.
            while at < len(rows) and rows[at].lstrip().startswith(self.comments):
                at += 1
            block = ["\n", *block] if at else block
        return "".join([*rows[:at], *block, *rows[at:]])

    def _sections(self, text: str) -> dict[str, int]:
        found = {}
        skip = -1
        rows = text.splitlines(keepends=True)
        for number, row in enumerate(rows):
            if number <= skip:
                continue
            if self._nested and (header := _SECTION.match(row)):
                found[header[1]] = number + 1
            elif self._entry.match(row):
                skip = self.last_line(rows, number)
        return found

    def _scan(self, text: str) -> list[_Line]:
        rows = text.splitlines(keepends=True)
        found: list[_Line] = []
        section: str | None = ""
        number = 0
        while number < len(rows):
            row = rows[number]
            if row.lstrip().startswith(self.comments):
                pass
            elif self._nested and _TABLES.match(row):
                section = None  # one of a list of tables has no name
            elif self._nested and (header := _SECTION.match(row)):
                section = header[1]
            elif (entry := self._entry.match(row)) is not None:
                last = self.last_line(rows, number)
                if section is not None:
                    path = joined(section, entry[1])
                    found.append(_Line(path, section, number, last, entry.start(1), entry.end(1)))
                number = last
            number += 1
        return found

    def _find(self, text: str, path: str) -> _Line:
        found = next((e for e in self._scan(text) if e.path == path), None)
        if found is None:
            raise DocumentError(1, f"expected {path} on a line of its own, found none; change it by hand")
        return found

    def _above(self, rows: list[str], entry: _Line) -> int:
        first = entry.first
        while first and rows[first - 1].lstrip().startswith(self.comments):
            first -= 1
        return first if first else entry.first


class Toml(_Sectioned):
    """Implements `documents.Document`."""

    _inline = True

    def data(self, text: str) -> dict[str, Any]:
        try:
            return dict(_plain(tomllib.loads(text)))
        except tomllib.TOMLDecodeError as error:
            at = re.search(r"line (\d+)", str(error))
            line = int(at[1]) if at else max(1, text.count("\n"))
            raise DocumentError(line, f"expected TOML: {error}") from error

    def written(self, line: int, value: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False)
        if isinstance(value, int | float):
            return repr(value)
        if isinstance(value, list):
            return "[" + ", ".join(self.written(line, each) for each in value) + "]"
        if isinstance(value, Mapping):
            inner = ", ".join(f"{name} = {self.written(line, each)}" for name, each in value.items())
            return "{" + inner + "}"
        raise DocumentError(line, f"expected a value that TOML can hold, found {value!r}")

    def last_line(self, rows: list[str], first: int) -> int:
        """Values may go over several lines: the entry ends where it can be read."""
        for last in range(first, len(rows)):
            try:
                tomllib.loads("".join(rows[first : last + 1]))
            except tomllib.TOMLDecodeError:
                continue
            return last
        return first


class Ini(_Sectioned):
    """Implements `documents.Document`. Every value is text; a value may not go over several lines."""

    comments = ("#", ";")
    _entry = re.compile(r"([A-Za-z0-9_\-]+)\s*=")

    def data(self, text: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        here = found
        for number, row in enumerate(text.splitlines(), start=1):
            if not row.strip() or row.lstrip().startswith(self.comments):
                continue
            if header := _SECTION.match(row):
                here = self._section(found, header[1], number)
                continue
            entry = self._entry.match(row)
            if entry is None:
                raise DocumentError(number, f"expected [section] or name = value, found {row.strip()!r}")
            if entry[1] in here:
                raise DocumentError(number, f"expected every name once, found {entry[1]} again")
            here[entry[1]] = row[entry.end() :].strip()
        return found

    def _section(self, found: dict[str, Any], name: str, number: int) -> dict[str, Any]:
        here = found
        for part in name.split("."):
            here = here.setdefault(part, {})
            if not isinstance(here, dict):
                raise DocumentError(number, f"expected no value called {part} beside the section, found one")
        return here

    def written(self, line: int, value: Any) -> str:
        return _one_line(line, value)

    def _tail(self, rest: str) -> str:
        return ""


class Env(_Sectioned):
    """Implements `documents.Document`. NAME=VALUE; every value is text, as it stands or in quotes."""

    _entry = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=")
    _nested = False
    _equals = "="

    def data(self, text: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for number, row in enumerate(text.splitlines(), start=1):
            if not row.strip() or row.lstrip().startswith("#"):
                continue
            entry = self._entry.match(row)
            if entry is None:
                raise DocumentError(number, f"expected NAME=VALUE, found {row.strip()!r}")
            if entry[1] in found:
                raise DocumentError(number, f"expected every name once, found {entry[1]} again")
            value = row[entry.end() :].strip()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            found[entry[1]] = value[1:-1] if quoted else value
        return found

    def written(self, line: int, value: Any) -> str:
        text = _one_line(line, value)
        if not re.search(r"[\s#'\"]", text):
            return text
        if "'" not in text:
            return f"'{text}'"
        if '"' not in text:
            return f'"{text}"'
        raise DocumentError(line, f"expected a value without both kinds of quotes, found {text!r}")

    def _tail(self, rest: str) -> str:
        return ""


def _one_line(line: int, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float) or "\n" in str(value):
        raise DocumentError(line, f"expected a value that fits on one line, found {value!r}")
    return str(value)


def _plain(value: Any) -> Any:
    """Dates become text, which a schema can speak about."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value if isinstance(value, bool | int | float | str) else str(value)
