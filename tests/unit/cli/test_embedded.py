"""What the parts of `bumpless up` are given."""

from __future__ import annotations

from bumpless.cli.embedded import free_port


def test_no_port_is_given_twice_before_its_service_listens() -> None:
    assert len({free_port() for _ in range(500)}) == 500
