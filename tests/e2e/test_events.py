"""Other tools: a rollout started and followed by one that knows the AsyncAPI document only, CI, webhooks, subscribers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import nats
import pytest
from ruamel.yaml import YAML

from bumpless.cli.client import Client
from bumpless.common.access.entry import Entry
from bumpless.common.access.rights import ADMIN, CI, READER
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.subjects import Stream
from bumpless.common.model.rollout import rollout_id
from bumpless.common.shell.reading import readable
from bumpless.common.shell.topology import webhook_backlogs
from bumpless.common.webhooks.signing import read_secret, standard_headers
from support import by_document
from support.fleet_lab import Ended, Lab
from support.fleet_product import write_release
from support.http_target import HttpTarget
from support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120.0
SECRET = b"0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One node, and the events service, that tells `target` of everything."""
    with Lab(1, events=True) as found:
        yield found


@pytest.fixture(scope="module")
def target(lab: Lab) -> Iterator[HttpTarget]:
    """A tool with a webhook; its first answer is that it is busy."""
    secret = lab.home.path / "hook.secret"
    secret.write_bytes(SECRET)
    with HttpTarget([(503, {})]) as found:
        webhook = {"name": "tool", "url": found.url, "allow_private": True, "first_retry_s": 0.2}
        file = {"environment": "lab", "webhooks": [{**webhook, "secret_file": str(secret)}]}
        lab.home.events.write_text(json.dumps({**file, "repositories": {"shop/tiny": "tiny"}}))
        yield found


def release(lab: Lab) -> tuple[Path, str]:
    """A release file with a version that nobody has seen."""
    version = lab.fresh()
    return write_release(lab.home.path, version, core=version, gate=None), version


async def built(lab: Lab, path: Path) -> dict[str, Any]:
    """The release signed and uploaded by the command that CI runs; nothing is started."""
    ended = await lab.cli("release", "build", str(path), "--output", "json")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)  # type: ignore[no-any-return]


async def announcements(found: Client, digest: str) -> list[e.ReleaseAnnounced]:
    items = await found.connection.snapshot(
        Stream.REL, subjects.subject_for(e.ReleaseAnnounced), history=True
    )
    return [message for message in readable(items, e.ReleaseAnnounced) if message.digest == digest]


async def succeeded(lab: Lab, digest: str, attempt: int) -> None:
    """The rollout of the release comes to its end, and that is success."""
    rollout = rollout_id("tiny", digest, attempt)

    async def appeared() -> bool:
        async with lab.client() as found:
            logged = subjects.subject_for(e.RolloutPlanned, rollout=rollout)
            return bool(await found.connection.last(Stream.RO, logged))

    await eventually(appeared, bool, "the rollout to be planned", limit_s=LIMIT_S)
    ended = await lab.cli("status", rollout, "--timeout", str(LIMIT_S))
    assert ended.code == 0, ended.out + ended.err


async def shown(broker: nats.NATS, version: str) -> list[dict[str, Any]]:
    """What a tool with the document sees of the rollout of a version, until that is over."""
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(LIMIT_S), contextlib.aclosing(by_document.progress(broker)) as items:
        async for body in items:
            seen.append(body)
            if body.get("release_version") == version and by_document.over(body):
                return [item for item in seen if item["rollout"] == body["rollout"]]
    raise AssertionError("expected a rollout to come to an end")


async def served(lab: Lab, webhook: str) -> None:
    """The webhook has its consumer: what happens from now on is for it."""
    async with lab.client() as found:

        async def there() -> bool:
            return webhook in await webhook_backlogs(found.connection)

        await eventually(there, bool, f"{webhook} to be served")


@contextlib.asynccontextmanager
async def plain(lab: Lab) -> AsyncIterator[nats.NATS]:
    broker = await nats.connect(lab.nats_url, **Entry(lab.nats_url, lab.home.seed(CI)).options())
    try:
        yield broker
    finally:
        await broker.close()


async def test_a_tool_that_knows_the_document_alone_starts_a_rollout_and_follows_it(
    lab: Lab, target: HttpTarget
) -> None:
    path, version = release(lab)
    found = await built(lab, path)
    await served(lab, "tool")
    async with plain(lab) as broker:
        looking = asyncio.create_task(shown(broker, version))
        for attempt in ("one", "two"):  # another event of the same release starts nothing
            subject, body, headers = by_document.published(
                "tiny", version, checksum=found["envelope_digest"], event=f"{version}-{attempt}"
            )
            await broker.publish(subject, body, headers=headers)
        seen = await looking
    assert [item["status"] for item in seen if "status" in item][-1] == "succeeded"
    assert {item["state"] for item in seen if "state" in item} >= {"serving"}
    async with lab.client() as client:
        (announced,) = await announcements(client, found["release_digest"])
    assert announced.by.startswith("event from ")
    await told(target, version)
    ended = await lab.cli("webhook", "list", "--output", "json")
    (row,) = json.loads(ended.out)
    assert (row["webhook"], row["waiting"], row["given_up"]) == ("tool", 0, 0)


async def told(target: HttpTarget, version: str) -> None:
    """The webhook heard of the rollout, in order of its retries, each event once, all signed."""

    async def posted() -> list[Any]:
        return list(target.posted)

    def whole(items: list[Any]) -> bool:
        return {"service.deployed", "bumpless-rollout.succeeded"} <= {
            ".".join(item.json["type"].split(".")[2:4]) for item in items
        }

    items = await eventually(posted, whole, "the webhook to be told", limit_s=60)
    ids = [item.headers["webhook-id"] for item in items]
    assert len(ids) == len(set(ids)) + 1, "expected the one that was refused twice, and every other once"
    for item in items:
        data = item.json["data"]
        assert item.headers["webhook-id"] == item.json["id"] == data["context"]["id"]
        stamp = item.headers["webhook-timestamp"]
        at = by_document.datetime.fromtimestamp(int(stamp), by_document.UTC)
        wanted = standard_headers(SECRET, item.json["id"], at, item.body)
        assert item.headers["webhook-signature"] == wanted["webhook-signature"]
    deployed = [item.json["data"]["subject"] for item in items if "service.deployed" in item.json["type"]]
    assert {"tiny/core", "tiny/front"} == {subject["id"] for subject in deployed}
    assert any(f"core@{version}" in subject["content"]["artifactId"] for subject in deployed)


async def test_a_release_that_travels_in_the_event_is_signed_as_the_document_says(
    lab: Lab, target: HttpTarget
) -> None:
    path, version = release(lab)
    found = await built(lab, path)
    async with lab.client() as client:
        stored = json.loads(await client.artifacts.get(found["envelope_digest"], max_size=1 << 20))
    payload = base64.b64decode(stored["payload"])
    unsigned = json.dumps({**stored, "signatures": []})
    async with plain(lab) as broker:
        subject, body, headers = by_document.published("tiny", version, envelope=unsigned, event="unsigned")
        await broker.publish(subject, body, headers=headers)
        refused = await refusal(lab, found["release_digest"])
        assert "no signature" in refused.reasons[0]
        lab.kill("events")  # what comes meanwhile waits for the next one
        own = by_document.signed(payload, lab.home.release_key)
        subject, body, headers = by_document.published("tiny", version, envelope=own, event="signed")
        await broker.publish(subject, body, headers=headers)
        await broker.flush()
    lab.start("events")
    await succeeded(lab, found["release_digest"], attempt=1)
    upgraded = f"core@{version}"

    async def posted() -> list[str]:
        return [item.json["data"]["subject"]["content"].get("artifactId", "") for item in target.posted]

    await eventually(posted, lambda found: any(upgraded in one for one in found), "the upgrade to be told")


async def refusal(lab: Lab, digest: str) -> e.ReleaseRefused:
    rollout = rollout_id("tiny", digest, 0)

    async def answered() -> list[e.ReleaseRefused]:
        async with lab.client() as found:
            logged = subjects.subject_for(e.ReleaseRefused, rollout=rollout)
            return readable(await found.connection.last(Stream.RO, logged), e.ReleaseRefused)

    (found,) = await eventually(answered, bool, "the release to be refused", limit_s=60)
    return found


# CI: the commands that stand in the files under deploy/ci, in their order


def github() -> list[str]:
    """What the steps run; the job is told to use bash with pipefail."""
    job = YAML(typ="safe").load((ROOT / "deploy/ci/github-actions.yml").read_text())["jobs"]["release"]
    assert job["defaults"]["run"]["shell"] == "bash"
    return [step["run"] for step in job["steps"] if "run" in step]


def gitlab() -> list[str]:
    file = YAML(typ="safe").load((ROOT / "deploy/ci/gitlab-ci.yml").read_text())
    scripts = [file["default"]["before_script"], *(file[stage]["script"] for stage in ("plan", "rollout"))]
    return ["\n".join(line for line in script if not line.startswith("pip ")) for script in scripts]


def jenkins() -> list[str]:
    text = (ROOT / "deploy/ci/Jenkinsfile").read_text()
    return [long or short for long, short in re.findall(r"sh '{3}(.*?)'{3}|sh '([^'\n]+)'", text, re.DOTALL)]


def variables(lab: Lab, folder: Path) -> dict[str, str]:
    """What a person puts into the CI system, and what the system sets by itself."""
    return {
        "BUMPLESS_NATS_URL": lab.nats_url,
        "BUMPLESS_NATS_SEED": ".bumpless/ci.seed",
        "BUMPLESS_CI_SEED": lab.home.seed(CI).read_text(),
        "BUMPLESS_CI_SEED_FILE": str(lab.home.seed(CI)),
        "BUMPLESS_RELEASE_KEY": lab.home.release_key.read_text(),
        "BUMPLESS_TRUSTED": lab.home.trust.read_text(),
        "BUMPLESS_RELEASE_KEY_FILE": str(lab.home.release_key),
        "BUMPLESS_TRUSTED_FILE": str(lab.home.trust),
        "BUMPLESS_EVENTS_URL": lab.events_webhook,
        "BUMPLESS_WEBHOOK_SECRET": read_secret(lab.home.events_secret).decode(),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "BUILD_TAG": f"jenkins-release-{folder.name}",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "CI": "true",
    }


async def ran(command: str, folder: Path, env: Mapping[str, str]) -> Ended:
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-eo",
        "pipefail",
        "-c",
        command,
        cwd=folder,
        env=dict(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            out, err = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


@pytest.mark.parametrize("system", [github, gitlab, jenkins], ids=lambda system: system.__name__)
async def test_the_commands_for_ci_roll_a_release_out(system: Any, lab: Lab, tmp_path: Path) -> None:
    for program in ("bash", "curl", "openssl"):
        if shutil.which(program) is None:
            pytest.skip(f"expected {program}, found none; on Debian: apt-get install {program}")
    version = lab.fresh()
    path = write_release(tmp_path, version, core=version, front=None, gate=None)
    path.rename(tmp_path / "release.yaml")
    env = variables(lab, tmp_path)
    for command in system():
        if command.startswith("pip install"):
            continue
        ended = await ran(command, tmp_path, env)
        assert ended.code == 0, f"{command}\n{ended.out}{ended.err}"
    if system is jenkins:
        again = await ran(jenkins()[-1], tmp_path, env)
        assert json.loads(again.out) == {"accepted": "tiny", "seen_before": True}, again.err
    async with lab.client() as found:
        await eventually(found.fleet, lambda fleet: runs(fleet, version), "the node to run it", LIMIT_S)


def runs(fleet: Any, version: str) -> bool:
    seen = fleet.nodes[0].components.get("core")
    return seen is not None and seen.target is not None and seen.target.version == version


# subscribers that people start from


def subscribers(folder: Path) -> dict[str, list[str]]:
    shutil.copytree(ROOT / "examples/subscriber-js", folder / "js")
    modules = ROOT / "build/node/node_modules"
    if modules.is_dir():
        (folder / "js/node_modules").symlink_to(modules)
    return {
        "python": [sys.executable, str(ROOT / "examples/subscriber.py")],
        "javascript": ["node", str(folder / "js/subscriber.mjs")],
    }


async def something_ran(lab: Lab) -> None:
    """Some release was rolled out: by a test before, or now."""
    logged = subjects.subject_for(e.RolloutSucceeded)
    async with lab.client() as found:
        if await found.connection.last(Stream.RO, logged):
            return
    path, _ = release(lab)
    ended = await lab.cli("release", "publish", str(path), "--wait")
    assert ended.code == 0, ended.err


@pytest.mark.parametrize("language", ["python", "javascript"])
async def test_a_sample_subscriber_shows_what_was_when_it_came(
    language: str, lab: Lab, tmp_path: Path
) -> None:
    """A rollout is over, and its last values are there at once."""
    command = subscribers(tmp_path)[language]
    if language == "javascript":
        if shutil.which("node") is None:
            pytest.skip("expected Node.js, found none; on Debian: apt-get install nodejs")
        if not (tmp_path / "js/node_modules/nats").is_dir():
            pytest.skip("expected the module nats; npm install --prefix build/node nats@2")
    await something_ran(lab)
    process = await asyncio.create_subprocess_exec(
        *command,
        lab.nats_url,
        str(lab.home.seed(READER)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(LIMIT_S):
            seen = ""
            while not re.search(r"tiny \S+ succeeded", seen):
                line = await process.stdout.readline()
                assert line, f"expected it to run on, its last lines were {seen[-500:]}"
                seen += line.decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert re.search(r"node-1/core \w+ \d+%", seen)


def of_docs(beginning: str) -> str:
    """The one command of docs/events.md that begins so."""
    lines = (ROOT / "docs/events.md").read_text().splitlines()
    (found,) = [line for line in lines if line.startswith(beginning)]
    return found


@pytest.mark.skipif(
    shutil.which("nats") is None,
    reason="expected the nats command, found none; go install github.com/nats-io/natscli/nats@v0.5.0",
)
async def test_the_nats_command_starts_a_rollout_and_shows_it(lab: Lab, tmp_path: Path) -> None:
    path, version = release(lab)
    event = tmp_path / "published.json"
    ended = await lab.cli("release", "build", str(path), "--event", str(event))
    assert ended.code == 0, ended.err
    env = {
        **os.environ,
        "NATS_URL": lab.nats_url,
        "NATS_NKEY": str(lab.home.seed(ADMIN)),
        "HOME": str(tmp_path),
    }
    publish = of_docs("nats pub rel.shop").replace("rel.shop.", "rel.tiny.")
    done = await ran(publish, tmp_path, env)
    assert done.code == 0, done.err
    watch = of_docs("nats sub 'prog.*.rollout'")
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        f"exec {watch}",
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(LIMIT_S):
            over = False
            while not over:
                line = (await process.stdout.readline()).decode()
                assert line, "expected it to run on"
                body = json.loads(line) if line.startswith("{") else {}
                over = (body.get("release_version"), body.get("status")) == (version, "succeeded")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
