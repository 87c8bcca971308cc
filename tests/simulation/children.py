"""Work in forked children, one piece each. A child that ends without a word is noticed, and none outlives its parent.

Not a pool: one that replaces its workers waits for ever for a worker that was killed with a piece in its hands.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
PR_SET_PDEATHSIG = 1
"""prctl(2)."""


def cores() -> int:
    return len(os.sched_getaffinity(0))


def outcomes(function: Callable[[T], R], work: Sequence[T], workers: int) -> Iterator[tuple[int, R]]:
    """What `function` makes of each piece of `work`, with its place there, as it comes.

    Forked, so that a child has all that is imported. Raises: RuntimeError, where one ends without a word.
    """
    fork = multiprocessing.get_context("fork")
    ahead = deque(enumerate(work))
    running: dict[Connection, tuple[int, ForkProcess]] = {}
    while ahead or running:
        while ahead and len(running) < workers:
            place, piece = ahead.popleft()
            mine, theirs = fork.Pipe(duplex=False)
            child = fork.Process(target=_work, args=(function, piece, theirs), daemon=True)
            child.start()
            theirs.close()
            running[mine] = place, child
        for heard in wait(list(running)):
            assert isinstance(heard, Connection)
            place, child = running.pop(heard)
            yield place, _word(heard, child, work[place])


def ordered(function: Callable[[T], R], work: Sequence[T], workers: int) -> Iterator[R]:
    """As `outcomes`, in the order of `work`."""
    early: dict[int, R] = {}
    following = 0
    for place, outcome in outcomes(function, work, workers):
        early[place] = outcome
        while following in early:
            yield early.pop(following)
            following += 1


def _word(heard: Connection, child: ForkProcess, piece: object) -> Any:
    try:
        said = heard.recv()
    except EOFError:
        child.join()
        raise RuntimeError(
            f"expected a word of the child with {piece}, which ended with status {child.exitcode}"
        ) from None
    child.join()
    heard.close()
    return said


def _work(function: Callable[[T], R], piece: T, to: Connection) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    to.send(function(piece))
