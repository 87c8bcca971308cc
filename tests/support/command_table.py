"""Every command of `bumpless` with runs of it: the words, and the exit code that must come. THE table: a command that is
missing here fails a test, and so does one whose help, JSON or exit code is not what `bumpless.cli.answers` says.

Words in braces are filled in by whoever runs: `{fixtures}`, `{release}` and the like.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """`words` follow the name of the command."""

    words: str
    code: int = 0


ALONE: dict[str, tuple[Run, ...]] = {
    "keys generate": (Run("--out {tmp}/more"), Run("--out {tmp}/more", 1)),
    "keys trust": (Run("release {tmp}/more/release.key"), Run("release nonsense", 1)),
    "drill list": (Run(""),),
    "dashboard user add": (
        Run("ada --role operator --password-file {tmp}/password --users {tmp}/users.json"),
        Run("ada --role operator --password-file {tmp}/none --users {tmp}/none/users.json", 1),
    ),
    "dashboard user list": (Run("--users {tmp}/users.json"),),
    "dashboard user remove": (
        Run("ada --users {tmp}/users.json"),
        Run("nobody --users {tmp}/users.json", 1),
    ),
    "dashboard link": (Run("", 1),),
    "waive": (
        Run("WINDOW fleet --release {digest} --reason why --until 2h --out {tmp}/waiver.json"),
        Run("NONSENSE fleet --release {digest} --reason why --until 2h", 1),
    ),
    "release lint": (Run("{fixtures}/compat/matrix-a.yaml"), Run("{tmp}/none.yaml", 1)),
    "compat level": (
        Run("{fixtures}/compat/matrix-a.yaml metadata-service 1.1.0 2.0.0"),
        Run("{tmp}/none a 1 2", 1),
    ),
    "compat path": (
        Run("{fixtures}/compat/matrix-a.yaml --from metadata-service=1.0.0"),
        Run(
            "{fixtures}/compat/matrix-b.yaml --from metadata-service=1.0.0 --from data-service=1.1.0 "
            "--from client-sdk=1.0.0 --to metadata-service=2.0.0",
            1,
        ),
    ),
    "compat report": (Run("{fixtures}/compat/files.yaml files 1.0.0 3.0.0"),),
    "compat schema": (Run("{fixtures}/compat/s/file1.json {fixtures}/compat/s/file1.json"),),
    "compat openapi": (Run("{tmp}/old.json {tmp}/old.json"), Run("{tmp}/old.json {tmp}/new.json", 1)),
    "compat interfaces": (Run("{fixtures}/compat/matrix-a.yaml"),),
    "contract verify": (
        Run(
            "{fixtures}/contracts/sdk-api.json --provider-url {provider} --state-change-url {provider}/state"
        ),
    ),
    "contract matrix": (Run("{fixtures}/compat/matrix-a.yaml"),),
    "config check": (
        Run("{fixtures}/config/release.yaml api"),
        Run("{fixtures}/config/release.yaml web", 1),
    ),
    "config migrate": (
        Run("{fixtures}/config/release.yaml api 1.0.0 3.0.0 {fixtures}/config/conf/app-1.yaml"),
        Run("{fixtures}/config/release.yaml api 3.0.0 1.0.0", 1),
    ),
    "config render": (Run("{fixtures}/config/release.yaml api --compat"),),
    "record check": (
        Run("{fixtures}/compat/files.yaml file 1 {fixtures}/compat/record.json"),
        Run("{fixtures}/compat/files.yaml file 3 {fixtures}/compat/record.json", 1),
    ),
    "record migrate": (
        Run(
            "{fixtures}/compat/files.yaml file-with-group 1 3 {fixtures}/compat/record.json "
            "--supply now=2026-01-01T00:00:00Z"
        ),
        Run("{fixtures}/compat/files.yaml file 1 3 {fixtures}/compat/record.json --supply now=2026-01-01", 1),
    ),
    "record path": (Run("{fixtures}/compat/files.yaml file-with-group 1 3 --no-way-back"),),
    "gate replay": (
        Run("{fixtures}/gate/good.jsonl --detailed-exitcode"),
        Run("{fixtures}/gate/errors.jsonl --detailed-exitcode", 2),
        Run("{tmp}/none.jsonl", 1),
    ),
    "gate pin": (Run("{fixtures}/gate/good.jsonl"),),
    "gate simulate": (Run("--rps 20 --nodes 4 --runs 2"), Run("--rps 20 --nodes 4 --canary 5", 1)),
    "artifact build": (
        Run("{tmp}/tree --name api --version 1 --out {tmp}/dist"),
        Run("{tmp}/nowhere --name api --version 1 --out {tmp}/dist", 1),
    ),
    "artifact verify": (Run("{tmp}/dist/api-1.artifact.json"), Run("{tmp}/tree", 1)),
    "artifact inspect": (Run("{tmp}/dist/api-1.artifact.json"), Run("{tmp}/nowhere", 1)),
    "artifact diff": (Run("{tmp}/tree {tmp}/tree2 --out {tmp}/api.patch"),),
    "artifact apply": (
        Run("{tmp}/tree {tmp}/api.patch {tmp}/made"),
        Run("{tmp}/tree {tmp}/nowhere {tmp}/x", 1),
    ),
    "alert check": (Run("{tmp}/alerts.yaml"), Run("{tmp}/none.yaml", 1)),
    "down": (Run("--purge"),),
}
"""What needs no control plane. In this order: later ones use what earlier ones made."""

FLEET: dict[str, tuple[Run, ...]] = {
    "plan": (
        Run("{release} --detailed-exitcode", 2),
        Run("{release} --picture tree"),
        Run("{home}/none.yaml", 1),
    ),
    "stage": (Run("{release} --check"), Run("{release}", 1)),
    "gate dry-run": (Run("{release}", 1),),
    "release build": (Run("{release} --event {home}/published.json"), Run("{home}/none.yaml", 1)),
    "release publish": (Run("{release}"),),
    "pause": (Run("--reason look"),),
    "status": (Run("--no-watch", 4),),
    "resume": (Run(""), Run("{none}", 1)),
    "promote": (Run("--batch nothing", 1),),
    "approve": (Run("{digest}", 1),),
    "deny": (Run("{digest} --reason no", 1),),
    "retry": (Run("", 1),),
    "abort": (Run("--reason enough"),),
    "rollout watch": (Run("", 2),),
    "gate record": (Run("--no-follow --history 60"),),
    "rollout status": (Run("", 2),),
    "rollback": (Run("--no-wait", 1),),
    "apply": (Run("{good}"),),
    "rollout list": (Run(""),),
    "rollout history": (Run(""),),
    "rollout replay": (Run("--verify"), Run("{none}", 1)),
    "rollout compare": (Run(""),),
    "rollout report": (Run("--out {home}/report.html"), Run("{none}", 1)),
    "drill run": (Run("fail-start {release} --node nobody --component core", 1),),
    "drill report": (Run(""),),
    "rehearsed": (Run("--fleet staging --out {home}/rehearsed.json"),),
    "fleet list": (Run(""),),
    "fleet show": (Run("node-1"), Run("nobody", 1)),
    "fleet drain": (Run("node-1 --reason disk"),),
    "fleet undrain": (Run("node-1"),),
    "events tail": (Run("rollouts --since 600 --count 3"), Run("nonsense", 1)),
    "webhook list": (Run(""),),
    "webhook dead-letters": (Run(""),),
    "alert list": (Run("--all"),),
    "alert show": (Run("none", 1),),
    "alert ack": (Run("none", 1),),
    "alert test-channel": (Run("none", 1),),
    "alert silence add": (Run('node="node-1" --for 2h --comment disk'),),
    "alert silence list": (Run(""),),
    "alert silence expire": (Run("none", 1),),
    "artifact gc": (Run("--dry-run"),),
}
"""What is asked of a fleet whose canary bakes until somebody decides, in this order."""

ELSEWHERE = {
    "up": "tests/e2e/test_up_down.py",
    "agent run": "every test with a fleet",
}
"""Run by other tests, that start and stop what they start."""

TABLE = {**ALONE, **FLEET}
