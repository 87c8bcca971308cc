"""What a release may say about hooks, profiles and proxies, and what is filled in on the node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bumpless.common.model.hooks import HaproxyServers, Hook, ProfileName, SwitchHooks
from bumpless.common.model.release import Run, Timing
from bumpless.executor.drivers.hooks.profiles import PROFILES
from bumpless.executor.drivers.hooks.profiles.recipe import Given
from bumpless.executor.layout import Layout
from bumpless.executor.starter import Starter
from drivers.fake_switch import FakeSwitch, World
from support.real_node import Trees


def test_a_list_is_a_command_and_a_word_a_signal() -> None:
    hooks = SwitchHooks.model_validate({"ready": ["test", "-e", "x"], "stop": "QUIT"})
    assert hooks.ready == Hook(argv=("test", "-e", "x"))
    assert hooks.stop == Hook(signal="QUIT")
    assert SwitchHooks.model_validate_json(hooks.model_dump_json()) == hooks


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"drain": {"argv": ["x"], "signal": "TERM"}}, "either argv or signal, found both"),
        ({"drain": {}}, "either argv or signal, found neither"),
        ({"drain": "KILL"}, "signal"),
        ({"ready": "USR1"}, "a command for ready, found a signal"),
        ({"resume": ["x"]}, "drain beside resume"),
        ({"drian": ["x"]}, "drian"),
    ],
)
def test_hooks_that_make_no_sense_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SwitchHooks.model_validate(given)


@pytest.mark.parametrize(
    "given",
    [
        {"driver": "hooks"},
        {"driver": "hooks", "profile": "nginx", "switch_hooks": {}},
        {"profile": "nginx"},
        {"switch_hooks": {}},
    ],
)
def test_hooks_go_with_their_driver(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="expected one of switch_hooks and profile"):
        Run.model_validate({"command": ["x"], **given})


PLACE = {"socket": "/run/haproxy.sock", "backend": "web"}
TWO = {"blue": "tcp://127.0.0.1:1", "green": "tcp://127.0.0.1:2"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "either servers or server"),
        ({"servers": TWO, "server": "a"}, "either servers or server"),
        ({"servers": {"blue": "tcp://127.0.0.1:1"}}, "at least two"),
        ({"server": "a b; shutdown"}, "server"),
        ({"server": "a", "backend": "web\nset"}, "backend"),
    ],
)
def test_what_is_said_to_the_proxy_is_checked(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        HaproxyServers.model_validate({**PLACE, **given})


def test_servers_need_the_address_of_the_proxy() -> None:
    with pytest.raises(ValidationError, match="the proxy's own address"):
        Run.model_validate({"command": ["x"], "proxy": {"haproxy": {**PLACE, "servers": TWO}}})


def test_a_standby_keeps_the_service_contract() -> None:
    given = {"command": ["x"], "overlap": False, "driver": "hooks", "switch_hooks": {"stop": ["x"]}}
    with pytest.raises(ValidationError, match="expected overlap: false with driver native or systemd"):
        Run.model_validate(given)
    place = {"haproxy": {**PLACE, "server": "{node.name}"}}
    assert Run.model_validate({"command": ["x"], "overlap": False, "proxy": place}).proxy is not None


def test_the_words_of_the_node_are_filled_into_hooks(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "web")
    starter = Starter("web", "node-a", "10.0.0.1", layout, FakeSwitch(World()), Trees(), frozenset)
    given = {
        "driver": "hooks",
        "command": ["serve", "{node.name}"],
        "switch_hooks": {
            "ready": ["ask", "{node.address}"],
            "stop": {"argv": ["{state}/stop"], "timeout_s": 3},
        },
    }
    run = starter.filled(Run.model_validate(given))
    assert run.command == ("serve", "node-a")
    assert run.switch_hooks is not None
    assert run.switch_hooks.ready == Hook(argv=("ask", "10.0.0.1"))
    assert run.switch_hooks.stop == Hook(argv=(f"{layout.state.resolve()}/stop",), timeout_s=3)


def test_every_profile_has_a_recipe_that_says_how_it_stops() -> None:
    assert set(PROFILES) == set(ProfileName)
    given = Given(("program",), {"http": 3, "admin-api": 4}, Path("/run/x"), Timing())
    for recipe in PROFILES.values():
        made = recipe(given)
        assert made.command[0] == "program"
        assert made.hooks.stop.signal in ("TERM", "QUIT", "USR1")
    assert PROFILES[ProfileName.NGINX](given).env["NGINX"] == "3;4;"
    assert PROFILES[ProfileName.HAPROXY](given).env == {"BUMPLESS_FD_HTTP": "3", "BUMPLESS_FD_ADMIN_API": "4"}
