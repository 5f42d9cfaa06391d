"""A run file belongs to one engine, whatever happens to the lock beside it or to its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchdeck.errors import StoreError
from batchdeck.store import runfile
from batchdeck.store.runfile import RETRY_LANE, RunFile
from tests.core.ledger import CONFIG, create, settle, settlement


def test_the_engine_that_came_later_has_the_run_file_and_the_other_stops(tmp_path: Path) -> None:
    """Somebody deletes a 'stale' lock, and a second engine opens the file."""
    first = create(tmp_path / "run.db", 3)
    settle(first, settlement(0))
    second = RunFile.open(tmp_path / "run.db")
    with pytest.raises(StoreError, match="another engine has taken over"):
        settle(first, settlement(1))
    settle(second, settlement(1), settlement(2))
    assert second.counts().done == 3
    first.close()
    second.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_file_that_was_deleted_is_not_written_to_unseen(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "run.db"
    file = create(path, 2)
    path.unlink()
    if replaced:
        create(path, 5).close()
    with pytest.raises(StoreError, match="deleted or replaced"):
        settle(file, settlement(0))
    file.close()


def test_a_run_file_that_could_not_be_begun_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(db: object) -> None:
        raise StoreError("database or disk is full")

    monkeypatch.setattr(runfile, "migrate", full)
    with pytest.raises(StoreError, match=r"cannot be made: .*full"):
        RunFile.create(tmp_path / "run.db", "run", CONFIG, "", None, 1e9)
    assert list(tmp_path.iterdir()) == []


def test_looking_ahead_is_bounded_by_size_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runfile, "PULL_BYTES", 40)
    file = create(tmp_path / "run.db", 10)
    items, is_dry = file.pull(-1, RETRY_LANE, 10)
    assert (len(items), is_dry) == (3, False), "each row's data is 17 characters"
    rest = []
    while not is_dry:
        items, is_dry = file.pull(items[-1].position, RETRY_LANE, 10)
        rest += [item.idx for item in items]
    assert rest == [3, 4, 5, 6, 7, 8, 9]
    file.close()
