"""Every command of `bumpless` with runs of it: the words, and the exit code that must come. THE table: a command that is
missing here fails a test, and so does one whose help, JSON or exit code is not what `bumpless.cli.answers` says.

Words in braces are filled in by whoever runs: `{fixtures}`, `{release}` and the like.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """`words` follow the name of the command, `before` stands before it. `first` is what the test arranges, `meanwhile`
    another command that is given once this one is under way; `keep` names a field of the answer that later words use.
    """

    words: str
    code: int = 0
    before: str = ""
    first: str = ""
    meanwhile: str = ""
    keep: str = ""


ALONE: dict[str, tuple[Run, ...]] = {
    "keys generate": (Run("--out {tmp}/more"), Run("--out {tmp}/more", 1)),
    "keys trust": (Run("release {tmp}/more/release.key"), Run("release nonsense", 1)),
    "drill list": (Run(""),),
    "dashboard user add": (
        Run("ada --role operator --password-file {tmp}/password --users {tmp}/users.json"),
        Run("ada --role operator --password-file {tmp}/none --users {tmp}/none/users.json", 1),
    ),
    "dashboard user list": (Run("--users {tmp}/users.json"), Run("--users {tmp}/alerts.yaml", 1)),
    "dashboard user remove": (
        Run("ada --users {tmp}/users.json"),
        Run("nobody --users {tmp}/users.json", 1),
    ),
    "dashboard link": (Run("", 1), Run("", before="--home {tmp}/linked")),
    "node enroll": (Run("web-1 --access {tmp}/access"), Run("web-1 --access {tmp}/access", 1)),
    "keys redis-password": (Run("planner --access {tmp}/access"), Run("events --access {tmp}/access", 1)),
    "node rotate": (
        Run("web-1 --access {tmp}/access"),
        Run("web-1 --finish --access {tmp}/access"),
        Run("web-9 --access {tmp}/access", 1),
    ),
    "node install": (
        Run("web-1 --trust {tmp}/access/identities.json --root {tmp}/machine"),
        Run("web-1 --root {tmp}/machine", 1),
        Run("--part nonsense --root {tmp}/machine", 1),
    ),
    "node list": (Run("--access {tmp}/access"), Run("--access {tmp}/broken", 1)),
    "node revoke": (Run("web-1 --access {tmp}/access"), Run("web-1 --access {tmp}/access", 1)),
    "cluster init": (
        Run("{tmp}/cluster --server a=10.0.0.1 --server b=10.0.0.2 --server c=nats.example.org"),
        Run("{tmp}/other --server a=10.0.0.1", 1),
    ),
    "cluster renew": (Run("{tmp}/cluster --days 30"), Run("{tmp}/other", 1)),
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
    "compat report": (Run("{fixtures}/compat/files.yaml files 1.0.0 3.0.0"), Run("{tmp}/none files 1 2", 1)),
    "compat schema": (
        Run("{fixtures}/compat/s/file1.json {fixtures}/compat/s/file1.json"),
        Run("{fixtures}/compat/s/file1.json {fixtures}/compat/s/file3.json", 1),
    ),
    "compat openapi": (Run("{tmp}/old.json {tmp}/old.json"), Run("{tmp}/old.json {tmp}/new.json", 1)),
    "compat interfaces": (Run("{fixtures}/compat/matrix-a.yaml"), Run("{tmp}/none", 1)),
    "contract verify": (
        Run(
            "{fixtures}/contracts/sdk-api.json --provider-url {provider} --state-change-url {provider}/state"
        ),
        Run("{tmp}/none.json --provider-url {provider}", 1),
    ),
    "contract matrix": (Run("{fixtures}/compat/matrix-a.yaml"), Run("{tmp}/none", 1)),
    "config check": (
        Run("{fixtures}/config/release.yaml api"),
        Run("{fixtures}/config/release.yaml web", 1),
    ),
    "config migrate": (
        Run("{fixtures}/config/release.yaml api 1.0.0 3.0.0 {fixtures}/config/conf/app-1.yaml"),
        Run("{fixtures}/config/release.yaml api 3.0.0 1.0.0", 1),
    ),
    "config render": (
        Run("{fixtures}/config/release.yaml api --compat"),
        Run("{fixtures}/config/release.yaml web", 1),
    ),
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
    "record path": (
        Run("{fixtures}/compat/files.yaml file-with-group 1 3 --no-way-back"),
        Run("{tmp}/none file 1 2", 1),
    ),
    "gate replay": (
        Run("{fixtures}/gate/good.jsonl --detailed-exitcode"),
        Run("{fixtures}/gate/errors.jsonl --detailed-exitcode", 2),
        Run("{tmp}/short.jsonl --detailed-exitcode", 4),
        Run("{tmp}/none.jsonl", 1),
    ),
    "gate pin": (Run("{fixtures}/gate/good.jsonl"), Run("{tmp}/none.jsonl", 1)),
    "gate simulate": (Run("--rps 20 --nodes 4 --runs 2"), Run("--rps 20 --nodes 4 --canary 5", 1)),
    "artifact build": (
        Run("{tmp}/tree --name api --version 1 --out {tmp}/dist"),
        Run("{tmp}/nowhere --name api --version 1 --out {tmp}/dist", 1),
    ),
    "artifact verify": (Run("{tmp}/dist/api-1.artifact.json"), Run("{tmp}/tree", 1)),
    "artifact inspect": (Run("{tmp}/dist/api-1.artifact.json"), Run("{tmp}/nowhere", 1)),
    "artifact diff": (
        Run("{tmp}/tree {tmp}/tree2 --out {tmp}/api.patch"),
        Run("{tmp}/nowhere {tmp}/tree2", 1),
    ),
    "artifact apply": (
        Run("{tmp}/tree {tmp}/api.patch {tmp}/made"),
        Run("{tmp}/tree {tmp}/nowhere {tmp}/x", 1),
    ),
    "alert check": (Run("{tmp}/alerts.yaml"), Run("{tmp}/none.yaml", 1)),
    "agent run": (Run("", 1),),
    "down": (Run("--purge"), Run("", 1, before="--home {tmp}/broken")),
}
"""What needs no control plane. In this order: later ones use what earlier ones made."""

NOWHERE: dict[str, str] = dict.fromkeys(
    (
        *("status", "rollout status", "rollout list", "rollout watch", "rollout history", "rollout compare"),
        *("pause", "promote", "abort", "fleet list", "gate record", "artifact gc", "drill report"),
        *("webhook list", "webhook dead-letters", "alert list", "alert silence list"),
    ),
    "",
) | {
    "doctor": "",
    "backup": "{tmp}/none.zip",
    "restore": "{tmp}/none.zip",
    "apply": "{tmp}/none.yaml",
    "release publish": "{tmp}/none.yaml",
    "rehearsed": "--fleet staging",
    "fleet drain": "node-1",
    "fleet undrain": "node-1",
    "alert silence add": 'node="node-1" --for 2h --comment disk',
}
"""The words of commands that must end with 1 where there is no control plane."""

FLEET: tuple[tuple[str, Run], ...] = (
    ("plan", Run("{waits} --detailed-exitcode", 2)),
    ("plan", Run("{waits} --picture tree")),
    ("plan", Run("{home}/none.yaml", 1)),
    ("stage", Run("{waits} --check")),
    ("stage", Run("{waits}", 1)),
    ("gate dry-run", Run("{waits}", 1)),
    ("release build", Run("{waits} --event {home}/published.json")),
    ("release build", Run("{home}/none.yaml", 1)),
    # nobody approves it in time
    ("release publish", Run("{late} --wait", 2)),
    ("apply", Run("{late}", 2)),
    # it waits for an approval, and gets it
    ("release publish", Run("{asks} --wait --timeout 1", 3)),
    ("apply", Run("{asks} --timeout 1", 3)),
    ("rollout watch", Run("--timeout 1", 3)),
    ("status", Run("--timeout 1", 3)),
    ("rollout status", Run("--timeout 1", 3)),
    ("rollout status", Run("--no-watch", 4)),
    ("status", Run("--no-watch", 4)),
    ("approve", Run("{digest}", 1)),
    ("approve", Run("{hash}")),
    ("rollout watch", Run("")),
    ("rollout status", Run("")),
    ("status", Run("")),
    ("retry", Run("", 1)),
    # it waits for one, and does not get it
    ("release publish", Run("{asked}")),
    ("deny", Run("{digest} --reason no", 1)),
    ("deny", Run("{hash} --reason no")),
    ("status", Run("", 2)),
    ("retry", Run("")),
    ("deny", Run("{hash} --reason no", first="planned")),
    # a canary that bakes until somebody decides
    ("release publish", Run("{waits}")),
    ("pause", Run("--reason look", first="baking")),
    ("resume", Run("")),
    ("resume", Run("{none}", 1)),
    ("release publish", Run("{good}", 5)),
    ("apply", Run("{good}", 5)),
    ("rollback", Run("--to {first}", 5)),
    ("gate record", Run("--no-follow --history 60")),
    ("promote", Run("--batch nothing", 1)),
    ("promote", Run("")),
    ("abort", Run("--reason enough")),
    ("rollout watch", Run("", 2)),
    ("rollout status", Run("", 2)),
    ("rollback", Run("--no-wait", 1)),
    # one that succeeds
    ("apply", Run("{good}")),
    ("rollout list", Run("")),
    ("rollout history", Run("")),
    ("rollout replay", Run("--verify")),
    ("rollout replay", Run("{none}", 1)),
    ("rollout compare", Run("")),
    ("rollout report", Run("--out {home}/report.html")),
    ("rollout report", Run("{none}", 1)),
    ("rehearsed", Run("--fleet staging --out {home}/rehearsed.json")),
    ("fleet list", Run("")),
    ("fleet show", Run("node-1")),
    ("fleet show", Run("nobody", 1)),
    ("fleet drain", Run("node-3 --reason disk --timeout 2", 3, first="kill node-3")),
    ("fleet undrain", Run("node-3", first="heal")),
    ("fleet drain", Run("node-1 --reason disk")),
    ("fleet drain", Run("node-1 --reason disk --timeout 0", 3)),
    ("fleet undrain", Run("node-1 --timeout 2", 3, first="kill node-1")),
    ("fleet undrain", Run("node-1", first="heal")),
    ("events tail", Run("rollouts --since 600 --count 3")),
    ("events tail", Run("nonsense", 1)),
    # a node is away while it is taken back
    ("rollback", Run("--timeout 2", 3, first="kill node-3")),
    ("abort", Run("{revert}")),
    ("rollback", Run("", 2, meanwhile="abort {revert}")),
    ("rollback", Run("", first="heal")),
    ("drill run", Run("fail-start {drilled} --node nobody --component core", 1)),
    ("drill run", Run("fail-start {drilled} --node node-1 --component core")),
    ("drill run", Run("slow-stage {late} --node node-1 --component core", 2)),
    ("drill run", Run("slow-stage {asks2} --node node-1 --component core --timeout 1", 3)),
    ("drill report", Run("")),
    ("webhook list", Run("")),
    ("webhook dead-letters", Run("")),
    ("alert test-channel", Run("chat", first="alert")),
    ("alert test-channel", Run("none", 1)),
    ("alert list", Run("--all")),
    ("alert show", Run("DiskFull")),
    ("alert show", Run("none", 1)),
    ("alert ack", Run("DiskFull --comment cleaning")),
    ("alert ack", Run("none", 1)),
    ("alert silence add", Run('node="node-1" --for 2h --comment disk', keep="id")),
    ("alert silence list", Run("")),
    ("alert silence expire", Run("{id}")),
    ("alert silence expire", Run("none", 1)),
    ("artifact gc", Run("--dry-run")),
    ("agent run", Run("", first="end node-3")),
)
"""What is asked of a fleet, in this order. What the words in braces are, and what `first` does: tests/e2e/test_every_command.py."""

BACKED: dict[str, tuple[Run, ...]] = {
    "backup": (Run("{file}"), Run("{file}", 1)),
    "restore": (Run("{file}"), Run("{file}", 1)),
}
"""Run by tests/e2e/test_backup.py, where there is something to lose."""

DOCTOR: dict[str, tuple[Run, ...]] = {"doctor": (Run(""), Run("", 1))}
"""Run by tests/integration/test_doctor.py, at a deployment that is well and at one that is not."""

UP: dict[str, tuple[Run, ...]] = {"up": (Run("--nodes 2"), Run("", 1))}
"""Run by tests/e2e/test_up_down.py, which stops what it starts."""

JUDGED: dict[str, tuple[Run, ...]] = {"gate dry-run": (Run("{file}"),)}
"""Run by tests/e2e/test_gate_sources.py, where there is something to read."""


def all_runs() -> dict[str, tuple[Run, ...]]:
    """Every run of every command."""
    found: dict[str, tuple[Run, ...]] = {**ALONE, **BACKED, **DOCTOR, **UP, **JUDGED}
    for name, words in NOWHERE.items():
        found[name] = (*found.get(name, ()), Run(words, 1))
    for name, run in FLEET:
        found[name] = (*found.get(name, ()), run)
    return found
