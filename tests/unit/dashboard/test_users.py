"""The users file: who may log in, and that nobody may while it cannot be read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from bumpless.common.errors import Refused
from bumpless.dashboard.users import (
    LONGEST,
    NOBODY,
    SHORTEST,
    Role,
    User,
    Users,
    UsersFile,
    read_users,
    write_users,
)

PASSWORD = "correct horse battery"
ADA = User(name="ada", roles=frozenset({Role.OPERATOR}), salt="00" * 16, hash="11" * 32)


def test_a_password_is_known_by_its_hash_alone() -> None:
    ada = User.of("ada", [Role.VIEWER], PASSWORD, n=1 << 10)
    assert ada.knows(PASSWORD)
    assert not ada.knows(PASSWORD + "x")
    assert not NOBODY.knows("")
    assert PASSWORD not in ada.model_dump_json()
    assert ada.salt != NOBODY.salt


@pytest.mark.parametrize("password", ["x" * (SHORTEST - 1), "x" * (LONGEST + 1)])
def test_passwords_have_their_length(password: str) -> None:
    with pytest.raises(Refused, match=f"{SHORTEST} to {LONGEST} characters"):
        User.of("ada", [], password)


@pytest.mark.parametrize("name", ["", "-ada", "a" * 65, "a b", "ada\n", "ä"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(Refused, match="at most 64"):
        User.of(name, [], PASSWORD, n=1 << 10)


def test_the_file_is_its_owner_s_and_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "users.json"
    assert read_users(path) == UsersFile()
    write_users(path, UsersFile().with_user(ADA))
    assert read_users(path).users == {"ada": ADA}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(Refused, match="one of ada"):
        read_users(path).without("bob")
    assert read_users(path).without("ada") == UsersFile()


def test_changes_of_the_file_count_at_once_and_one_that_cannot_be_read_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    users = Users(path)
    assert users.find("ada") is None
    write_users(path, UsersFile().with_user(ADA))
    assert users.find("ada") == ADA
    path.write_text('{"users": {"ada": {"name": "ada"}}}')
    for _ in range(2):
        with pytest.raises(Refused, match=r"users\.ada\.roles"):
            users.find("ada")
    write_users(path, UsersFile().with_user(ADA.model_copy(update={"roles": frozenset()})))
    found = users.find("ada")
    assert found is not None
    assert found.roles == frozenset()
    path.unlink()
    assert users.find("ada") is None


def test_without_a_file_there_is_nobody() -> None:
    assert Users(None).find("ada") is None
