"""systemd as the driver sees it: unit files in one directory, `systemctl` and `journalctl`, every call with a deadline.

The programs are used and not D-Bus: they are wherever systemd is, and reach it even where no bus runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bumpless.common.errors import Refused
from bumpless.executor.drivers.logs import TAIL_BYTES, TAIL_LINES

CALL_S = 60.0
"""systemd answers in milliseconds; on a machine that is starting everything at once it may take longer."""
SETTLE_S = 0.02
"""Between two looks at a unit that is about to change."""


def usable(units: Path) -> bool:
    """Whether systemd runs here (sd_booted(3)) and lets us write units and start them."""
    return (
        Path("/run/systemd/system").is_dir()
        and shutil.which("systemctl") is not None
        and shutil.which("journalctl") is not None
        and os.geteuid() == 0
        and os.access(units, os.W_OK)
    )


class Manager:
    """Unit files lie in `units`; nothing else there is touched."""

    def __init__(self, units: Path) -> None:
        self._units = units
        self._reloading = asyncio.Lock()

    # files

    def read(self, unit: str) -> str | None:
        try:
            return (self._units / unit).read_text()
        except FileNotFoundError:
            return None

    def write(self, unit: str, text: str) -> bool:
        """Whether it was another text before. Whole or not at all, whoever reads or dies meanwhile. Raises: Refused."""
        if self.read(unit) == text:
            return False
        draft = self._units / f".{unit}.draft"
        try:
            draft.write_text(text)
            draft.replace(self._units / unit)
        except OSError as error:
            raise Refused(f"to write unit files into {self._units}", str(error)) from error
        return True

    def remove(self, unit: str) -> None:
        (self._units / unit).unlink(missing_ok=True)

    def drop_drafts(self, prefix: str) -> None:
        """Remove what an earlier executor was writing when it died."""
        for path in self._units.glob(f".{prefix}*.draft"):
            path.unlink(missing_ok=True)

    def files(self, prefix: str, suffix: str) -> Iterator[tuple[str, str]]:
        """(unit, text) of every unit file with such a name."""
        for path in sorted(self._units.glob(f"{prefix}*{suffix}")):
            with contextlib.suppress(FileNotFoundError):
                yield path.name, path.read_text()

    # units

    async def reload(self) -> None:
        """Let systemd read the unit files again. Raises: Refused."""
        async with self._reloading:
            await self.call("daemon-reload")

    async def start_new(self, *units: str) -> None:
        """Start units whose files were just written; returns when they are active or have failed. The caller bounds it:
        it ends with the units, and ending it ends nothing.

        A unit that systemd has never loaded needs no daemon-reload, which costs tens of milliseconds and reads every
        unit of the machine; only when it has not seen the file yet is it told to look.
        """
        status, _, complaint = await _run("systemctl", "--no-ask-password", "start", *units, limit_s=None)
        if status != 0 and "not found" in complaint:
            await self.reload()
            await _run("systemctl", "--no-ask-password", "start", *units, limit_s=None)

    async def require_understood(self, unit: str) -> None:
        """Raises: Refused, with what systemd would ignore in this file: a limit or a sandbox that is not there."""
        path = str(self._units / unit)
        checks = ("--man=no", "--generators=no", "--recursive-errors=no")
        _, _, complaint = await _run("systemd-analyze", "verify", *checks, path)
        lines = (line for line in complaint.splitlines() if line.startswith(f"{path}:"))
        found = [line.removeprefix(path) for line in lines if "ignoring" in line]
        if found:
            raise Refused(
                "systemd to understand run.service and run.env",
                "; ".join(line.lstrip(":0123456789 ") for line in found),
                "see systemd.exec(5) and systemd.resource-control(5)",
            )

    async def call(self, *arguments: str) -> None:
        """One systemctl call. Raises: Refused, with what it said."""
        status, said, complaint = await _run("systemctl", "--no-pager", "--no-ask-password", *arguments)
        if status != 0:
            raise Refused(f"systemctl {' '.join(arguments)} to work", complaint.strip() or said.strip())

    async def attempt(self, *arguments: str) -> None:
        """One systemctl call whose failure changes nothing, such as stopping what has gone."""
        with contextlib.suppress(Refused):
            await self.call(*arguments)

    async def show(self, unit: str) -> dict[str, str]:
        """What systemd knows of a unit, by the names of systemctl-show. Raises: Refused."""
        names = "LoadState,ActiveState,SubState,Result,MainPID,ExecMainPID,ExecMainCode,ExecMainStatus,StatusText,Job"
        status, said, complaint = await _run("systemctl", "show", "--property", names, unit)
        if status != 0:
            raise Refused(f"systemctl show {unit} to work", complaint.strip())
        pairs = (line.partition("=") for line in said.splitlines())
        return {name: value for name, _, value in pairs}

    # journal

    async def last_lines(self, unit: str) -> str:
        """What the processes of a unit wrote last, within the bounds of a reason; empty if nothing is known."""
        return await self._journal(f"_SYSTEMD_UNIT={unit}")

    async def complaints(self, unit: str) -> str:
        """The last lines about a unit, systemd's own among them."""
        return await self._journal("--unit", unit)

    async def _journal(self, *match: str) -> str:
        with contextlib.suppress(Refused):
            await _run("journalctl", "--sync")  # what was just written may still be on its way
            asked = ("--no-pager", "--quiet", "--output=cat", f"--lines={TAIL_LINES}")
            _, said, _ = await _run("journalctl", *asked, *match)
            return "\n".join(line.rstrip() for line in said[-TAIL_BYTES:].splitlines() if line.strip())
        return ""


async def _run(*argv: str, limit_s: float | None = CALL_S) -> tuple[int, str, str]:
    """Status, output, errors. Raises: Refused, if it does not end in time or is not there."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0", "LC_ALL": "C.UTF-8"},
        )
    except OSError as error:
        raise Refused(f"{argv[0]} to start", str(error)) from error
    try:
        said, complaint = await asyncio.wait_for(process.communicate(), limit_s)
    except TimeoutError as error:
        raise Refused(
            f"{' '.join(argv)} to end within {limit_s:g} s", "no end", "see how systemd is: systemctl status"
        ) from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    return process.returncode or 0, said.decode(errors="replace"), complaint.decode(errors="replace")
