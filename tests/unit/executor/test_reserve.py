"""Room that is kept back for journals."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bumpless.executor import reserve
from bumpless.executor.journal import Journal
from bumpless.executor.reserve import PIECE_BYTES, PIECES, Reserve
from unit.executor.making import apply, target
from unit.executor.test_executor import Rig


def test_it_is_given_up_piece_by_piece_and_made_again(tmp_path: Path) -> None:
    kept = Reserve(tmp_path / "reserve")
    assert not kept.release()
    kept.fill()
    assert [kept.release() for _ in range(PIECES + 1)] == [True] * PIECES + [False]
    kept.fill()
    sizes = [piece.stat().st_blocks * 512 for piece in (tmp_path / "reserve").iterdir()]
    assert len(sizes) == PIECES
    assert min(sizes) >= PIECE_BYTES


def test_what_does_not_fit_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(reserve.os, "posix_fallocate", full)
    kept = Reserve(tmp_path / "reserve")
    kept.fill()
    assert list((tmp_path / "reserve").iterdir()) == []


async def test_a_journal_that_does_not_fit_takes_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path)
    await rig.executor.start()
    save, refusals = Journal.save, [errno.ENOSPC, errno.EDQUOT]

    def full(journal: Journal, record: object) -> None:
        if refusals:
            raise OSError(refusals.pop(), "full")
        save(journal, record)  # type: ignore[arg-type]

    try:
        monkeypatch.setattr(Journal, "save", full)
        await rig.apply(apply((1, 1), target("v1")))
    finally:
        await rig.executor.close(stop_services=True)
    assert len(list((tmp_path / "reserve").iterdir())) == PIECES - 2
