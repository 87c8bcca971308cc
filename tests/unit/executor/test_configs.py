"""Configuration files on a node: whole or not there, written again when somebody changed them, shared while two live."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bumpless.common.contract.base import Digest
from bumpless.common.model.config import ConfigContent
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Run
from bumpless.executor.configs import Configs, shared_by

DIGEST = Digest("sha256:" + "0" * 64)


def target(version: str, content: str | None, both: str | None = None) -> Target:
    files = () if content is None else (ConfigContent(path="conf/app.yaml", content=content, both=both),)
    run = Run(command=("serve", "{config}"), config=files)
    return Target(component="api", version=version, root=DIGEST, artifact=DIGEST, artifact_size=1, run=run)


OLD, NEW = target("1.0.0", "ttl: 60\n"), target("2.0.0", "ttl_s: 60\n", "ttl_s: 60\nttl: 60\n")


def place(configs: Configs, of: Target) -> Path:
    return Path(configs.words(of.run)["{config}"])


def test_files_are_found_where_the_words_say(tmp_path: Path) -> None:
    configs = Configs(tmp_path)
    configs.put(OLD.run)
    file = place(configs, OLD) / "conf" / "app.yaml"
    assert file.read_text() == "ttl: 60\n"
    before = file.stat()
    configs.put(OLD.run)
    assert file.stat() == before
    assert file.stat().st_mode & 0o777 == 0o444


def test_without_configuration_nothing_is_made(tmp_path: Path) -> None:
    configs = Configs(tmp_path)
    bare = target("1.0.0", None)
    configs.put(bare.run)
    configs.share([bare])
    configs.collect([bare])
    assert configs.words(bare.run) == {}
    assert list(tmp_path.iterdir()) == []


def change(file: Path) -> None:
    file.chmod(0o644)
    file.write_text("ttl: 61\n")


def add(file: Path) -> None:
    (file.parent / "other").write_text("")


def link(file: Path) -> None:
    file.unlink()
    other = file.parents[3] / "elsewhere"
    other.write_text("ttl: 60\n")
    os.symlink(other, file)


@pytest.mark.parametrize("damage", [change, add, link, Path.unlink])
def test_what_somebody_changed_is_written_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    configs = Configs(tmp_path)
    configs.put(OLD.run)
    file = place(configs, OLD) / "conf" / "app.yaml"
    damage(file)
    configs.put(OLD.run)
    assert not file.is_symlink()
    assert file.read_text() == "ttl: 60\n"
    assert [p.name for p in file.parent.iterdir()] == ["app.yaml"]


def test_a_half_written_one_of_before_a_crash_is_no_obstacle(tmp_path: Path) -> None:
    configs = Configs(tmp_path)
    part = tmp_path / "configs" / f".{place(configs, OLD).name}.part"
    part.mkdir(parents=True)
    (part / "rubbish").write_text("")
    configs.put(OLD.run)
    configs.collect([OLD])
    assert [p.name for p in (tmp_path / "configs").iterdir()] == [place(configs, OLD).name]
    assert [p.name for p in place(configs, OLD).rglob("*") if p.is_file()] == ["app.yaml"]


def test_both_names_while_both_live_and_the_old_bytes_on_the_way_back(tmp_path: Path) -> None:
    configs = Configs(tmp_path)
    file = tmp_path / "config" / "conf" / "app.yaml"
    for living, text in (
        ([OLD], "ttl: 60\n"),
        ([NEW, OLD], "ttl_s: 60\nttl: 60\n"),
        ([OLD, NEW], "ttl_s: 60\nttl: 60\n"),
        ([NEW], "ttl_s: 60\n"),
        ([OLD, NEW], "ttl_s: 60\nttl: 60\n"),
        ([OLD], "ttl: 60\n"),
    ):
        configs.share(living)
        assert file.read_text() == text


def test_what_nobody_speaks_of_is_removed_but_never_what_the_link_names(tmp_path: Path) -> None:
    configs = Configs(tmp_path)
    configs.put(OLD.run)
    configs.put(NEW.run)
    configs.share([NEW])
    configs.collect([OLD])
    assert place(configs, OLD).is_dir()
    assert place(configs, NEW).is_dir()
    configs.share([OLD])
    configs.collect([OLD])
    assert not place(configs, NEW).exists()


@pytest.mark.parametrize(
    ("living", "text"),
    [
        ([], None),
        ([target("1", None)], None),
        ([target("1", None), OLD], "ttl: 60\n"),
        # a change of values alone: the one that is started comes first
        ([target("1.0.0", "ttl: 61\n"), OLD], "ttl: 61\n"),
        # not by the order of letters
        ([target("9.0.0", "a: 1\n"), target("10.0.0", "b: 1\n", "both")], "both"),
        ([target("nightly", "a: 1\n"), NEW], "ttl_s: 60\nttl: 60\n"),
    ],
)
def test_which_files_fit_all_that_live(living: list[Target], text: str | None) -> None:
    found = shared_by(living)
    assert (None if found is None else found["conf/app.yaml"]) == text


def test_a_target_without_configuration_is_what_it_was() -> None:
    assert "config" not in target("1", None).run.model_dump(mode="json")
    assert target("1", "a: 1\n").id != target("1", "a: 2\n").id
