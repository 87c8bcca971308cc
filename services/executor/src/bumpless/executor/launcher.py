"""Starts the executor's version that this node shall run. A service manager starts this, and nothing else.

    python -m bumpless.executor.launcher

The versions are those of the component `executor`, below `components/executor` of the data directory; while there is
none, what is installed beside this file runs. A version that has not said yet that it works gets a few starts and a
limit on each, then the one before it runs, and is told why.

This file is what no release replaces: standard library only, no other module of ours, and it takes the place of its
own process, so that pid, children and open sockets stay. `launch.py` is the executor's side of it.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NoReturn

INSTALLED = ""
"""Stands for a version: what is installed beside this file."""
STARTS = 2
"""Of a version that has not confirmed: a power cut or a stray kill in the first one decides nothing."""
LIMIT_S = 60.0
LAST_WORDS_BYTES = 1500
HIGH_FD = 64
DATA_DIR = "BUMPLESS_EXECUTOR_DATA_DIR"
LAUNCHED = "BUMPLESS_LAUNCHED"
"""What the executor is told by its launcher, as JSON; see `Told`."""


@dataclass(frozen=True)
class Trial:
    """A version that is not confirmed: how often it was started, when last (seconds since boot), and for how long at most."""

    root: str
    limit_s: float = LIMIT_S
    starts: int = 0
    began: float = 0.0


@dataclass(frozen=True)
class State:
    """`launch.json`. Versions are the hex digits of their trees. `confirmed` None: nothing is known."""

    confirmed: str | None = None
    trial: Trial | None = None


@dataclass(frozen=True)
class Choice:
    """What to start. `trial` is to be written before; `fell_back` says why it is not the current version."""

    root: str
    trial: Trial | None = None
    fell_back: str = ""


@dataclass(frozen=True)
class Told:
    """`failed` did not come up, because of `why`. `command` and `path` (PYTHONPATH) start the launcher again; `stderr`
    is the descriptor of the real standard error while a trial writes to its log, else -1."""

    root: str = INSTALLED
    failed: str = ""
    why: str = ""
    command: tuple[str, ...] = ()
    path: str | None = None
    stderr: int = -1


def choose(current: str, previous: str, state: State, now: float) -> Choice:
    """What to start, from what the links name. Pure."""
    if current in (INSTALLED, state.confirmed):
        return Choice(current)
    trial = state.trial if state.trial is not None and state.trial.root == current else Trial(current)
    late = trial.starts > 0 and now - trial.began >= trial.limit_s
    if trial.starts < STARTS and not late:
        return Choice(current, replace(trial, starts=trial.starts + 1, began=now))
    why = (
        f"expected the new executor to confirm within {trial.limit_s:g} s, found it silent"
        if late
        else f"expected the new executor to confirm that it works, found it ended {trial.starts} times before"
    )
    return Choice(INSTALLED if state.confirmed == INSTALLED else previous, fell_back=why)


def home_of(data_dir: Path) -> Path:
    return data_dir / "components" / "executor"


def read_state(data_dir: Path) -> State:
    """What `write_state` wrote; nothing is known where there is nothing that can be read."""
    try:
        found = json.loads((data_dir / "launch.json").read_bytes())
        trial = found.get("trial")
        return State(
            found.get("confirmed"),
            trial
            and Trial(trial["root"], float(trial["limit_s"]), int(trial["starts"]), float(trial["began"])),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return State()


def write_state(data_dir: Path, state: State) -> None:
    """Replace it, flushed with its name. Raises: OSError."""
    part = data_dir / ".launch.json.part"
    with open(part, "wb") as file:
        file.write(json.dumps(asdict(state)).encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, data_dir / "launch.json")
    directory = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def trial_log(home: Path) -> Path:
    """What versions that had not confirmed yet wrote to standard error."""
    return home / "log" / "trial.log"


def python_path(home: Path, root: str, path: str | None) -> str | None:
    """PYTHONPATH for a version, where `path` is that of the launcher."""
    if root == INSTALLED:
        return path
    site = str((home / "versions" / root / "site").resolve())
    return f"{site}{os.pathsep}{path}" if path else site


def program(root: str) -> list[str]:
    """The executor's command. The current folder must not add modules to a version (-P), and a version's folder stays
    as it was verified, without byte code that was not in it (-B)."""
    flags = [] if root == INSTALLED else ["-P", "-B"]
    return [sys.executable, *flags, "-m", "bumpless.executor.app"]


def with_path(env: Mapping[str, str], path: str | None) -> dict[str, str]:
    kept = {name: value for name, value in env.items() if name != "PYTHONPATH"}
    return kept if path is None else {**kept, "PYTHONPATH": path}


def main() -> NoReturn:
    if not os.environ.get(DATA_DIR):
        sys.exit(f"launcher: expected the setting {DATA_DIR}, found none")
    data_dir = Path(os.environ[DATA_DIR])
    home, state = home_of(data_dir), read_state(data_dir)
    choice = choose(_named(home / "current"), _named(home / "previous"), state, time.monotonic())
    stderr = -1
    if choice.trial is not None:
        try:
            write_state(data_dir, replace(state, trial=choice.trial))
            stderr = _begin_trial(home, choice.trial)
        except OSError as error:
            # A start that cannot be counted could be repeated for ever.
            why = f"expected to write {data_dir / 'launch.json'}, found {error}"
            choice = Choice(_named(home / "previous"), fell_back=why)
    why = choice.fell_back and choice.fell_back + _last_words(home)
    command = (sys.executable, "-P", str(Path(__file__).resolve()))
    failed = _named(home / "current") if why else ""
    told = Told(choice.root, failed, why, command, os.environ.get("PYTHONPATH"), stderr)
    env = with_path(os.environ, python_path(home, choice.root, told.path))
    os.execve(sys.executable, program(choice.root), {**env, LAUNCHED: json.dumps(asdict(told))})


def _begin_trial(home: Path, trial: Trial) -> int:
    """Arm the alarm, which outlives exec and ends the process unless the version confirms, and keep what it says."""
    kind = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if trial.starts == 1 else 0)
    trial_log(home).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = os.open(trial_log(home), kind, 0o600)
    stderr = fcntl.fcntl(2, fcntl.F_DUPFD, HIGH_FD)
    os.dup2(log, 2)
    os.close(log)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, trial.limit_s)
    return stderr


def _last_words(home: Path) -> str:
    try:
        said = trial_log(home).read_bytes()[-LAST_WORDS_BYTES:].decode(errors="replace").strip()
    except OSError:
        return ""
    return f"; its last words: {said}" if said else ""


def _named(link: Path) -> str:
    try:
        return os.path.basename(os.readlink(link))
    except OSError:
        return INSTALLED


if __name__ == "__main__":
    main()
