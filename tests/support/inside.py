"""Tests marked `booted` run inside a machine that systemd booted, and are reported here as if they had run here.

All that were chosen run there in one go, in a pytest of its own, before the first of them is due and outside its time
limit. Their reports are written down there and played back here. Without a machine they are skipped, with the reason.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import booted

REPORTS = "BUMPLESS_BOOTED_REPORTS"
ALL_S = 900


class Outside:
    """The half that sends tests inside."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._chosen: list[str] = []
        self._reports: dict[str, list[pytest.TestReport]] | None = None
        self._why = ""
        self._skipped = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._chosen = [item.nodeid for item in session.items if item.get_closest_marker("booted")]

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        # Around everything else, the time limit among it.
        if item.get_closest_marker("booted") and self._reports is None:
            self._reports = self._run()
        yield

    @pytest.hookimpl(tryfirst=True, specname="pytest_runtest_protocol")
    def pytest_play_back(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not item.get_closest_marker("booted") or self._reports is None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports.get(item.nodeid) or [self._missing(item)]:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        # What earlier tests of this module set up ends here, as it would after a test that ran here.
        item.session._setupstate.teardown_exact(nextitem)
        return True

    def _run(self) -> dict[str, list[pytest.TestReport]]:
        with tempfile.TemporaryDirectory() as place:
            shared = Path(place)
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *self._chosen]
            if self._config.getoption("--second-try"):
                command.append("--second-try")
            env = {REPORTS: str(booted.SHARED / "reports"), "PYTHONDONTWRITEBYTECODE": "1"}
            try:
                outcome = booted.run(command, shared=shared, timeout_s=ALL_S, env=env)
            except booted.CannotBootError as error:
                self._why, self._skipped = str(error), True
                return {}
            how = "did not end in time" if outcome.status is None else f"ended with {outcome.status}"
            self._why = f"the run inside {how} and did not report this test:\n{outcome.output[-8000:]}"
            return self._read(shared / "reports")

    def _read(self, path: Path) -> dict[str, list[pytest.TestReport]]:
        found: dict[str, list[pytest.TestReport]] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            report = self._config.hook.pytest_report_from_serializable(
                config=self._config, data=json.loads(line)
            )
            found.setdefault(report.nodeid, []).append(report)
        return found

    def _missing(self, item: pytest.Item) -> pytest.TestReport:
        path, line, _ = item.location
        return pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords={},
            outcome="skipped" if self._skipped else "failed",
            longrepr=(path, (line or 0) + 1, f"Skipped: {self._why}") if self._skipped else self._why,
            when="setup",
        )


class Inside:
    """The half that runs there: every report is written down at once, so that a crash loses none."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        self._config, self._path = config, path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with open(self._path, "a") as file:
            file.write(json.dumps(data) + "\n")


def register(config: pytest.Config) -> None:
    """Whichever half this process needs."""
    path = os.environ.get(REPORTS)
    plugin = Inside(config, Path(path)) if path else Outside(config)
    config.pluginmanager.register(plugin, "bumpless-booted")
