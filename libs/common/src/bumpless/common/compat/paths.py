"""Values in nested mappings by names with dots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def has(data: Mapping[str, Any], path: str) -> bool:
    here: Any = data
    for part in path.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return False
        here = here[part]
    return True


def value_at(data: Mapping[str, Any], path: str) -> Any:
    """Raises: KeyError."""
    here: Any = data
    for part in path.split("."):
        here = here[part]
    return here


def joined(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent else name


def split(path: str) -> tuple[str, str]:
    """The path of the mapping that holds it (empty: the document itself), and the name in there."""
    parent, _, name = path.rpartition(".")
    return parent, name


def leaves(data: Mapping[str, Any], parent: str = "") -> Iterator[tuple[str, Any]]:
    """Every path that holds something other than a mapping with entries, with what it holds."""
    for name, value in data.items():
        path = joined(parent, str(name))
        if isinstance(value, Mapping) and value:
            yield from leaves(value, path)
        else:
            yield path, value


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], parent: str = ""
) -> Iterator[tuple[str, bool]]:
    """Paths at which the two differ, the outermost that says it all; True: `after` has something there."""
    for name in before:
        if name not in after:
            yield joined(parent, name), False
    for name, value in after.items():
        path = joined(parent, name)
        if name not in before:
            yield path, True
        elif isinstance(value, Mapping) and isinstance(before[name], Mapping) and value and before[name]:
            yield from differences(before[name], value, path)
        elif not same(before[name], value):
            yield path, True


def same(left: Any, right: Any) -> bool:
    """Equal, and of one type: true is not 1 here."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right)


def take(record: dict[str, Any], path: str) -> Any:
    *outer, name = path.split(".")
    here: Any = record
    for part in outer:
        here = here[part]
    return here.pop(name)


def prune(record: dict[str, Any], path: str) -> None:
    """Objects on the way to `path` that hold nothing any more were made to hold it."""
    while path := path.rpartition(".")[0]:
        if not has(record, path) or value_at(record, path) != {}:
            return
        take(record, path)
