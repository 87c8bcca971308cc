"""Which schemas of two documents say the same, references followed, also where they refer to themselves. Pure.

Every reference gets a colour, at first the same one, then in each round one for what stands there and the colours of
what that refers to. When a round tells no more apart than the one before, equal colours say the same. So the time
is that of a few looks at the documents, however their references run.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from bumpless.common.compat.schema_sides import looked_up

MAX_ROUNDS = 64
"""References in a row through which a difference spreads; with more nothing is taken to be the same."""


class Likeness:
    """`roots` are the documents, in which references are looked up."""

    def __init__(self, *roots: Any) -> None:
        self._roots = {id(root): root for root in roots}
        self._numbers = _Numbers()
        self._colours: dict[tuple[int, str], int] = {
            (number, ref): 0 for number, root in self._roots.items() for ref in set(_refs(root))
        }
        self._settled = self._settle()

    def same(self, one: Any, root: Any, other: Any, other_root: Any) -> bool:
        """Whether `one` of `root` says what `other` of `other_root` says; False if that is not known."""
        return self._settled and self._number(one, id(root)) == self._number(other, id(other_root))

    def _settle(self) -> bool:
        for _ in range(MAX_ROUNDS):
            apart = len(set(self._colours.values()))
            numbers = _Numbers()
            found = {
                key: (old, self._shape(self._at(*key), key[0], numbers)) for key, old in self._colours.items()
            }
            colours: dict[Hashable, int] = {}
            self._colours = {key: colours.setdefault(shape, len(colours)) for key, shape in found.items()}
            if len(colours) <= apart:
                return True
        return False

    def _at(self, root: int, ref: str) -> Any:
        try:
            return looked_up(self._roots[root], ref) if ref.startswith("#") else {"elsewhere": ref}
        except LookupError:
            return {"missing": ref}

    def _number(self, value: Any, root: int) -> int:
        return self._shape(value, root, self._numbers)

    def _shape(self, value: Any, root: int, numbers: _Numbers) -> int:
        """A number for what stands there, the same for the same."""
        key = id(value), root
        if key in numbers.seen:
            return numbers.seen[key][1]
        shape: Hashable
        if isinstance(value, Mapping):
            ref = value.get("$ref")
            colour = self._colours.get((root, ref)) if isinstance(ref, str) else None
            inner = (
                (name, self._shape(part, root, numbers))
                for name, part in value.items()
                if colour is None or name != "$ref"
            )
            shape = "object", colour, frozenset(inner)
        elif isinstance(value, list):
            shape = "list", tuple(self._shape(part, root, numbers) for part in value)
        else:
            shape = "value", isinstance(value, bool), value
            return numbers.of.setdefault(shape, len(numbers.of))
        found = numbers.of.setdefault(shape, len(numbers.of))
        numbers.seen[key] = value, found
        return found


class _Numbers:
    """`of`: by shape. `seen`: by identity, with the value, so that no other object can take its identity over."""

    def __init__(self) -> None:
        self.of: dict[Hashable, int] = {}
        self.seen: dict[tuple[int, int], tuple[Any, int]] = {}


def _refs(value: Any) -> Iterator[str]:
    waiting, seen = [value], set[int]()
    while waiting:
        here = waiting.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        if isinstance(here, Mapping):
            if isinstance(here.get("$ref"), str):
                yield here["$ref"]
            waiting += here.values()
        elif isinstance(here, list):
            waiting += here
