"""compose.yaml as a user starts it, and everything that a test does to its containers by name.

All of it lies in a project of its own, on ports and a network that nothing else here has, and is gone afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Self

import aiohttp

from bumpless.cli.client import Client, client
from bumpless.cli.embedded import free_port
from bumpless.cli.home import Home
from bumpless.common.access.entry import Entry

ROOT = Path(__file__).resolve().parents[2]
LOAD = Path(__file__).resolve().parent / "fleet_load.py"
IMAGES = {
    "BUMPLESS_IMAGE": "bumpless:local",
    "SHOP_IMAGE": "bumpless-shop:local",
    "NATS_IMAGE": "bumpless-nats:local",
    "REDIS_IMAGE": "bumpless-redis:local",
    "PROMETHEUS_IMAGE": "bumpless-prometheus:local",
}
NODES = ("node-1", "node-2", "node-3", "node-4")
HEALTHY_S = 120.0
LIMIT_S = 300.0
FRONT_PORT = 7202


def missing() -> str:
    """Why nothing can run in containers here; empty where it can."""
    for program in ("docker", "docker-compose"):
        if shutil.which(program) is None:
            return f"needs {program}: apt-get install docker.io docker-compose"
    if _docker("version", check=False).returncode:
        return "needs a Docker that answers"
    absent = [name for name in images().values() if _docker("image", "inspect", name, check=False).returncode]
    return f"needs the images {', '.join(absent)}: make images" if absent else ""


def images() -> dict[str, str]:
    return {variable: os.environ.get(variable, name) for variable, name in IMAGES.items()}


class Stack:
    """Enter it, and the control plane and four nodes are healthy. `home` has the keys of a person and of CI."""

    def __init__(self, folder: Path, project: str = "bumplesstest", net: str = "172.30.98") -> None:
        self.project, self._net = project, net
        self.home = Home(folder / "home")
        self._names = 0
        self.ports = {name: free_port() for name in ("NATS", "DASHBOARD", "PROMETHEUS")}
        self.env = {
            **os.environ,
            **images(),
            **{f"BUMPLESS_{name}_PORT": f"127.0.0.1:{port}" for name, port in self.ports.items()},
            "BUMPLESS_DASHBOARD_URL": f"https://localhost:{self.ports['DASHBOARD']}",
            "BUMPLESS_FLEET_NET": net,
            "COMPOSE_PROJECT_NAME": project,
        }

    def __enter__(self) -> Self:
        self.compose("--profile", "demo", "down", "--volumes", "--timeout", "1")
        try:
            self.compose("--profile", "demo", "up", "--detach")
            self._fetch_keys()
            self.until_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        for name in self.containers(running=False):
            if self.state(name)["Paused"]:
                _docker("unpause", name)
        if folder := os.environ.get("CONTAINER_LOGS"):
            self.keep_logs(Path(folder))
        self.compose("--profile", "demo", "--profile", "command", "down", "--volumes", "--timeout", "5")

    def keep_logs(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.containers(running=False):
            said = _docker("logs", "--timestamps", name, check=False)
            (folder / f"{name}.log").write_text(said.stdout + said.stderr)

    # commands

    def compose(self, *words: str, ends: int | None = 0) -> subprocess.CompletedProcess[str]:
        """docker-compose as a person would call it in a clone; `ends`: the exit status that is expected."""
        done = subprocess.run(
            ["docker-compose", *words],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        if ends is not None and done.returncode != ends:
            said = f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
            raise AssertionError(
                f"docker-compose {' '.join(words)}: expected {ends}, found {done.returncode}: {said}"
            )
        return done

    async def compose_later(self, *words: str, ends: int | None = 0) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(lambda: self.compose(*words, ends=ends))

    def docker(self, *words: str) -> str:
        return _docker(*words).stdout

    # containers

    def containers(self, service: str = "", *, running: bool = True) -> list[str]:
        words = [
            "ps",
            "--format",
            "{{.Names}}",
            "--filter",
            f"label=com.docker.compose.project={self.project}",
        ]
        if service:
            words += ["--filter", f"label=com.docker.compose.service={service}"]
        return sorted(self.docker(*words, *([] if running else ["--all"])).split())

    def container(self, service: str) -> str:
        """The only container of a service, also one that ended."""
        [name] = self.containers(service, running=False)
        return name

    def inspected(self, name: str) -> Any:
        return json.loads(self.docker("inspect", name))[0]

    def state(self, name: str) -> Any:
        return self.inspected(name)["State"]

    def address(self, node: str) -> str:
        return f"{self._net}.{10 + int(node.removeprefix('node-'))}"

    def working(self, service: str) -> str:
        """The container of the service that holds the lease."""
        deadline = time.monotonic() + HEALTHY_S
        while time.monotonic() < deadline:
            for name in self.containers(service):
                with contextlib.suppress(OSError):
                    at = self.inspected(name)["NetworkSettings"]["Networks"][f"{self.project}_fleet"][
                        "IPAddress"
                    ]
                    with urllib.request.urlopen(f"http://{at}:9400/metrics", timeout=2) as said:
                        if b'bumpless_lease_held{service="%s"} 1.0' % service.encode() in said.read():
                            return name
        raise AssertionError(f"expected a container of {service} to work within {HEALTHY_S:g} s")

    @contextlib.contextmanager
    def cut_off(self, name: str, network: str = "fleet") -> Iterator[None]:
        """A container without its network for the length of the block; then with the address and names it had."""
        network = f"{self.project}_{network}"
        had = self.inspected(name)["NetworkSettings"]["Networks"][network]
        names = [word for alias in had["Aliases"] or () for word in ("--alias", alias)]
        self.docker("network", "disconnect", network, name)
        try:
            yield
        finally:
            fixed = (had.get("IPAMConfig") or {}).get("IPv4Address")
            at = ["--ip", fixed] if fixed else []
            self.docker("network", "connect", *names, *at, network, name)

    def until_healthy(self) -> None:
        deadline = time.monotonic() + HEALTHY_S
        while True:
            sick = {
                name: state.get("Health", {}).get("Status", state["Status"])
                for name in self.containers(running=False)
                if not _well(state := self.state(name))
            }
            if not sick and len(self.containers()) >= 9 + len(NODES):
                return
            if time.monotonic() > deadline:
                logs = "".join(_docker("logs", "--tail", "20", name, check=False).stdout for name in sick)
                raise AssertionError(f"expected every container healthy, found {sick}: {logs[-4000:]}")
            threading.Event().wait(0.2)

    def _fetch_keys(self) -> None:
        """The keys of people and CI out of their volume, for clients that run outside."""
        volume = f"{self.project}_keys:/keys:ro"
        words = ["run", "--rm", "--network", "none", "--volume", volume, "--entrypoint", "tar"]
        packed = subprocess.run(
            [
                "docker",
                *words,
                self.env["BUMPLESS_IMAGE"],
                "-C",
                "/keys",
                "-c",
                "keys",
                "access",
                "tls/ca.pem",
            ],
            check=True,
            capture_output=True,
            timeout=LIMIT_S,
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as files:
            files.extractall(self.home.path, filter="data")

    # people and clients

    def client(self) -> AbstractAsyncContextManager[Client]:
        """As whoever is at the command line: an operator's key, and the authority that vouches for the broker."""
        return client(self.entry(), timeout_s=20)

    def entry(self, seed: str = "services/operator") -> Entry:
        return Entry(
            f"nats://127.0.0.1:{self.ports['NATS']}",
            self.home.access / f"{seed}.seed",
            self.home.path / "tls" / "ca.pem",
        )

    def fresh(self) -> str:
        self._names += 1
        return f"v{self._names}"

    async def answers(self, node: str) -> bool:
        """Whether `front` of this node answers a request."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            limit = aiohttp.ClientTimeout(total=2)
            url = f"http://{self.address(node)}:{FRONT_PORT}/"
            async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as said:
                return said.status == 200
        return False

    @contextlib.asynccontextmanager
    async def load(self, nodes: Sequence[str] = NODES, *, failing: bool = False) -> AsyncIterator[None]:
        """Clients call `front` on these nodes for the length of the block; none may fail, unless `failing`."""
        places = [f"{self.address(node)}:{FRONT_PORT}" for node in nodes]
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(LOAD), *places, "--rate=40", stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(60):
                assert await process.stdout.readline() == b"running\n"
            yield
            process.terminate()
            async with asyncio.timeout(60):
                text, _ = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        seen = json.loads(text)
        assert failing or seen["failed"] == 0, (
            f"{seen['failed']} of {seen['total']} requests failed: {seen['failures']}"
        )


def _well(state: Any) -> bool:
    if "Health" in state:
        return bool(state["Health"]["Status"] == "healthy")
    return bool(state["Running"] or state["ExitCode"] == 0)


def _docker(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["docker", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(words)} ended with {done.returncode}: {done.stderr}")
    return done
