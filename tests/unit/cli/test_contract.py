"""Pacts held against providers that run, what is signed of it, and what a release file makes of that."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bumpless.cli import pact_run
from bumpless.cli.commands import run
from bumpless.cli.contracting import signed_contracts
from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.signing import Role, TrustStore
from bumpless.common.contract.envelope import STATEMENT_TYPE, Envelope
from bumpless.common.errors import Refused
from bumpless.common.model.contracts import ContractFile
from bumpless.common.model.statement import STATEMENT, Verified
from support.pact_provider import provider

PACT = Path(__file__).parents[2] / "fixtures" / "contracts" / "sdk-api.json"
DIGEST = "sha256:5938ebd1"
Ask = Callable[..., tuple[int, Any]]

RELEASE = """
product: shop
version: "3.0.0"
components:
  api:
    through: [{version: 2.1.0, artifact: trees/api}]
    run: {command: [x]}
    artifact: trees/api
compat:
  levels: {api: {"2.0.0>2.1.0": full, "2.1.0>3.0.0": full}}
contracts:
  - {consumer: sdk@2.4.0, provider: api@3.0.0, pact: pact.json, verified: good.json}
  - {consumer: sdk@2.4.0, provider: api@2.1.0, pact: pact.json, verified: bad.json}
  - {consumer: sdk@2.3.0, provider: api@2.0.0, pact: pact.json}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With keys."""
    assert run(["--home", str(tmp_path / "home"), "-o", "json", "keys", "generate"]) == 0
    return tmp_path / "home"


@pytest.fixture
def ask(home: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Exit code, and what was printed: JSON read back, or the text."""
    capsys.readouterr()

    def asked(*words: str, text: bool = False) -> tuple[int, Any]:
        code = run(["--home", str(home), *(() if text else ("-o", "json")), *words])
        out = capsys.readouterr().out
        return code, out if text else json.loads(out)

    return asked


def versions(api: str, sdk: str = "2.4.0") -> tuple[str, ...]:
    return ("--consumer-version", sdk, "--provider-version", api)


def opened(home: Path, file: Path) -> Verified:
    envelope = Envelope.from_bytes(file.read_bytes())
    payload = TrustStore.load(home / "keys" / "trusted.json").verify(
        envelope, payload_type=STATEMENT_TYPE, role=Role.VERIFICATION
    )
    said = STATEMENT.validate_json(payload)
    assert isinstance(said, Verified)
    return said


def test_from_a_provider_that_runs_to_the_matrix_of_a_release(ask: Ask, home: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    words = ("contract", "verify", str(PACT), "--provider-url")
    with provider("good") as url:
        code, found = ask(
            *words, url, "--state-change-url", f"{url}/state", *versions("v3"), "--out", str(good)
        )
    assert (code, found["verified"], found["failures"]) == (0, True, [])
    assert (found["consumer"], found["provider"], found["interactions"]) == ("sdk", "api", 2)
    assert found["file"] == str(good)
    said = opened(home, good)
    assert (said.provider_version, said.consumer_version, said.failures) == ("3.0.0", "2.4.0", ())
    assert said.pact == found["pact"]
    assert said.pact.startswith(DIGEST)

    with provider("renamed") as url:
        code, text = ask(
            *words,
            url,
            "--state-change-url",
            f"{url}/state",
            *versions("2.1.0"),
            "--out",
            str(bad),
            text=True,
        )
    assert code == 1
    assert "FAILED: sdk 2.4.0 with api 2.1.0, 2 interactions" in text
    failure = "a request for a file (given file 1 exists): $.size: expected, and not in what was answered"
    assert failure in text
    assert opened(home, bad).failures == (failure,)

    (tmp_path / "pact.json").write_bytes(PACT.read_bytes())
    release = tmp_path / "release.yaml"
    release.write_text(RELEASE)
    code, found = ask("release", "lint", str(release))
    assert code == 0, found
    code, found = ask("contract", "matrix", str(release), "--from", "api=2.0.0")
    assert code == 1
    states = {(cell["consumer_version"], cell["provider_version"]): cell["state"] for cell in found["pairs"]}
    assert states == {
        ("2.3.0", "2.0.0"): "unverified",
        ("2.3.0", "2.1.0"): "unverified",
        ("2.3.0", "3.0.0"): "unverified",
        ("2.4.0", "2.0.0"): "unverified",
        ("2.4.0", "2.1.0"): "failed",
        ("2.4.0", "3.0.0"): "verified",
    }
    code, text = ask(
        "contract", "matrix", str(release), "--from", "api=2.0.0", "--from", "sdk=2.4.0", text=True
    )
    assert text.splitlines()[:2] == [
        "sdk \\ api  2.0.0             2.1.0   3.0.0",
        "2.4.0      unverified (now)  failed  verified",
    ]
    assert "failed: the contract of sdk 2.4.0 with api 2.1.0 failed, as " in text
    assert "not verified: 1 of 2 pairs that can meet" in text
    # The only way leads through the version that failed.
    code, found = ask("compat", "path", str(release), "--from", "api=2.0.0", "--from", "sdk=2.4.0")
    assert code == 1
    assert any("the contract of sdk 2.4.0 with api 2.1.0 failed" in reason for reason in found["reasons"])
    code, found = ask("compat", "path", str(release), "--from", "api=2.1.0", "--from", "sdk=2.4.0")
    assert (code, [move["to"] for move in found["path"]]) == (0, ["3.0.0"])


def test_without_versions_nothing_is_signed(ask: Ask) -> None:
    with provider("good", "secret") as url:
        words = ("contract", "verify", str(PACT), "--provider-url", url, "--state-change-url", f"{url}/state")
        code, found = ask(*words)
        assert (code, found["file"]) == (1, None)
        assert any("expected 200 but was 401" in failure for failure in found["failures"])
        code, found = ask(*words, "--header", "Authorization=secret")
        assert (code, found["verified"], found["consumer_version"]) == (0, True, None)


def test_messages_are_asked_for_by_their_description(ask: Ask, tmp_path: Path) -> None:
    pact = {
        "consumer": {"name": "indexer"},
        "provider": {"name": "api"},
        "interactions": [
            {
                "type": "Asynchronous/Messages",
                "description": "a file was created",
                "contents": {"contentType": "application/json", "encoded": False, "content": {"file": 1}},
            }
        ],
        "metadata": {"pactSpecification": {"version": "4.0"}},
    }
    file = tmp_path / "pact.json"
    file.write_text(json.dumps(pact))
    with provider("good") as url:
        words = ("contract", "verify", str(file), "--provider-url", url)
        code, found = ask(*words, "--message-url", f"{url}/messages")
        assert (code, found["messages"], found["failures"]) == (0, 1, [])
        code, found = ask(*words)
        assert code == 1
        assert "a file was created: $.file: expected, and not in what was answered" in found["failures"]


def pact(**more: Any) -> dict[str, Any]:
    return {"consumer": {"name": "sdk"}, "provider": {"name": "api"}, **more}


HTTP = [{"description": "x", "request": {"method": "GET", "path": "/"}, "response": {"status": 200}}]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "nothing at"),
        ("no json", "expected a pact (JSON)"),
        ('{"a": NaN}', "NaN is no JSON"),
        ("[]", "found list"),
        ("{}", "with consumer.name, found none"),
        (pact(interactions=[]), "found none; a pact that asks for nothing proves nothing"),
        (pact(interactions={}), "expected a list of objects under interactions"),
        (pact(interactions=HTTP, metadata={"pactSpecification": {"version": "1.1"}}), "found 1.1"),
        (pact(interactions=[{"type": "Synchronous/Messages"}]), "'Synchronous/Messages' or one of a plugin"),
        (pact(interactions=[{**HTTP[0], "pluginConfiguration": {}}]), "one of a plugin"),
    ],
)
def test_what_is_no_pact_is_refused(ask: Ask, tmp_path: Path, content: Any, told: str) -> None:
    file = tmp_path / "pact.json"
    if content is not None:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(Refused) as caught:
        ask("contract", "verify", str(file), "--provider-url", "http://127.0.0.1:1")
    assert told in str(caught.value)


def test_a_provider_that_does_not_answer_says_nothing_of_the_contract(ask: Ask, tmp_path: Path) -> None:
    words = (
        "contract",
        "verify",
        str(PACT),
        *versions("3.0.0"),
        "--out",
        str(tmp_path / "out"),
        "--provider-url",
    )
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with pytest.raises(Refused, match=r"expected something that listens at .*start the provider"):
        ask(*words, f"http://127.0.0.1:{port}")
    with pytest.raises(Refused, match="a URL such as"):
        ask(*words, "127.0.0.1:8080")
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(Refused, match=r"an answer of the provider to every interaction.*nothing is said"),
    ):
        ask(*words, f"http://127.0.0.1:{mute.getsockname()[1]}", "--timeout", "0.2")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--consumer-version", "2.4.0"), "found no --provider-version"),
        (versions("latest"), "expected a version such as"),
        ((*versions("3.0.0"), "--consumer", "Files SDK"), "give one with --consumer"),
        ((*versions("3.0.0"), "--key", "/nonexistent"), "a key that may sign a verification"),
        (("--header", "x"), "--header NAME=VALUE"),
    ],
)
def test_wrong_words_are_told_before_anything_is_asked(ask: Ask, words: tuple[str, ...], told: str) -> None:
    with pytest.raises(Refused) as caught:
        ask("contract", "verify", str(PACT), "--provider-url", "http://127.0.0.1:1", *words)
    assert told in str(caught.value)


def test_a_home_from_before_the_role_gets_its_key(ask: Ask, home: Path) -> None:
    trusted = home / "keys" / "trusted.json"
    before = TrustStore.load(trusted)
    with pytest.raises(Refused, match="no verification key yet"):
        ask("keys", "generate", "--role", "verification")
    (home / "keys" / "verification.key").unlink()
    TrustStore(frozenset(pair for pair in before.keys if pair[0] is not Role.VERIFICATION)).save(trusted)
    code, found = ask("keys", "generate", "--role", "verification")
    assert (code, set(found)) == (0, {"verification.key", "trusted.json"})
    after = TrustStore.load(trusted)
    assert {role for role, _ in after.keys} == set(Role)
    assert len(after.keys - before.keys) == 1
    with pytest.raises(Refused, match="makes all keys"):
        ask("keys", "generate", "--role", "waiver", "--out", str(home))


def test_a_matrix_needs_neither_keys_nor_contracts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = tmp_path / "release.yaml"
    words = ["--home", str(tmp_path / "none"), "contract", "matrix", str(release)]
    release.write_text(RELEASE.split("contracts:")[0])
    assert run(words) == 0
    seen = capsys.readouterr()
    assert seen.out == "the release file names no contracts\n"
    assert "signatures are not looked at" in seen.err
    row = "contracts: [{consumer: sdk@2.4.0, provider: api@3.0.0, pact: sha256:" + "0" * 64 + "}]\n"
    release.write_text(RELEASE.split("contracts:")[0] + row)
    assert run(words) == 1
    assert capsys.readouterr().out.splitlines() == [
        "sdk \\ api  2.1.0       3.0.0",
        "2.4.0      unverified  unverified",
        "",
        "unverified: nobody verified the contract of sdk 2.4.0 with api 2.1.0",
        "unverified: nobody verified the contract of sdk 2.4.0 with api 3.0.0",
        "not verified: 2 of 2 pairs that can meet",
    ]


def test_without_the_library_the_refusal_names_it(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pact_run, "LIBRARY", "no_such_library_is_there")
    with pytest.raises(Refused, match="pip install 'pact-python"):
        ask("contract", "verify", str(PACT), "--provider-url", "http://127.0.0.1:1")


def test_rows_of_a_release_that_do_not_fit_their_files(ask: Ask, home: Path, tmp_path: Path) -> None:
    trust = TrustStore.load(home / "keys" / "trusted.json")
    (tmp_path / "pact.json").write_bytes(PACT.read_bytes())
    good = tmp_path / "good.json"
    with provider("good") as url:
        state = ("--state-change-url", f"{url}/state")
        words = ("contract", "verify", str(PACT), "--provider-url", url, *state, *versions("3.0.0"))
        assert ask(*words, "--out", str(good))[0] == 0

    def rows(**changed: str) -> Any:
        fields = {
            "consumer": "sdk@2.4.0",
            "provider": "api@3.0.0",
            "pact": "pact.json",
            "verified": "good.json",
        }
        return signed_contracts(tmp_path, [ContractFile.model_validate(fields | changed)], trust)

    (row,) = rows()
    assert row.verified is not None
    assert rows(pact=row.pact) == (row,)
    for changed, told in (
        ({"provider": "api@3.0.1"}, "found one of sdk@2.4.0 with api@3.0.0"),
        ({"pact": "sha256:" + "0" * 64}, "verify the pact again that the row names"),
        ({"pact": "sha256:0"}, "64 hex digits"),
        ({"pact": "none.json"}, "a pact, found nothing at"),
        ({"consumer": "web@2.4.0"}, "found one of sdk with api"),
        ({"verified": "none.json"}, "a signed verification, found nothing at"),
        ({"verified": "pact.json"}, "`bumpless contract verify` writes one"),
    ):
        with pytest.raises(Refused) as caught:
            rows(**changed)
        assert told in str(caught.value), changed
    changed_pact = json.loads(PACT.read_text())
    changed_pact["interactions"].pop()
    (tmp_path / "pact.json").write_text(json.dumps(changed_pact))
    with pytest.raises(Refused, match="of the pact"):
        rows()
    with pytest.raises((Refused, ArtifactError), match="unknown keys"):
        signed_contracts(
            tmp_path,
            [ContractFile(consumer="sdk@2.4.0", provider="api@3.0.0", pact=row.pact, verified="good.json")],
            TrustStore(),
        )


def test_a_row_about_nobody_here_is_told_with_its_line(ask: Ask, tmp_path: Path) -> None:
    release = tmp_path / "release.yaml"
    release.write_text(RELEASE.replace("provider: api@2.0.0", "provider: apo@2.0.0"))
    with pytest.raises(ValueError, match=r"release.yaml:14: contracts.2: .*at least one of them a component"):
        ask("release", "lint", str(release))
    release.write_text(RELEASE.replace("sdk@2.3.0", "sdk"))
    with pytest.raises(
        ValueError, match=r"contracts.2.consumer: expected a name and a version such as sdk@2.4.0"
    ):
        ask("release", "lint", str(release))
