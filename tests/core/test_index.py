"""Rows are found and ordered by a copy beside the run: always right in the end, whoever makes it, lost without harm."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from batchdeck.config import index_path
from batchdeck.errors import StoreError
from batchdeck.inputs.base import SourceState
from batchdeck.store.index import ORDERS, Query, RunIndex
from batchdeck.store.indexfile import is_index
from batchdeck.store.reader import RunReader
from batchdeck.store.runfile import RunFile
from tests.core.ledger import create, failed, rows, settle, settlement


@pytest.fixture
def run(tmp_path: Path) -> RunFile:
    """Ten items: 0 to 4 done, 5 and 6 failed, 7 waits to be tried again, 8 and 9 never sent."""
    file = create(tmp_path / "run.db", 10)
    settle(file, failed(0, error_type="http_500", final=False), failed(7, error_type="rate_limited", final=False))
    settle(file, settlement(0, 2, text="zero"), *[settlement(idx, text=f"answer {idx}") for idx in range(1, 5)])
    settle(file, failed(5), failed(6, error_type="truncated"))
    return file


def caught_up(path: Path, rows: int = 5_000, **given: int) -> RunIndex:
    index = RunIndex(path, **given)
    while index.catch_up(rows):
        pass
    return index


def ask(path: Path, **query: object) -> list[int]:
    with caught_up(path) as index:
        return list(index.select(Query(**query)))  # type: ignore[arg-type]


def test_rows_are_found_by_state_by_error_and_by_words(run: RunFile) -> None:
    assert ask(run.path) == list(range(10))
    assert ask(run.path, state="done") == [0, 1, 2, 3, 4]
    assert ask(run.path, state="queued") == [7, 8, 9]
    assert ask(run.path, error_type="truncated") == [6]
    assert ask(run.path, words="ANSWER 3") == [3]
    assert ask(run.path, words="row 8") == [8]
    assert ask(run.path, state="failed", words="http") == [5]
    assert ask(run.path, words="nowhere") == []
    run.close()


def test_words_are_taken_literally(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 3)
    settle(file, settlement(0, text="100% sure"), settlement(1, text="100 times"), settlement(2, text=r"a_b\c"))
    file.close()
    for words, found in (("100%", [0]), ("a_b", [2]), ("aXb", []), ("b\\c", [2]), ("' OR 1=1", [])):
        assert ask(file.path, words=words) == found


def test_rows_are_found_by_figures_and_what_is_not_known_is_in_no_range(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 6)
    settle(file, *[settlement(idx, text="x") for idx in range(4)], failed(4))
    file.close()
    everything = ask(file.path, ranges=(("seconds", 0.0, None),))
    assert everything == ask(file.path, ranges=(("seconds", None, 1e9),))
    assert 5 not in everything
    assert ask(file.path, ranges=(("seconds", 1e9, None),)) == []
    assert ask(file.path, ranges=(("tries", 1, 1), ("tokens", 7, 7))) == [0, 1, 2, 3]
    assert ask(file.path, finish_reason="stop") == [0, 1, 2, 3]
    with caught_up(file.path) as index:
        assert index.finish_reasons() == [("stop", 4)]


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_has_every_row_once_and_is_reversed_by_its_reverse(run: RunFile, order: str) -> None:
    up, down = ask(run.path, order=order), ask(run.path, order=order, descending=True)
    assert sorted(up) == sorted(down) == list(range(10))
    if order == "idx":
        assert down == up[::-1] == list(range(9, -1, -1))
    if order in ("seconds", "tokens", "answer"):
        unsent = {7, 8, 9}
        assert unsent <= set(up[-5:])
        assert unsent <= set(down[-5:]), "what is not known comes last, whichever way"
    if order == "tries":
        assert down[0] == 0
    run.close()


def test_what_settles_is_tried_again_or_read_in_later_is_taken_over(tmp_path: Path) -> None:
    """Whatever happens to the run between two looks, the copy says in the end what the run file says."""
    rng = random.Random(3)
    file = create(tmp_path / "run.db", 40)
    index = RunIndex(file.path)
    count, settled, tries = 40, set[int](), Counter[int]()
    for _ in range(30):
        idx = rng.choice([n for n in range(count) if n not in settled] or [0])
        if idx not in settled:
            settled.add(idx)
            tries[idx] += 1
            is_good = rng.random() < 0.7
            settle(file, settlement(idx, tries[idx], text=f"word{idx % 3}") if is_good else failed(idx, tries[idx]))
        if rng.random() < 0.2:
            file.begin()
            file.retry(None, -1, 3)
            file.commit()
            settled = set(range(count)) - set(ask(file.path, state="queued"))
        if rng.random() < 0.3:
            file.begin()
            file.ingest(rows(count, 5), SourceState(index=count + 5), False)
            file.commit()
            count += 5
        while index.catch_up(rng.choice([1, 3, 100])) and rng.random() < 0.7:
            pass
    while index.catch_up(2):
        pass
    assert (index.copied, index.items) == (count, count)
    for query in (Query(state="done"), Query(state="failed"), Query(state="queued"), Query(words="word1")):
        assert list(index.select(query)) == list(caught_up(file.path).select(query))
    assert list(index.select(Query(state="done"))) == [
        row[0] for row in file.conn.execute("SELECT idx FROM items WHERE state = 'done' ORDER BY idx")
    ]
    index.close()
    file.close()


def _catch_up_slowly(index: RunIndex) -> None:
    while index.catch_up(2):
        pass


def test_a_large_run_keeps_its_copy_and_two_may_make_it_together(run: RunFile) -> None:
    beside = index_path(run.path)
    one, other = RunIndex(run.path, kept_from=5), RunIndex(run.path, kept_from=5)
    threads = [threading.Thread(target=_catch_up_slowly, args=(index,)) for index in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(one.select(Query(state="done"))) == list(other.select(Query(state="done"))) == [0, 1, 2, 3, 4]
    assert stat.S_IMODE(beside.stat().st_mode) == 0o600
    one.close()
    other.close()
    with RunIndex(run.path, kept_from=5) as again:
        assert list(again.select(Query(state="failed"))) == [5, 6], "nothing is copied anew"
    run.close()


@pytest.mark.parametrize("words", ["answer", "row", "nowhere"])
def test_two_that_look_at_once_find_the_same(run: RunFile, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    alone = [ask(run.path, words=words), ask(run.path, words=words, state="done")]
    monkeypatch.setattr("batchdeck.store.index.HALVED", 2)
    with caught_up(run.path, kept_from=5) as index:
        assert [list(index.select(Query(words=words))), list(index.select(Query(words=words, state="done")))] == alone
        assert index._beside is not None
    run.close()


def test_a_small_run_leaves_nothing_beside_it(run: RunFile) -> None:
    assert ask(run.path, words="answer") == [1, 2, 3, 4]
    assert not index_path(run.path).exists()
    run.close()


@pytest.mark.parametrize("damage", ["text", "run", "cut", "other run", "link"])
def test_a_copy_that_is_no_good_is_made_anew(run: RunFile, tmp_path: Path, damage: str) -> None:
    beside = index_path(run.path)
    caught_up(run.path, kept_from=5).close()
    if damage == "text":
        beside.write_text("my notes")
    elif damage == "run":
        create(tmp_path / "a.db", 5).close()
        (tmp_path / "a.db").replace(beside)
    elif damage == "cut":
        os.truncate(beside, 5_000)
    elif damage == "other run":
        other = create(tmp_path / "other.db", 20)
        settle(other, settlement(19, text="answer 19"))
        caught_up(other.path, kept_from=5).close()
        index_path(other.path).replace(beside)
        other.close()
    else:
        target = tmp_path / "precious"
        target.write_text("mine")
        beside.unlink()
        beside.symlink_to(target)
    with caught_up(run.path, kept_from=5) as index:
        assert list(index.select(Query(words="answer"))) == [1, 2, 3, 4]
    if damage in ("text", "run"):
        assert not is_index(beside), "another file of that name is left alone"
        assert damage == "run" or beside.read_text() == "my notes"
    if damage == "run":
        with RunReader(beside) as reader:
            assert reader.counts().items == 5
        RunFile.open(beside).close()  # and can still be gone on with
    if damage == "link":
        assert target.read_text() == "mine", "a link is not followed"
    run.close()


def test_the_next_match_goes_on_round_the_end(run: RunFile) -> None:
    with caught_up(run.path) as index:
        assert [index.next_match("answer", idx, 1) for idx in (0, 1, 4, 9)] == [1, 2, 1, 1]
        assert [index.next_match("answer", idx, -1) for idx in (9, 4, 1, 0)] == [4, 3, 4, 4]
        assert index.next_match("nowhere", 0, 1) is None
    run.close()


def test_a_query_can_be_broken_off_and_the_next_one_works(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 20_000)
    file.close()
    with caught_up(file.path) as index:
        index._db.set_progress_handler(lambda: (index.interrupt(), 0)[-1], 2_000)
        with pytest.raises(StoreError, match="interrupted"):
            index.select(Query(words="not there"))
        index._db.set_progress_handler(None, 0)
        assert len(index.select(Query())) == 20_000
    with RunIndex(file.path) as half:
        half._db.set_progress_handler(lambda: (half.interrupt(), 0)[-1], 2_000)
        with pytest.raises(StoreError, match="interrupted"):
            half.catch_up()
        half._db.set_progress_handler(None, 0)
        assert len(half.select(Query())) == 0, "a step is whole or not at all"
        assert half.catch_up()
        assert len(half.select(Query())) == 5_000


def test_damage_that_shows_late_is_told_of_the_copy_and_mended_at_the_next_look(run: RunFile) -> None:
    beside = index_path(run.path)
    with caught_up(run.path, kept_from=5) as index:
        index._db.execute("PRAGMA main.wal_checkpoint(TRUNCATE)")
        (page,) = index._db.execute("SELECT rootpage FROM main.sqlite_master WHERE name = 'texts'").fetchone()
    with beside.open("r+b") as file:
        file.seek(4096 * (page - 1))
        file.write(random.Random(3).randbytes(4096))
    with RunIndex(run.path, kept_from=5) as index:
        with pytest.raises(StoreError, match=r"\.index is damaged"):
            index.select(Query(words="answer"))
        while index.catch_up():
            pass
        assert list(index.select(Query(words="answer"))) == [1, 2, 3, 4]
    assert stat.S_IMODE(beside.stat().st_mode) == 0o600
    run.close()


def test_a_copy_that_somebody_locks_is_not_taken_from_them(run: RunFile, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = index_path(run.path)
    caught_up(run.path, kept_from=5).close()
    inode = beside.stat().st_ino
    monkeypatch.setattr("batchdeck.store.index.PATIENCE", 0)
    with sqlite3.connect(beside, isolation_level=None) as held:
        held.execute("BEGIN IMMEDIATE")
        with caught_up(run.path, kept_from=5) as index:
            assert list(index.select(Query(words="answer"))) == [1, 2, 3, 4]
    held.close()
    assert beside.stat().st_ino == inode
    run.close()


def test_a_copy_that_is_deleted_under_its_user_loses_no_rows(run: RunFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchdeck.store.index.HALVED", 2)
    beside = index_path(run.path)
    with caught_up(run.path, kept_from=5) as index:
        for file in beside.parent.glob(f"{beside.name}*"):
            file.unlink()
        assert list(index.select(Query(words="answer"))) == [1, 2, 3, 4]
    assert not beside.exists()
    run.close()


def test_a_run_file_that_was_brought_back_from_a_copy_is_read_anew(run: RunFile, tmp_path: Path) -> None:
    run.close()
    kept = run.path.read_bytes()
    later = RunFile.open(run.path)
    settle(later, settlement(7, 2, text="answer 7"))
    later.close()
    caught_up(run.path, kept_from=5).close()
    run.path.write_bytes(kept)
    with caught_up(run.path, kept_from=5) as index:
        assert list(index.select(Query(words="answer"))) == [1, 2, 3, 4]


def test_where_the_disk_is_nearly_full_nothing_is_put_beside_the_run(
    run: RunFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caught_up(run.path, kept_from=5) as index:
        there = run.path.parent.resolve()
        monkeypatch.setattr("batchdeck.store.index.free", lambda folder: 1_000 if folder == there else 1 << 40)
        assert not index.catch_up(), "there is nothing to copy"
        settle(run, settlement(7, 2, text="answer 7"))
        with pytest.raises(StoreError, match="nearly full"):
            index.catch_up()
        assert list(index.select(Query(words="answer"))) == [1, 2, 3, 4]
    with RunIndex(run.path, kept_from=5) as index:
        assert list(index.select(Query(words="answer"))) == [1, 2, 3, 4], "what is there is made use of"
    index_path(run.path).unlink()
    with caught_up(run.path, kept_from=5) as index:
        assert list(index.select(Query(words="answer"))) == [1, 2, 3, 4, 7]
    assert not index_path(run.path).exists()
    monkeypatch.setattr("batchdeck.store.index.free", lambda folder: 1_000)
    with RunIndex(run.path, kept_from=5) as index, pytest.raises(StoreError, match="nearly full"):
        index.catch_up()
    run.close()


def test_a_copy_of_the_first_version_is_known_and_made_anew(run: RunFile) -> None:
    beside = index_path(run.path)
    caught_up(run.path, kept_from=5).close()
    with closing(sqlite3.connect(beside)) as db:
        db.execute("PRAGMA user_version = 1")
        db.execute("PRAGMA application_id = 0")
    assert is_index(beside)
    with caught_up(run.path, kept_from=5) as index:
        assert list(index.select(Query(words="answer"))) == [1, 2, 3, 4]
        assert index._uri
    with closing(sqlite3.connect(beside)) as db:
        db.execute("CREATE TABLE mine (x)")
        db.execute("PRAGMA user_version = 1")
        db.execute("PRAGMA application_id = 0")
    assert not is_index(beside), "with a table of somebody else"
    run.close()


def test_a_figure_beyond_all_numbers_is_no_crash(run: RunFile) -> None:
    with caught_up(run.path) as index, pytest.raises(StoreError, match="that large"):
        index.select(Query(ranges=(("tokens", 10**30, None),)))
    run.close()
