"""A real Alertmanager, whose webhook goes where the test says; and what one would post to a lab."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import pytest

from bumpless.cli.embedded import free_port

START_S = 60.0


class RealAlertmanager:
    """`webhook` is the URL that it calls with `secret_file`, if any. It listens on `url`, and forgets everything at the end."""

    def __init__(self, webhook: str | None = None, secret_file: Path | None = None) -> None:
        self.program = shutil.which(
            "prometheus-alertmanager", path="/usr/local/bin:/usr/bin"
        ) or shutil.which("alertmanager", path="/usr/local/bin:/usr/bin")
        if self.program is None:
            pytest.skip("needs a real Alertmanager: apt-get install prometheus-alertmanager")
        self._directory = Path(tempfile.mkdtemp(prefix="am"))
        self._webhook, self._secret = webhook, secret_file
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        assert self.program is not None
        receiver: dict[str, Any] = {"name": "there"}
        if self._webhook is not None:
            http = {"authorization": {"type": "Bearer", "credentials_file": str(self._secret)}}
            receiver["webhook_configs"] = [{"url": self._webhook, "send_resolved": True, "http_config": http}]
        route = {"receiver": "there", "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"}
        config = self._directory / "alertmanager.yml"
        config.write_text(json.dumps({"route": route, "receivers": [receiver]}))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        with open(self._directory / "log", "wb") as log:
            self._process = subprocess.Popen(
                [
                    self.program,
                    f"--config.file={config}",
                    f"--storage.path={self._directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    "--cluster.listen-address=",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self._directory / "log").read_text()[-2000:]
                self.__exit__()
                raise AssertionError(f"expected Alertmanager to be ready within {START_S:g} s: {said}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def fire(self, labels: dict[str, str], *, ends_at: datetime | None = None, **annotations: str) -> None:
        """What Prometheus does: post an alert; with `ends_at` in the past it is over."""
        alert: dict[str, Any] = {"labels": labels, "annotations": annotations}
        if ends_at is not None:
            alert["endsAt"] = ends_at.isoformat()
        request = urllib.request.Request(
            f"{self.url}/api/v2/alerts",
            json.dumps([alert]).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are active there."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=20) as answer:
            found = json.load(answer)
        assert isinstance(found, list)
        return found

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
