"""What the disk tests' node is told: keys, a store with a few versions, and the commands for them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bumpless.common.artifacts.build import PreviousTree, build_artifact
from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.artifacts.stores.store import DirectoryBlobs
from bumpless.common.contract import wire
from bumpless.common.contract.base import BatchId, Digest, PlanHash, RolloutId, derive_id
from bumpless.common.contract.commands import ApplyComponent, SetAvailability, StageComponent
from bumpless.common.contract.envelope import COMMAND_TYPE
from bumpless.common.contract.subjects import subject_of
from bumpless.common.model.config import ConfigContent
from bumpless.common.model.plan import Direction, Target
from bumpless.common.model.release import ITSELF, Driver, Run, Timing
from bumpless.common.shell.broker import Received
from bumpless.executor.record import Command

NODE, COMPONENT = "node-a", "api"
TIMING = Timing(ready_timeout_s=60, soak_s=0.05, lame_duck_s=0, drain_timeout_s=5, warm_s=0)
T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SOCKET = "http"
MANY = 140
"""Files in the version "many": more than are flushed one by one."""

# What a step commands: stage or apply, which version (None: nothing), and (generation, sequence). Versions that begin
# with c have configuration files. A drain is of the whole node.
STEPS: dict[str, tuple[str, str | None, tuple[int, int]]] = {
    "install": ("apply", "v1", (1, 2)),
    "stage": ("stage", "v2", (2, 1)),
    "stage-many": ("stage", "many", (2, 1)),
    "switch": ("apply", "v2", (2, 2)),
    "rollback": ("revert", "v1", (2, 1 << 20)),
    "stage-third": ("stage", "v3", (3, 1)),
    "switch-third": ("apply", "v3", (3, 2)),
    "remove": ("apply", None, (4, 1)),
    "install-configured": ("apply", "c1", (1, 2)),
    "configure": ("apply", "c2", (2, 2)),
    "configure-third": ("apply", "c3", (3, 2)),
    "drain": ("drain", None, (0, 1)),
    "replace-installed": ("apply", "e1", (1, 2)),
    "stage-executor": ("stage", "e2", (2, 1)),
    "replace": ("apply", "e2", (2, 2)),
}
OF_ITSELF = Run(driver=Driver.EXECUTOR, timing=Timing(ready_timeout_s=60, soak_s=0, warm_s=0))
INSTALLED = "trees/installed"
"""The executor that runs while no release named one, below the site's home."""


def component_of(data: Path) -> str:
    """What a data directory is tried on: its executor, if a release named one, else the other component."""
    return ITSELF if (data / "components" / ITSELF).is_dir() else COMPONENT


class Site:
    """Kept in `home`, so that other processes find the same."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._deploy = SigningKey.load(home / "deploy.pem")
        self.trust = TrustStore.load(home / "trust.json")
        self.store = DirectoryBlobs(home / "store")

    @classmethod
    def make(cls, home: Path) -> Site:
        """The versions run the driver tests' probe; it listens on `socket`."""
        home.mkdir(parents=True)
        release, deploy = SigningKey.generate(), SigningKey.generate()
        deploy.save(home / "deploy.pem")
        TrustStore.of(release=release.public, deploy=deploy.public).save(home / "trust.json")
        store = DirectoryBlobs(home / "store")
        listen = {"http": f"unix://{home / SOCKET}"}
        run = Run(command=(sys.executable, "main.py"), timing=TIMING, listen=listen)
        earlier: list[PreviousTree] = []
        for version in ("v1", "v2", "v3", "many", "c1", "c2", "c3"):
            tree = home / "trees" / version
            _grow(tree, version)
            how = _configured(run, version) if version.startswith("c") else run
            _publish(home, store, release, (COMPONENT, version, how), tree, earlier)
            earlier = [PreviousTree(version, tree)]
        for version in ("e1", "e2"):
            _grow_executor(home / "trees" / version, version)
            _publish(home, store, release, (ITSELF, version, OF_ITSELF), home / "trees" / version, [])
        _grow_executor(home / INSTALLED, "installed")
        return cls(home)

    @property
    def socket(self) -> Path:
        return self.home / SOCKET

    def target(self, version: str) -> Target:
        return Target.model_validate_json((self.home / f"{version}.json").read_bytes())

    def command(self, step: str, before: Target | None, attempt: int = 0) -> Command | SetAvailability:
        """A later attempt has a higher generation, as a rollout that is tried again."""
        kind, version, (generation, sequence) = STEPS[step]
        if kind == "drain":
            return SetAvailability(
                id=derive_id("disk", step, str(attempt)),
                at=T0,
                node=NODE,
                sequence=sequence + attempt,
                drained=True,
                by="ann",
                since=T0,
            )
        fields = {
            "id": derive_id("disk", step, str(attempt)),
            "at": T0,
            "rollout": RolloutId("r1"),
            "plan_hash": PlanHash("sha256:plan"),
            "direction": Direction.REVERT if kind == "revert" else Direction.FORWARD,
            "generation": generation + 10 * attempt,
            "sequence": sequence,
            "node": NODE,
            "component": self.target(version).component if version else COMPONENT,
            "expires_at": T0 + timedelta(days=36500),
            "target": self.target(version) if version else None,
        }
        if kind == "stage":
            return StageComponent(**fields, batch=None, before=None)
        return ApplyComponent(**fields, batch=BatchId("b1"), before=before)

    def sent(self, command: Command | SetAvailability) -> Received:
        """The command as a standing one is read from the broker."""
        body = self._deploy.sign(COMMAND_TYPE, wire.encode(command)).to_bytes()
        return Received(subject=subject_of(command), data=body, sequence=1)


def _configured(run: Run, version: str) -> Run:
    files = (
        ConfigContent(path="app.yaml", content=f"version: {version}\n" * 40),
        ConfigContent(path="more/rules.ini", content=f"[rules]\nof = {version}\n"),
    )
    return run.model_copy(
        update={"config": files, "env": {"CONFIG": "{config}", "SHARED": "{config.shared}"}}
    )


def _publish(
    home: Path,
    store: DirectoryBlobs,
    key: SigningKey,
    what: tuple[str, str, Run],
    tree: Path,
    earlier: list[PreviousTree],
) -> None:
    """`what`: component, version and how it runs. Its target becomes a file of the site."""
    component, version, run = what
    built = build_artifact(
        tree, name=component, version=version, previous=earlier, out=home / "built", key=key
    )
    for blob in built.blobs.iterdir():
        store.write(blob)
    described = store.write(built.envelope)
    target = Target(
        component=component,
        version=version,
        root=Digest(built.artifact.root),
        artifact=Digest(described.digest),
        artifact_size=described.size,
        run=run,
    )
    (home / f"{version}.json").write_text(target.model_dump_json())


_EXECUTOR_INIT = '__path__ = __import__("pkgutil").extend_path(__path__, __name__)\n'
_EXECUTOR_APP = """\
VERSION = "{version}"
if __name__ == "__main__":
    from disk.itself import main

    main()
else:
    from pathlib import Path

    import bumpless.executor.launcher as beside

    source = Path(beside.__file__).with_name("app.py")
    exec(compile(source.read_bytes(), source, "exec"))
"""


def _grow_executor(tree: Path, version: str) -> None:
    """The code under test, with a module in front of it that runs a step of these tests; see `itself`."""
    package = tree / "site" / "bumpless" / "executor"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(_EXECUTOR_INIT)
    (package / "app.py").write_text(_EXECUTOR_APP.format(version=version))


def _grow(tree: Path, version: str) -> None:
    """Most files are the same in every version, some change, and one directory lies in another."""
    (tree / "lib" / "inner").mkdir(parents=True)
    (tree / "main.py").write_bytes((Path(__file__).parents[1] / "drivers" / "probe.py").read_bytes())
    (tree / "same").write_text("the same in every version\n" * 200)
    (tree / "lib" / "version").write_text(f"{version}\n" * 300)
    (tree / "lib" / "inner" / "deep").write_text(f"deep in {version}\n" * 2000)
    (tree / "link").symlink_to("lib/version")
    if version == "many":
        for number in range(MANY):
            (tree / f"part-{number:03}").write_text(f"{number} of {version}\n" * 20)
