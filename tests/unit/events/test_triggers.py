"""What `artifact.published` may say, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest

from bumpless.common.contract import cloudevents
from bumpless.common.contract.cdevents import published, purl
from support.delivery import RELEASE, TRIGGER


def event(**subject: Any) -> dict[str, Any]:
    raw = TRIGGER.model_dump(mode="json")
    raw["subject"] |= subject
    return raw


def test_a_release_is_named_by_its_digest() -> None:
    found = published(event())
    assert (found.product, found.version, found.digest, found.envelope) == ("shop", "v2", RELEASE, None)


@pytest.mark.parametrize("version", ["v2", "1.0+build", "a@b?c#d", "2/3", "ü 1"])
def test_any_version_can_be_named(version: str) -> None:
    assert published(event(id=purl("shop", version, RELEASE))).version == version


def test_a_release_may_travel_in_the_event() -> None:
    raw = {**event(id="pkg:generic/shop@v2%2B1"), "customData": {"bumpless": {"envelope": "{}"}}}
    found = published(raw)
    assert (found.version, found.digest, found.envelope) == ("v2+1", None, "{}")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ([], "valid"),
        ({}, "context"),
        (event(id="pkg:oci/shop@v2?checksum=" + RELEASE), "subject.id"),
        (event(id="pkg:generic/shop@v2"), "found neither"),
        (event(id="pkg:generic/shop@v2?checksum=md5:00"), "checksum=sha256"),
        (event(id="pkg:generic/shop@v2?checksum=sha256:" + "G" * 64), "checksum=sha256"),
        (event(id="pkg:generic/a.b@v2?checksum=" + RELEASE), "name of a product"),
        (event(id="pkg:generic/%2A@v2?checksum=" + RELEASE), "name of a product"),
        (event(type="service"), "subject.type"),
        (
            {**event(), "context": {**event()["context"], "type": "dev.cdevents.build.finished.0.2.0"}},
            "context.type",
        ),
    ],
)
def test_what_is_no_trigger_is_refused_with_the_field(raw: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("[", r"\[")):
        published(raw)


def test_both_modes_of_cloudevents_are_read_and_so_is_a_bare_event() -> None:
    told = TRIGGER.as_cloudevent()
    body = TRIGGER.model_dump_json().encode()
    structured = cloudevents.structured(told)
    binary = cloudevents.read(cloudevents.headers(told.attributes), body)
    assert binary == cloudevents.CloudEvent(told.data, told.attributes)
    read = cloudevents.read({"Content-Type": "application/cloudevents+json; charset=utf-8"}, structured)
    assert read.data == told.data
    assert read.attributes["type"] == told.attributes["type"]
    assert cloudevents.read({}, body).data == told.data


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_said(body: bytes) -> None:
    with pytest.raises(ValueError, match="expected JSON"):
        cloudevents.read({}, body)
