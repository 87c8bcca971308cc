"""Python looks for cycles among objects again and again while many are made; a plan's have none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """While a plan of 10,000 nodes is made, a quarter of the time would go into collecting what is all in use."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
