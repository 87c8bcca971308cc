"""Release events of GitHub and GitLab, as they are sent, and what is made of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bumpless.common.contract.cdevents import published
from bumpless.common.model.eventing import EventsFile
from bumpless.events.receiver import Nothing, encoded, understood
from support.delivery import RELEASE
from support.plans import T0

FILE = EventsFile(repositories={"acme/shop": "shop", "group/sub/shop": "shop"})
NOTES = f"What is new\r\n\r\nbumpless-release: {RELEASE}\r\n"
GITHUB = {
    "action": "published",
    "release": {"tag_name": "v2", "body": NOTES},
    "repository": {"full_name": "acme/shop"},
}
GITLAB = {
    "object_kind": "release",
    "action": "create",
    "tag": "v2",
    "description": NOTES,
    "project": {"path_with_namespace": "group/sub/shop"},
}


def take(form: str, raw: Any, kind: str = "release") -> Any:
    headers = {"X-GitHub-Event": kind, "Content-Type": "application/json"}
    return understood(form, headers, json.dumps(raw).encode(), FILE, T0)


@pytest.mark.parametrize(("form", "raw"), [("github", GITHUB), ("gitlab", GITLAB)])
def test_a_release_whose_notes_name_the_digest_is_a_trigger(form: str, raw: Any) -> None:
    found = published(json.loads(encoded(take(form, raw))))
    assert (found.product, found.version, found.digest) == ("shop", "v2", RELEASE)


@pytest.mark.parametrize(
    ("form", "raw", "said"),
    [
        ("github", {**GITHUB, "action": "created"}, "release published"),
        ("github", {**GITHUB, "repository": {"full_name": "evil/shop"}}, "repository of the events file"),
        ("github", {**GITHUB, "release": {"tag_name": "v2", "body": None}}, "bumpless-release"),
        ("gitlab", {**GITLAB, "object_kind": "push"}, "release create"),
        ("gitlab", {**GITLAB, "action": "update"}, "release create"),
    ],
)
def test_other_events_mean_nothing(form: str, raw: Any, said: str) -> None:
    with pytest.raises(Nothing, match=said):
        take(form, raw)


@pytest.mark.parametrize(
    ("form", "raw"), [("github", []), ("github", {**GITHUB, "release": 1}), ("standard", [])]
)
def test_what_has_another_form_is_refused(form: str, raw: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        take(form, raw)
