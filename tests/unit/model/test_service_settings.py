"""What a release may set for a systemd unit: an allow-list, and values of one line."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bumpless.common.model.release import Run


def run(service: object, driver: str = "systemd") -> Run:
    return Run.model_validate({"command": ["serve"], "driver": driver, "service": service})


def test_limits_and_sandbox_are_taken_as_texts() -> None:
    given = {
        "MemoryMax": "1G",
        "TasksMax": 100,
        "NoNewPrivileges": True,
        "PrivateTmp": False,
        "CPUQuota": "50%",
    }
    assert run(given).service == {
        "MemoryMax": "1G",
        "TasksMax": "100",
        "NoNewPrivileges": "yes",
        "PrivateTmp": "no",
        "CPUQuota": "50%",
    }


@pytest.mark.parametrize(
    "name",
    [
        *(
            "ExecStart",
            "ExecStartPre",
            "ExecStopPost",
            "Type",
            "Restart",
            "Sockets",
            "KillMode",
            "NotifyAccess",
        ),
        *(
            "Environment",
            "EnvironmentFile",
            "PassEnvironment",
            "WorkingDirectory",
            "RootDirectory",
            "BindPaths",
        ),
        *(
            "NonBlocking",
            "LoadCredential",
            "PIDFile",
            "StandardOutput",
            "memorymax",
            "MemoryMax\nExecStart",
            "",
        ),
    ],
)
def test_everything_else_is_refused_by_name_with_what_is_allowed(name: str) -> None:
    with pytest.raises(ValidationError, match=r"MemoryMax.*User") as caught:
        run({name: "x"})
    assert f"found {name};" in str(caught.value)


@pytest.mark.parametrize(
    "value", ["", " ", "1G\nExecStart=/bin/evil", "a\rb", "a\\", "a\0b", "x" * 5000, None, ["1G"], {"a": "b"}]
)
def test_a_value_is_one_line_of_text(value: object) -> None:
    with pytest.raises(ValidationError, match=r"for MemoryMax"):
        run({"MemoryMax": value})


def test_settings_need_the_driver_that_obeys_them() -> None:
    with pytest.raises(ValidationError, match=r"run\.service only with the driver systemd, found native"):
        run({"MemoryMax": "1G"}, driver="native")
    with pytest.raises(ValidationError, match="settings such as MemoryMax"):
        run("MemoryMax=1G")
