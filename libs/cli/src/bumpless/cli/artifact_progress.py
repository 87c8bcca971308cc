"""How far packing is: a bar per package on a terminal, a line per package in a pipe, nothing for programs."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bumpless.cli.output import Format, Output

Tell = Callable[[str, int, int], None]
"""What is packed, bytes done, bytes of all; from any thread."""


@contextmanager
def packing(output: Output) -> Iterator[Tell]:
    if output.format is not Format.TABLE:
        yield lambda what, done, total: None
    elif sys.stderr.isatty() and not os.environ.get("CI"):
        with _bars(output) as tell:
            yield tell
    else:
        yield lambda what, done, total: output.say(f"{what}: {total} bytes packed") if done == total else None


@contextmanager
def _bars(output: Output) -> Iterator[Tell]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    tasks: dict[str, TaskID] = {}
    lock = threading.Lock()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.err) as bars:

        def tell(what: str, done: int, total: int) -> None:
            with lock:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=total)
                bars.update(tasks[what], completed=done)

        yield tell
