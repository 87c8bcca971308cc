"""YAML changed in its text, by the places that the parser gives. One document, without anchors."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.tokens import AliasToken, AnchorToken

from bumpless.common.compat.documents import DocumentError
from bumpless.common.compat.paths import joined, split


@dataclass(frozen=True)
class _Entry:
    """One entry of a mapping. Lines count from 0; `last` is the last line of its value."""

    path: str
    key: Node
    value: Node
    owner: MappingNode

    @property
    def first(self) -> int:
        return int(self.key.start_mark.line)

    @property
    def last(self) -> int:
        return _last_line(self.value)

    @property
    def column(self) -> int:
        return int(self.key.start_mark.column)


class Yaml:
    """Implements `documents.Document`."""

    def data(self, text: str) -> dict[str, Any]:
        self._tree(text)
        try:
            found = YAML(typ="safe", pure=True).load(text)
        except (YAMLError, ValueError) as error:
            raise DocumentError(1, f"expected YAML: {error}") from error
        plain = _plain({} if found is None else found)
        if not isinstance(plain, dict):
            raise DocumentError(1, f"expected a mapping, found {type(found).__name__}")
        return plain

    def lines(self, text: str) -> dict[str, int]:
        return {entry.path: entry.first + 1 for entry in self._entries(text)}

    def move(self, text: str, old: str, new: str) -> str:
        entry = self._entry(text, old)
        (parent, _), (other, name) = split(old), split(new)
        start, end = entry.key.start_mark.index, entry.key.end_mark.index
        if parent == other:
            return text[:start] + _scalar(name) + text[end:]
        if entry.owner.flow_style:
            value = _value_at(self.data(text), old)
            return self.put(self.take(text, old), new, value, "")
        column = entry.column
        renamed = text[:start] + _scalar(name) + text[end:]
        rows = renamed.splitlines(keepends=True)
        first = _comments_above(rows, entry)
        block = _shifted(rows[first : entry.last + 1], -column)
        there = self._find(text, other)
        if there is None:
            # The new mapping stands where its first member stood.
            outer = other.rsplit(".", 1)[0] if "." in other else ""
            if outer == parent:
                fresh = [f"{_scalar(split(other)[1])}:\n", *_shifted(block, 2)]
                return "".join([*rows[:first], *_shifted(fresh, column), *rows[entry.last + 1 :]])
        return self._insert(self.take(text, old), other, block)

    def put(self, text: str, path: str, value: Any, note: str) -> str:
        entry = self._find(text, path)
        if entry is None:
            parent, name = split(path)
            return self._insert(text, parent, _dumped(name, value, note))
        start, end = entry.value.start_mark.index, entry.value.end_mark.index
        plain = isinstance(entry.value, ScalarNode) and entry.value.style not in ("|", ">")
        if entry.owner.flow_style or (plain and not isinstance(value, dict | list)):
            space = " " if text[start - 1 : start] == ":" else ""
            return text[:start] + space + _flow(value) + text[end:]
        rows = text.splitlines(keepends=True)
        block = _shifted(_dumped(split(path)[1], value, ""), entry.column)
        return "".join([*rows[: entry.first], *block, *rows[entry.last + 1 :]])

    def take(self, text: str, path: str) -> str:
        entry = self._entry(text, path)
        owner = entry.owner
        parent, name = split(path)
        if owner.flow_style:
            rest = {k: v for k, v in _value_at(self.data(text), parent).items() if k != name}
            return text[: owner.start_mark.index] + _flow(rest) + text[owner.end_mark.index :]
        rows = text.splitlines(keepends=True)
        first = _comments_above(rows, entry)
        if len(owner.value) == 1:
            if not parent:
                return "".join([*rows[:first], "{}\n", *rows[entry.last + 1 :]])
            above = self._entry(text, parent)
            colon = text.index(":", above.key.end_mark.index)
            line_end = text.index("\n", colon)
            head = text[: colon + 1] + " {}" + text[colon + 1 : line_end] + "\n"
            kept = rows[above.first + 1 : first]
            return head + "".join([*kept, *rows[entry.last + 1 :]])
        return "".join([*rows[:first], *rows[entry.last + 1 :]])

    def _insert(self, text: str, parent: str, block: list[str]) -> str:
        """`block`, written without indentation, at the end of the mapping at `parent`; it is made where it is not."""
        text = text if text.endswith("\n") or not text else text + "\n"
        above = self._find(text, parent) if parent else None
        if parent and above is None:
            outer, name = split(parent)
            return self._insert(text, outer, [f"{_scalar(name)}:\n", *_shifted(block, 2)])
        tree: Any = above.value if above is not None else self._tree(text)
        empty = not isinstance(tree, MappingNode) or not tree.value
        if above is not None and (empty or tree.flow_style):
            value = _value_at(self.data(text), parent) or {}
            if not isinstance(value, dict):
                raise DocumentError(above.first + 1, f"expected a mapping at {parent}, found {value!r}")
            rows = text.splitlines(keepends=True)
            inner = [row for name, each in value.items() for row in _dumped(name, each, "")]
            fresh = [f"{_scalar(split(parent)[1])}:\n", *_shifted([*inner, *block], 2)]
            if above.owner.flow_style:
                raise DocumentError(
                    above.first + 1, "expected no mapping in braces in another one where something is added"
                )
            return "".join([*rows[: above.first], *_shifted(fresh, above.column), *rows[above.last + 1 :]])
        if empty:
            return ("" if text.strip() in ("", "{}") else text.replace("{}\n", "", 1)) + "".join(block)
        assert isinstance(tree, MappingNode)
        if tree.flow_style:
            raise DocumentError(1, "expected a file whose outermost mapping is not written in braces")
        key, value_node = tree.value[-1]
        last = _last_line(value_node)
        rows = text.splitlines(keepends=True)
        column = int(key.start_mark.column)
        return "".join([*rows[: last + 1], *_shifted(block, column), *rows[last + 1 :]])

    def _tree(self, text: str) -> Node | None:
        try:
            for token in YAML(typ="rt", pure=True).scan(text):
                if isinstance(token, AnchorToken | AliasToken):
                    raise DocumentError(token.start_mark.line + 1, "expected no anchors and aliases")
            tree = YAML(typ="rt", pure=True).compose(text)
        except MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise DocumentError(line, f"expected YAML: {error.problem}") from error
        except (YAMLError, RecursionError) as error:
            raise DocumentError(1, f"expected YAML: {error}") from error
        if tree is not None and not isinstance(tree, MappingNode):
            raise DocumentError(tree.start_mark.line + 1, "expected a mapping")
        if tree is not None:
            _unique(tree)
        return tree

    def _entries(self, text: str) -> Iterator[_Entry]:
        tree = self._tree(text)
        return iter(()) if tree is None else _walk(tree, "")

    def _find(self, text: str, path: str) -> _Entry | None:
        return next((e for e in self._entries(text) if e.path == path), None)

    def _entry(self, text: str, path: str) -> _Entry:
        found = self._find(text, path)
        if found is None:
            raise DocumentError(1, f"expected {path}, found nothing there")
        return found


def _walk(tree: Node, parent: str) -> Iterator[_Entry]:
    if isinstance(tree, MappingNode):
        for key, value in tree.value:
            path = joined(parent, str(key.value))
            yield _Entry(path, key, value, tree)
            yield from _walk(value, path)


def _unique(tree: Node, depth: int = 0) -> None:
    if depth > 32:
        raise DocumentError(tree.start_mark.line + 1, "expected at most 32 levels")
    if isinstance(tree, SequenceNode):
        for each in tree.value:
            _unique(each, depth + 1)
    if not isinstance(tree, MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in tree.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            raise DocumentError(line, "expected a name as a key")
        if key.value in seen:
            raise DocumentError(
                line, f"expected every name once, found {key.value} again, as on line {seen[key.value]}"
            )
        seen[key.value] = line
        _unique(value, depth + 1)


def _last_line(node: Node) -> int:
    if isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    line = int(node.end_mark.line)
    # A block scalar ends at the start of what follows it.
    return line - 1 if node.end_mark.column == 0 and line > node.start_mark.line else line


def _comments_above(rows: list[str], entry: _Entry) -> int:
    """The first of the comment lines directly above; one that opens the file is about the file."""
    first = entry.first
    while first and rows[first - 1].strip().startswith("#"):
        first -= 1
    return first if first or entry.first == 0 else entry.first


def _shifted(rows: list[str], by: int) -> list[str]:
    if by >= 0:
        return [" " * by + row if row.strip() else row for row in rows]
    return [row[min(-by, len(row) - len(row.lstrip(" "))) :] for row in rows]


def _dumped(name: str, value: Any, note: str) -> list[str]:
    out = io.StringIO()
    yaml = YAML(typ="rt", pure=True)
    yaml.width = 4096
    yaml.allow_unicode = True
    yaml.dump({name: value}, out)
    rows = out.getvalue().splitlines(keepends=True)
    if note and len(rows) == 1 and "\n" in rows[0]:
        return [rows[0].rstrip("\n") + f"  # {note}\n"]
    return [f"# {note}\n", *rows] if note else rows


def _flow(value: Any) -> str:
    yaml = YAML(typ="rt", pure=True)
    yaml.width = 1 << 20
    yaml.default_flow_style = True
    out = io.StringIO()
    yaml.dump([value], out)
    return out.getvalue().strip()[1:-1]


def _scalar(name: str) -> str:
    return _flow(name)


def _value_at(data: dict[str, Any], path: str) -> Any:
    here: Any = data
    for part in path.split(".") if path else ():
        here = here[part]
    return here


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    return str(value)
