"""How changes of a rollout are told where there is no terminal: plain lines, data, and the logs of CI systems.

GitHub Actions fold lines between `::group::` and `::endgroup::`, and lift `::error::` and its like out of the log.
GitLab folds sections. Both take these from standard output, so the lines between them are the plain ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from bumpless.cli.output import Format, Output
from bumpless.cli.remarks import Level, Remark, Remarks, ending
from bumpless.cli.watched import Watched
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message


class Telling(Protocol):
    def tell(self, message: Message, text: str) -> None:
        """`text` is the line about `message`; empty where it has none."""

    def end(self, watched: Watched) -> None: ...


def telling(output: Output, environment: Mapping[str, str] = os.environ) -> Telling:
    """The way that fits where we run."""
    if output.format is not Format.TABLE:
        return Data(output)
    if environment.get("GITHUB_ACTIONS") == "true":
        return Github()
    if environment.get("GITLAB_CI") == "true":
        return Gitlab()
    return Plain()


class Plain:
    """Each line once."""

    def __init__(self) -> None:
        self._last = ""

    def tell(self, message: Message, text: str) -> None:
        if text and text != self._last:
            print(text, flush=True)
        self._last = text or self._last

    def end(self, watched: Watched) -> None: ...


class Data:
    """Every message as it is."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def tell(self, message: Message, text: str) -> None:
        self._output.item(message.model_dump(mode="json"), text)

    def end(self, watched: Watched) -> None: ...


class _Folded(Plain):
    """Lines folded by what the rollout, or its revert, is doing; remarks stand outside of the folds."""

    def __init__(self) -> None:
        super().__init__()
        self._open: str | None = None
        self._at: datetime | None = None
        self._remarks = Remarks()

    def tell(self, message: Message, text: str) -> None:
        self._at = message.at
        if isinstance(message, e.RolloutProgressed):
            what = "revert" if message.of is not None else "rollout"
            self._fold(f"{what} {message.rollout[:8]} {message.status}")
        super().tell(message, text)
        for remark in self._remarks.of(message):
            self.remark(remark)

    def end(self, watched: Watched) -> None:
        self._fold(None)
        self.remark(ending(watched))

    def _fold(self, title: str | None) -> None:
        if title == self._open:
            return
        if self._open is not None:
            self.close(self._open)
        self._open = title
        if title is not None:
            self.open(title)

    def open(self, title: str) -> None: ...
    def close(self, title: str) -> None: ...
    def remark(self, remark: Remark) -> None: ...


class Github(_Folded):
    def open(self, title: str) -> None:
        print(f"::group::{_github(title)}", flush=True)

    def close(self, title: str) -> None:
        print("::endgroup::", flush=True)

    def remark(self, remark: Remark) -> None:
        title = _github(remark.title).replace(":", "%3A").replace(",", "%2C")
        print(f"::{remark.level} title={title}::{_github(remark.text)}", flush=True)


class Gitlab(_Folded):
    """Sections have a name that is given twice, and the second of their beginning and end."""

    _COLORS = {Level.ERROR: 31, Level.WARNING: 33, Level.NOTICE: 32}

    def open(self, title: str) -> None:
        print(f"\x1b[0Ksection_start:{self._second()}:{_name(title)}\r\x1b[0K{title}", flush=True)

    def close(self, title: str) -> None:
        print(f"\x1b[0Ksection_end:{self._second()}:{_name(title)}\r\x1b[0K", flush=True)

    def remark(self, remark: Remark) -> None:
        words = " ".join(f"{remark.level.upper()}: {remark.title}: {remark.text}".split())
        print(f"\x1b[{self._COLORS[remark.level]}m{words}\x1b[0m", flush=True)

    def _second(self) -> int:
        return 0 if self._at is None else int(self._at.timestamp())


def _github(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _name(title: str) -> str:
    return re.sub(r"[^a-z0-9_.-]", "_", title.lower())
