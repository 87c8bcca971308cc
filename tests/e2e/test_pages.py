"""README and tutorial do what they say: every command of theirs, in order, in an empty folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from bumpless.cli.home import Home
from support.blocks import script
from support.fleet_lab import processes_of

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 600

pytestmark = pytest.mark.timeout(LIMIT_S + 60)


async def test_readme_and_tutorial(tmp_path: Path) -> None:
    """Side by side, because most of their time is waiting."""
    for name in ("readme", "tutorial"):
        (tmp_path / name).mkdir()
    readme, tutorial = await asyncio.gather(
        walk(ROOT / "README.md", tmp_path / "readme"), walk(ROOT / "docs/tutorial.md", tmp_path / "tutorial")
    )
    said = re.findall(r'"greeting": ?"([^"]+)"', readme)
    assert said == ["Hello", "Good morning", "Hello"], readme
    said = re.findall(r'"greeting": ?"([^"]+)"', tutorial)
    assert said == ["Hello", "Good morning", "Hello"], tutorial
    assert "exit code 4" in tutorial, tutorial  # it waited for a person
    assert "exit code 2" in tutorial, tutorial  # version 3 was taken back


def test_targets_of_make_are_there() -> None:
    """Commands for `make` that no test can run within a test."""
    named = set(re.findall(r"^    make ([\w-]+)$", (ROOT / "README.md").read_text(), re.MULTILINE))
    targets = set(re.findall(r"^([\w-]+)(?: [\w-]+)*:", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= targets


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_no_command_escapes(page: str) -> None:
    """Whatever is fenced is run, as `bash`; else only targets of make stand apart, which are looked at above."""
    text = (ROOT / page).read_text()
    outside = re.sub(r"^```bash\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert "```" not in outside
    assert [
        line for line in re.findall(r"^    (\S.*)$", outside, re.MULTILINE) if not line.startswith("make ")
    ] == []


def test_every_target_of_make_is_told() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]+)(?: [\w-]+)*:(?!=)", makefile, re.MULTILINE))
    targets |= {f"bench-{found.stem[6:]}" for found in (ROOT / "benchmarks").glob("bench_*.py")}
    page = (ROOT / "CONTRIBUTING.md").read_text()
    lacking = [name for name in targets if f"`make {name}`" not in page and f"`{name}`" not in page]
    assert lacking == [], "CONTRIBUTING.md has a line for each"


async def walk(page: Path, folder: Path) -> str:
    """Run the page's blocks; what they printed. The folder is short-lived, and so is everything that runs in it."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("BUMPLESS_")},
        "TMPDIR": str(folder),
        "NO_COLOR": "1",
    }
    said = folder / "said.txt"
    with said.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", script(page)),
            cwd=ROOT,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(LIMIT_S):
            code: int | None = await process.wait()
    except TimeoutError:
        code = None
    finally:
        left = end_all(process.pid, folder)
    text = said.read_text(errors="replace")
    assert code == 0, (
        f"{page.name}: expected it to end with 0, found {code} (None: not within {LIMIT_S} s):\n{text[-6000:]}"
    )
    assert not left, f"{page.name}: expected nothing to run at the end, found {left}\n{text[-3000:]}"
    return text


def end_all(session: int, folder: Path) -> list[int]:
    """Kill what the commands left running; the processes of control planes among them."""
    left = [pid for home in folder.glob("*/.bumpless") for pid in processes_of(Home(home))]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)
    return left
