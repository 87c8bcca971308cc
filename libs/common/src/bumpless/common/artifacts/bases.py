"""Finds the old file a new one most likely came from.

A guess by path, content and name: build tools put versions and hashes into names, so these are blanked. A wrong guess
costs bytes, never correctness.
"""

from __future__ import annotations

import re
from collections import defaultdict

from .tree import Entry, Tree

_VARYING = re.compile(r"\d+|-[0-9a-f]{8,}")
"""What changes in names between versions: version numbers and content hashes."""

_SIZE_RATIO = 4
"""A base of another name must be within this factor of the new size to be worth trying."""


class Bases:
    def __init__(self, old: Tree) -> None:
        self._old = old.files
        self._by_content: dict[str, Entry] = {}
        self._by_name: defaultdict[str, list[Entry]] = defaultdict(list)
        for e in self._old.values():
            self._by_content.setdefault(e.content, e)
            if e.size:
                self._by_name[_normalised(e.path.rpartition("/")[2])].append(e)

    def with_content(self, new: Entry) -> Entry | None:
        """A file with the same bytes."""
        same_path = self._old.get(new.path)
        if same_path is not None and same_path.content == new.content:
            return same_path
        return self._by_content.get(new.content)

    def similar(self, new: Entry) -> Entry | None:
        """Same path; else the same name, in the same directory and of the closest size first."""
        same_path = self._old.get(new.path)
        if same_path is not None and same_path.size:
            return same_path
        near = [
            e
            for e in self._by_name.get(_normalised(new.path.rpartition("/")[2]), [])
            if e.size <= new.size * _SIZE_RATIO and new.size <= e.size * _SIZE_RATIO
        ]
        directory = _normalised(new.path)
        return min(
            near,
            key=lambda e: (_normalised(e.path) != directory, abs(e.size - new.size), e.path),
            default=None,
        )


def _normalised(name: str) -> str:
    return _VARYING.sub("#", name)
