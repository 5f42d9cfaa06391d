"""Run files and folders in odd places: links, folders that may only be read, names that are none, a full disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from batchdeck import spawn
from batchdeck.cli.export import command as export
from batchdeck.cli.options import Seconds
from batchdeck.cli.resume import newest_unfinished
from batchdeck.cli.show import command as show
from batchdeck.cli.watch import newest_run
from batchdeck.config import find_run, known_runs, lock_path, log_path, register, registry_folder, runs_folder
from batchdeck.errors import StoreError, UsageError
from batchdeck.lock import probe
from batchdeck.model import Launch
from batchdeck.providers import managed
from batchdeck.store.reader import RunReader
from tests.core.runfile import item, make_run
from tests.runs.processes import batchdeck, launch, simulator

SIM = ("--provider", "sim", "-m", "sim")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("One?\nTwo?\n")
    return path


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may write anywhere: then, for a while, be nobody."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that anybody may read and nobody may write, once the test has filled and closed it."""
    folder = Path(tempfile.mkdtemp(prefix="batchdeck-test-"))
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


def finished(path: Path, *texts: str) -> Path:
    """A run file as an engine leaves it: in WAL mode, with all of it folded back."""
    make_run(path, [item(text) for text in texts])
    with closing(sqlite3.connect(path)) as engine:
        engine.execute("PRAGMA journal_mode = WAL")
    assert [other.name for other in path.parent.iterdir()] == [path.name]
    return path


def close(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)


def one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """It ended with this code and one line that says why."""
    assert done.returncode == code, done.stderr
    assert done.stderr.strip().count("\n") == 0, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


class TestLinks:
    def test_a_run_is_seen_to_be_live_through_a_link(self, tmp_path: Path, prompts: Path) -> None:
        link = tmp_path / "links" / "latest.db"
        link.parent.mkdir()
        with simulator("--hold") as sim:
            run = launch(prompts, sim, tmp_path / "run.db")
            link.symlink_to(run)
            assert json.loads(batchdeck("show", str(link), "--json").stdout)["state"] == "running"
            assert "in the hands of process" in batchdeck("resume", str(link), "--headless").stderr
            info = probe(link)
            assert info is not None
            os.kill(info.pid, signal.SIGKILL)
        assert [path.name for path in link.parent.iterdir()] == ["latest.db"]

    def test_lock_and_log_lie_beside_the_file_itself(self, tmp_path: Path) -> None:
        real = make_run(tmp_path / "run.db", [item("a")])
        (tmp_path / "latest.db").symlink_to(real)
        assert lock_path(tmp_path / "latest.db") == tmp_path / "run.db.lock"
        assert log_path(tmp_path / "latest.db") == tmp_path / "run.db.log"

    def test_a_link_that_leads_nowhere_is_no_run(self) -> None:
        (runs_folder() / "gone.db").symlink_to("/nonexistent/x.db")
        (registry_folder() / "odd").write_bytes(b"\xff\0nothing")
        (registry_folder() / "folder").mkdir()
        assert known_runs() == []


class TestUnreadableNeighbours:
    @pytest.fixture
    def run(self) -> Path:
        path = make_run(runs_folder() / "good.db", [item("a")], ending="drained")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        (runs_folder() / "newer.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 4_000)
        (runs_folder() / "empty.db").touch()
        return path

    def test_resume_takes_the_newest_run_that_it_can_read(self, run: Path) -> None:
        assert newest_unfinished() == run

    def test_watch_shows_the_newest_run_that_it_can_read(self, run: Path) -> None:
        assert newest_run() == run
        assert json.loads(batchdeck("watch", "--json").stdout)["path"] == str(run)

    def test_nothing_but_unreadable_files_is_no_run(self, run: Path) -> None:
        run.unlink()
        with pytest.raises(UsageError, match="no run waits"):
            newest_unfinished()
        with pytest.raises(UsageError, match="no runs yet"):
            newest_run()


class TestReadOnlyFolder:
    def test_a_finished_run_is_read_all_the_same(self, read_only: Path) -> None:
        run = finished(read_only / "run.db", "a", "b")
        close(read_only)
        with without_privileges():
            shown = CliRunner().invoke(show, [str(run)])
            rows = CliRunner().invoke(export, [str(run)])
            with RunReader(run) as reader:
                assert reader.counts().done == 2
        assert shown.exit_code == 0, shown.exception
        assert "2 done" in shown.stdout
        assert [json.loads(line)["text"] for line in rows.stdout.splitlines()] == ["a", "b"]

    def test_with_somebody_elses_lock_too(self, read_only: Path) -> None:
        run = finished(read_only / "run.db", "a")
        close(read_only)
        read_only.chmod(0o755)
        lock_path(run).touch(0o600)
        read_only.chmod(0o555)
        with without_privileges(), RunReader(run, still=True) as reader:
            assert reader.meta().state == "done"

    def test_answers_in_the_write_ahead_log_are_not_passed_over_in_silence(self, read_only: Path) -> None:
        run = make_run(read_only / "run.db", [item("a")])
        with closing(sqlite3.connect(run)) as engine:
            engine.execute("PRAGMA wal_autocheckpoint = 0")
            engine.execute("PRAGMA journal_mode = WAL")
            engine.execute("UPDATE run SET message = 'in the log only'")
            engine.commit()
            copy = read_only / "copy.db"
            shutil.copy(run, copy)
            shutil.copy(f"{run}-wal", f"{copy}-wal")
        close(read_only)
        with without_privileges(), pytest.raises(StoreError, match="can only be read in a folder that can be written"):
            RunReader(copy, still=True)
        read_only.chmod(0o755)
        with RunReader(copy, still=True) as reader:
            assert reader.meta().message == "in the log only"


class TestTraces:
    def test_a_look_at_a_finished_run_leaves_nothing_behind(self) -> None:
        run = finished(runs_folder() / "run.db", "a")
        for arguments in (["ls"], ["show", "run"], ["export", "run"], ["watch", "run", "--json"]):
            assert batchdeck(*arguments).returncode == 0
        assert [path.name for path in run.parent.iterdir()] == ["run.db"]

    def test_a_long_look_sees_what_is_written_later(self, tmp_path: Path) -> None:
        folder = tmp_path / "runs"
        folder.mkdir()
        run = finished(folder / "run.db", "a")
        with RunReader(run) as reader, closing(sqlite3.connect(run)) as engine:
            assert reader.meta().message == ""
            engine.execute("UPDATE run SET message = 'new'")
            engine.commit()
            assert reader.meta().message == "new"
            with RunReader(run, still=True) as short:
                assert short.meta().message == "new", "what stands in the log counts"


class TestNames:
    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "work"
        folder.mkdir()
        monkeypatch.chdir(folder)
        return make_run(runs_folder() / "translate.db", [item("a")])

    def test_a_file_that_is_no_run_does_not_stand_before_a_run_of_its_name(self, run: Path) -> None:
        Path("translate").write_text("a note\n")
        Path("trans").write_text("a note\n")
        assert find_run("translate") == run
        assert find_run("trans") == run
        assert find_run("./translate") == Path("translate")

    def test_a_run_file_that_lies_here_does(self, run: Path) -> None:
        make_run(Path("translate"), [item("b")])
        assert find_run("translate") == Path("translate")

    def test_a_run_that_has_only_just_begun_is_one(self, run: Path) -> None:
        with closing(sqlite3.connect("translate")) as engine:
            engine.execute("PRAGMA journal_mode = WAL")
            engine.execute("PRAGMA application_id = 1111772977")
            engine.execute("CREATE TABLE t (a)")
            assert find_run("translate") == Path("translate")

    def test_a_name_with_a_suffix_is_a_file(self, run: Path) -> None:
        Path("translate.txt").write_text("a note\n")
        assert find_run("translate.txt") == Path("translate.txt")
        (runs_folder() / "v1.txt.db").write_bytes(run.read_bytes())
        Path("v1.txt").write_text("a note\n")
        assert find_run("v1.txt") == runs_folder() / "v1.txt.db"


class TestOneLine:
    """Whatever is wrong with a place is said in one line, never in a traceback."""

    def test_a_folder_that_is_not_there(self, prompts: Path) -> None:
        done = batchdeck("run", str(prompts), *SIM, "--db", "/nonexistent/x.db", "--detach")
        one_line(done, 2, "/nonexistent/x.db", "No such file or directory")

    def test_a_folder_that_may_only_be_read(self, read_only: Path) -> None:
        close(read_only)
        run = read_only / "x.db"
        with without_privileges(), pytest.raises(UsageError, match="Permission denied"):
            spawn.spawn(Launch(path=str(run), config=None))

    @pytest.mark.parametrize("place", ["/dev/null/home", "/proc/nowhere"])
    def test_a_home_that_cannot_be(self, place: str, prompts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BATCHDECK_HOME", place)
        for arguments in (["ls"], ["resume"], ["run", str(prompts), *SIM, "--detach"], ["show", "x"]):
            one_line(batchdeck(*arguments), 2, place, "BATCHDECK_HOME")

    def test_names_that_are_no_text(self, prompts: Path, tmp_path: Path) -> None:
        odd = os.fsdecode(b"odd-\xff.txt")
        shutil.copy(prompts, tmp_path / odd)
        one_line(batchdeck("run", str(tmp_path / odd), *SIM), 2, "INPUT", "odd-?.txt", "UTF-8")
        one_line(batchdeck("run", str(prompts), *SIM, "--db", f"{odd}.db"), 2, "--db", "UTF-8")
        one_line(batchdeck("run", str(prompts), *SIM, "--prompt", odd), 2, "--prompt", "UTF-8")
        folder = tmp_path / os.fsdecode(b"\xfe")
        folder.mkdir()
        run = make_run(folder / "run.db", [item("a")], ending="drained")
        register(run)
        assert find_run("run") == run
        one_line(batchdeck("resume", "run"), 2, "UTF-8")
        assert batchdeck("show", "run").returncode == 0

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
    def test_a_full_disk_behind_standard_output(self, tmp_path: Path) -> None:
        run = make_run(runs_folder() / "run.db", [item("a")])
        for arguments in (["export", str(run)], ["ls"], ["show", "run"]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run(
                    [sys.executable, "-m", "batchdeck", *arguments],
                    stdout=full,
                    stderr=subprocess.PIPE,
                    text=True,
                    check=False,
                    timeout=60,
                )
            one_line(done, 1, "No space left on device")

    def test_ctrl_c_while_a_command_still_loads(self, tmp_path: Path) -> None:
        loading = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
        for module in ("click", "msgspec"):
            folder = tmp_path / module
            folder.mkdir()
            (folder / f"{module}.py").write_text(loading)
            done = subprocess.run(
                [sys.executable, "-m", "batchdeck", "resume"],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])},
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            one_line(done, 130, "batchdeck: interrupted")

    @pytest.mark.parametrize("seconds", ["nan", "inf", "-inf", "0", "-1"])
    def test_times_that_are_none(self, seconds: str) -> None:
        with pytest.raises(click.BadParameter):
            Seconds().convert(seconds, None, None)
        assert Seconds().convert("0.5", None, None) == 0.5

    def test_all_times_are_checked(self, prompts: Path) -> None:
        for option in ("--timeout", "--idle-timeout", "--first-token-timeout", "--connect-timeout", "--max-wait"):
            done = batchdeck("run", str(prompts), *SIM, option, "nan", "--dry-run")
            assert done.returncode == 2
            assert option in done.stderr
            assert "Traceback" not in done.stderr


def test_a_dry_run_needs_no_key(prompts: Path) -> None:
    arguments = ("run", str(prompts), "--provider", "openai", "-m", "gpt-4o-mini")
    done = batchdeck(*arguments, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["items"] == 2
    assert "OPENAI_API_KEY" in batchdeck(*arguments).stderr


def test_an_engine_is_given_as_long_to_start_as_the_provider_that_it_brings() -> None:
    assert spawn.READY_SECONDS > managed.START_TIMEOUT


def test_an_output_that_is_closed(home: Path) -> None:
    finished(runs_folder() / "run.db", "a")
    for arguments in ("ls", "show run", "export run", "ls --json"):
        command = f'"{sys.executable}" -m batchdeck {arguments} >&-'
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), arguments
