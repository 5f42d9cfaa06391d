"""Names, tags and deletion of runs: what a person does with the list of runs, not with their answers."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from batchdeck import labels
from batchdeck.cli.rm import command as rm
from batchdeck.config import find_run, index_path, known_runs, labels_path, log_path, register, registry_folder, relabel
from batchdeck.errors import BatchdeckError, RunLocked, StoreError, UsageError
from batchdeck.labels import Label
from batchdeck.removal import examine, remove
from batchdeck.store.index import RunIndex
from tests.core.test_lock import HOLD, child
from tests.tui.runfile import make_run


@pytest.fixture
def run(tmp_path: Path, home: Path) -> Path:
    """A run outside the data folder, with all that lies beside one."""
    path = make_run(tmp_path / "prompts-1120.db", 12, ending="done")
    register(path)
    with RunIndex(path, kept_from=1):
        assert index_path(path).exists()
    log_path(path).write_bytes(b"log")
    Path(f"{path}-wal").write_bytes(b"")
    return path


def called(run: Path, name: str, *tags: str) -> Label:
    return labels.change(labels_path(), run, lambda _: Label(name, tags))


def test_a_run_is_found_by_its_label_and_by_its_file_as_before(run: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(run)
    assert called(link, " German reviews ", "#de", "de", "nightly") == Label("German reviews", ("de", "nightly"))
    assert {find_run(name) for name in ("German reviews", "Germ", "prompts-1120", "prom")} == {run}
    assert stat.S_IMODE(labels_path().stat().st_mode) == 0o600
    other = make_run(tmp_path / "prompts-1121.db", 3)
    register(other)
    called(other, "German reviews")
    with pytest.raises(UsageError, match="means 2 runs"):
        find_run("German reviews")
    called(other, "")
    assert find_run("German reviews") == run
    for name, tags in (("two\nlines", ()), ("x" * 81, ()), ("", ("two words",)), ("", ("a,b",)), ("", ("",))):
        with pytest.raises(UsageError):
            called(run, name, *tags)


def test_a_name_that_would_lead_to_another_run_is_refused(run: Path, tmp_path: Path) -> None:
    register(make_run(tmp_path / "other.db", 3))
    with pytest.raises(UsageError, match="another run's file is called 'other'"):
        relabel(run, lambda _: Label("other"))
    assert relabel(run, lambda _: Label(run.stem, ("de",))) == Label(run.stem, ("de",)), "its own is no harm"


def test_labels_that_do_not_read_name_nothing_and_are_not_written_over(run: Path) -> None:
    labels_path().write_text("{ mended by hand")
    assert labels.read(labels_path()) == {}
    with pytest.raises(BatchdeckError, match="does not read"):
        called(run, "reviews")
    assert labels_path().read_text() == "{ mended by hand"


def test_a_run_goes_with_all_that_is_its_own_and_nothing_else(run: Path, tmp_path: Path, home: Path) -> None:
    called(run, "reviews")
    neighbour = make_run(tmp_path / "prompts-1120.db.bak.db", 3)
    link = home / "runs" / "link.db"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(run)
    remove(examine(link))
    assert not link.is_symlink()
    assert run.exists(), "a link goes alone"
    doomed = examine(run)
    assert doomed.items == 12
    assert doomed.size > run.stat().st_size
    remove(doomed)
    assert sorted(path.name for path in tmp_path.glob("prompts*")) == [neighbour.name]
    assert known_runs() == []
    assert list(registry_folder().iterdir()) == []
    assert labels.read(labels_path()) == {}


def test_what_is_no_run_or_is_being_run_or_was_put_in_its_place_stays(run: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.db"
    notes.write_bytes(b"no database at all " * 80)
    with pytest.raises(StoreError):
        examine(notes)
    doomed = examine(run)
    with child(HOLD, str(run), "who"):
        with pytest.raises(RunLocked):
            examine(run)
        with pytest.raises(RunLocked):
            remove(doomed)
    os.replace(make_run(tmp_path / "other.db", 3), run)
    with pytest.raises(UsageError, match="not the file"):
        remove(doomed)
    assert run.exists()


def test_an_empty_name_or_one_of_two_runs_means_none(run: Path, tmp_path: Path, home: Path) -> None:
    for whole in (False, True):
        with pytest.raises(UsageError, match="an empty name"):
            find_run("", whole=whole)
    assert find_run("prompts") == run
    with pytest.raises(UsageError, match="no run file or run called 'prompts'"):
        find_run("prompts", whole=True)
    (tmp_path / "other").mkdir()
    twin = make_run(tmp_path / "other" / run.name, 3)
    register(twin)
    with pytest.raises(UsageError, match=r"means 2 runs: .*prompts-1120\.db.*say which by its path"):
        find_run("prompts-1120")
    assert find_run(str(twin)) == twin


def test_what_stays_of_a_deleted_run_is_told_and_stops_nothing(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other.db", 3)
    labels_path().write_text("{ mended by hand")
    done = CliRunner().invoke(rm, [str(run), str(other), str(tmp_path / "." / "other.db"), "--yes", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["deleted"] == [str(run), str(other)]
    assert "does not read as labels" in done.stderr
    assert not run.exists()
    assert not list(tmp_path.glob("other*"))


def test_two_hard_links_are_two_names(run: Path, tmp_path: Path) -> None:
    (tmp_path / "b.db").hardlink_to(run)
    done = CliRunner().invoke(rm, [str(run), str(tmp_path / "b.db"), "--yes", "--json"])
    assert (done.exit_code, len(json.loads(done.stdout)["deleted"])) == (0, 2)
    assert not list(tmp_path.glob("*.db"))


def test_a_file_that_is_no_index_is_not_deleted_with_a_run(run: Path) -> None:
    index_path(run).write_text("my notes")
    remove(examine(run))
    assert index_path(run).read_text() == "my notes"


def test_a_name_that_is_no_text_can_have_a_label(run: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"n\xff.db")
    run.rename(odd)
    assert called(odd, "odd") == labels.read(labels_path())[labels.key(odd)] == Label("odd")
