"""How a bug is planted: its module is compiled from a changed source when it is imported."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType

from simulation.mutants import BY_NAME, Mutant


class _Source(importlib.machinery.SourceFileLoader):
    """Reads the source of a module with its planted bug."""

    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return compile(planted(self._mutant, self.get_data(path).decode()), path, "exec")  # type: ignore[no-any-return]


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._mutant.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Source(name, spec.origin, self._mutant)
        return spec


def planted(mutant: Mutant, source: str) -> str:
    """`source` with the bug. Raises: LookupError, where its place is not there exactly once."""
    if source.count(mutant.old) != 1:
        raise LookupError(
            f"{mutant.name}: expected its text once in {mutant.module}, found {source.count(mutant.old)}"
        )
    return source.replace(mutant.old, mutant.new)


def plant(name: str) -> None:
    """Let the bug be there when its module is imported. Call it before that."""
    mutant = BY_NAME[name]
    assert mutant.module not in sys.modules, f"{mutant.module} is imported already"
    sys.meta_path.insert(0, _Finder(mutant))
