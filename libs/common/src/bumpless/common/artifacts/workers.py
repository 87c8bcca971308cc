"""Threads that pack at the same time, within a budget of memory.

The heavy work (sorting suffixes, compressing) happens in C with the interpreter's lock released, so threads are
enough. A task that needs more than the whole budget runs alone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar

from .limits import MIB

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """`jobs` threads for whole files and as many for the parts of one; `memory` in bytes."""

    def __init__(self, jobs: int | None = None, memory: int = 1536 * MIB) -> None:
        self.jobs, self.memory = jobs or os.cpu_count() or 1, memory
        self._files = ThreadPoolExecutor(self.jobs, "pack")
        self._parts = ThreadPoolExecutor(self.jobs, "pack-part")
        self._free = memory
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in (self._files, self._parts):
            pool.shutdown(cancel_futures=True)

    def files(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """The results in the order of `items`. `work` may use `parts`."""
        return self._files.map(work, items)

    def parts(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """The results in the order of `items`. `work` may use `holding`, nothing else of this."""
        return list(self._parts.map(work, items))

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Wait until `size` bytes of the budget are free, and hold them."""
        size = min(size, self.memory)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()
