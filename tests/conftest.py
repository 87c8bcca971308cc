"""What every test may use: a broker and a store of its own, and the flags of the suite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import Phase, settings

from support import beside, inside
from support.servers import NatsServer, RedisServer
from support.snapshots import Snapshots


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="write snapshots and goldens instead of comparing")
    parser.addoption(
        "--second-try",
        action="store_true",
        help="run a test with real processes again when it fails; listed as RERUN, and a defect to be mended",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--second-try"):
        root = Path(__file__).parents[1]
        for item in items:
            if beside.with_processes(item.path.relative_to(root)):
                item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_configure(config: pytest.Config) -> None:
    inside.register(config)
    beside.register(config)


@pytest.fixture(autouse=True)
def logging_of_its_own() -> Iterator[None]:
    """What a test sets of the logs (a command sets their level) is not the next one's."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def snapshots(request: pytest.FixtureRequest) -> Snapshots:
    """Compares text with a stored file, or stores it under `--bless`."""
    return Snapshots(bless=request.config.getoption("--bless"))


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A real broker that a test may stop and start again on the same port and the same files."""
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def nats_url(nats_server: NatsServer) -> str:
    return nats_server.url


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


# Making a failing example small can take longer than a whole run may; elsewhere it is worth the wait.
settings.register_profile(
    "unattended",
    parent=settings.get_profile("ci" if "CI" in os.environ else "default"),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
settings.register_profile("attended", deadline=None)  # How busy the machine is, is no fault of the code.
settings.load_profile("unattended" if "CI" in os.environ else "attended")
