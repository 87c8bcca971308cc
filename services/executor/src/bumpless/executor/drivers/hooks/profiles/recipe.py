"""What a profile is: a pure function from how a release starts a program to how it is started and switched here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bumpless.common.errors import Refused
from bumpless.common.model.hooks import SwitchHooks
from bumpless.common.model.release import Timing


@dataclass(frozen=True)
class Given:
    """`command` is the release's; `descriptors` are the inherited sockets by name; `directory` is for this instance
    alone and ends with it; `listener` is the one socket to use, None: the first."""

    command: tuple[str, ...]
    descriptors: Mapping[str, int]
    directory: Path
    timing: Timing
    listener: str | None = None

    def descriptor(self) -> int:
        """Of the one socket that the program takes. Raises: Refused."""
        name = self.listener or next(iter(self.descriptors), None)
        if name is None or name not in self.descriptors:
            raise Refused(
                f"a socket {name!r} under run.listen" if name else "a socket under run.listen",
                ", ".join(self.descriptors) or "none",
                "name it there, or in run.profile.listener",
            )
        return self.descriptors[name]


@dataclass(frozen=True)
class Recipe:
    """`env` is added to the environment; what the release sets under `run.env` wins."""

    command: tuple[str, ...]
    hooks: SwitchHooks
    env: Mapping[str, str] = field(default_factory=dict)


Profiled = Callable[[Given], Recipe]
