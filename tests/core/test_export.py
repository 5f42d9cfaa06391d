"""``batchdeck export``, ``ls`` and ``show``: what leaves a run file, and that it harms nobody."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.cli.export import command as export
from batchdeck.cli.ls import command as ls
from batchdeck.cli.show import command as show
from batchdeck.config import find_run, log_path, register, runs_folder
from batchdeck.errors import BatchdeckError, StoreError, UsageError
from batchdeck.export import FIELDS, csv_cell, inert_json, row_json, whole_file, write_csv, write_jsonl
from batchdeck.store.reader import RunReader
from batchdeck.store.runfile import RunFile
from tests.core.ledger import create, settle, settlement
from tests.core.runfile import CONFIG, item, make_run

HOSTILE = "[/foo]\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\u202eevil\u2028\x00\x7f=1+1"
STEERING = set("\x1b\x07\x9b\u202e\u2028\x00\x7f\r")
PROMISED = {"index", "custom_id", "state", "input", "text", "finish_reason", "tokens_in", "tokens_out", "ttft"}
PROMISED |= {"seconds", "cost", "error_type", "attempts"}


@pytest.fixture
def run(home: Path) -> Path:
    items = [
        item("Hello", input={"text": "Hallo", "n": [1, None]}, custom_id="a"),
        item("", state="failed", error_type="http_400", error="the prompt is too long"),
        item("", state="failed", bad_line="prompts.jsonl:3: not JSON: Expecting value at column 1", data="{}"),
        item("", state="queued"),
        item(HOSTILE, input={"text": HOSTILE}),
    ]
    return make_run(runs_folder() / "translate.db", items)


def call(command: Any, *args: str) -> Result:
    return CliRunner().invoke(command, args, catch_exceptions=False)


def exported(*args: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in call(export, *args).stdout_bytes.splitlines()]


class TestJsonl:
    def test_every_item_is_a_line_in_input_order_with_all_that_is_known(self, run: Path) -> None:
        rows = exported("translate", "--to", "jsonl")
        assert [row["index"] for row in rows] == [0, 1, 2, 3, 4]
        assert [row["state"] for row in rows] == ["done", "failed", "failed", "queued", "done"]
        assert set(rows[0]) >= PROMISED
        assert rows[0] == {
            "index": 0,
            "custom_id": "a",
            "state": "done",
            "input": {"text": "Hallo", "n": [1, None]},
            "text": "Hello",
            "finish_reason": "stop",
            "tokens_in": 10,
            "tokens_out": 5,
            "ttft": 0.25,
            "seconds": 1.5,
            "cost": 0.001,
            "error_type": None,
            "error": None,
            "attempts": 1,
            "model": "m-1",
            "line": 1,
        }
        assert (rows[1]["error_type"], rows[1]["error"]) == ("http_400", "the prompt is too long")
        assert (rows[2]["error_type"], rows[2]["attempts"]) == ("bad_input", 0)

    def test_hostile_text_is_exact_and_inert(self, run: Path) -> None:
        output = call(export, str(run)).stdout_bytes
        assert not STEERING & set(output.decode())
        last = json.loads(output.splitlines()[-1])
        assert last["text"] == last["input"]["text"] == HOSTILE

    @given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))))
    def test_any_text_reads_back_from_one_line(self, value: dict[str, str]) -> None:
        line = inert_json(value)
        assert len(line.decode().splitlines()) == 1
        assert json.loads(line) == msgspec.json.decode(line) == value

    def test_half_a_character_does_not_break_the_output(self) -> None:
        assert json.loads(inert_json({"a": ["x\ud800y"]})) == {"a": ["x�y"]}

    def test_input_that_is_no_json_any_more_is_given_as_text(self) -> None:
        assert json.loads(row_json({"index": 0, "input": "{oops"}))["input"] == "{oops"

    def test_only_items_in_a_state(self, run: Path) -> None:
        assert [row["index"] for row in exported("translate", "--state", "failed", "--state", "queued")] == [1, 2, 3]


class TestCsv:
    def rows(self, output: bytes) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(output.decode(), newline="")))

    def test_the_same_rows_with_the_input_as_json_text(self, run: Path) -> None:
        rows = self.rows(call(export, "translate", "--to", "csv").stdout_bytes)
        assert tuple(rows[0]) == FIELDS
        assert [row["index"] for row in rows] == ["0", "1", "2", "3", "4"]
        assert json.loads(rows[0]["input"]) == {"text": "Hallo", "n": [1, None]}
        assert (rows[0]["ttft"], rows[0]["cost"], rows[1]["ttft"]) == ("0.25", "0.001", "")

    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\n", "＝"])
    def test_what_a_spreadsheet_would_run_is_neutralised(self, start: str) -> None:
        assert csv_cell(f"{start}cmd|' /C calc'!A0") == f"'{start}cmd|' /C calc'!A0"

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("a\rOVER", "a␍OVER"),
            ("\r=1", "␍=1"),
            ("two\r\nlines", "two\nlines"),
            ("abc\u202etxt\u2066x", "abc�txt�x"),
            ("a\u2028b\ufeffc\U000e0041d", "a�b�c�d"),
            ("می\u200cخواهم \u200f12", "می\u200cخواهم \u200f12"),
        ],
    )
    def test_what_steers_a_terminal_or_turns_a_line_becomes_a_sign_and_words_stay(self, text: str, shown: str) -> None:
        assert csv_cell(text) == shown

    @pytest.mark.parametrize("value", [-1.5, 3, None, "-1.5", "+4", "-2e-3", "a=b", "", "x\ny\tz"])
    def test_numbers_and_harmless_text_stay_as_they_are(self, value: Any) -> None:
        assert csv_cell(value) == value

    @given(st.lists(st.text(), min_size=1, max_size=5))
    def test_no_text_breaks_the_table_or_a_terminal(self, texts: list[str]) -> None:
        out = io.BytesIO()
        rows = [dict.fromkeys(FIELDS) | {"index": n, "text": text} for n, text in enumerate(texts)]
        assert write_csv(rows, out) == len(texts)
        back = self.rows(out.getvalue())
        assert [row["index"] for row in back] == [str(n) for n in range(len(texts))]
        assert not any(set(row["text"]) & set("\x1b\x07\x9b\x00\x7f") for row in back)

    def test_control_characters_become_signs(self, run: Path) -> None:
        output = call(export, "translate", "--to", "csv").stdout_bytes.decode()
        assert "\x1b" not in output
        assert "␛]52;c;aGk=␇" in self.rows(output.encode())[4]["text"]


def breaks_after(rows: int) -> Iterator[dict[str, Any]]:
    for n in range(rows):
        yield {"index": n, "input": "{}", "text": "x" * 1_000}
    raise StoreError("the run file broke")


class TestFiles:
    def test_a_file_is_whole_private_and_its_suffix_says_the_format(self, run: Path, tmp_path: Path) -> None:
        target = tmp_path / "answers.csv"
        target.write_text("old")
        result = call(export, "translate", "-o", str(target))
        assert target.read_text().startswith("index,custom_id,state,input,text")
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert (result.stdout, result.stderr) == ("", f"5 rows in {target}\n")
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    def test_a_link_goes_on_pointing_to_the_file(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "real.jsonl").touch()
        (tmp_path / "link.jsonl").symlink_to("real.jsonl")
        call(export, "translate", "-o", str(tmp_path / "link.jsonl"))
        assert (tmp_path / "link.jsonl").is_symlink()
        assert len((tmp_path / "real.jsonl").read_bytes().splitlines()) == 5

    def test_when_it_goes_wrong_half_way_the_old_file_stays_and_nothing_else(self, tmp_path: Path) -> None:
        target = tmp_path / "answers.jsonl"
        target.write_text("old")
        with pytest.raises(StoreError), whole_file(target) as file:
            write_jsonl(breaks_after(1_000), file)
        assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["answers.jsonl"]
        assert target.read_text() == "old"

    def test_a_full_disk_is_one_clear_line(self, run: Path) -> None:
        with pytest.raises(BatchdeckError, match="/dev/full cannot be written: No space left on device"):
            call(export, "translate", "--to", "jsonl", "-o", "/dev/full")

    def test_a_suffix_that_says_nothing_needs_a_format(self, run: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="give --to jsonl or --to csv"):
            call(export, "translate", "-o", str(tmp_path / "answers.xlsx"))

    @pytest.mark.parametrize("suffix", ["", ".lock", "-wal"])
    def test_the_run_itself_is_never_overwritten(self, run: Path, suffix: str) -> None:
        before = run.read_bytes()
        with pytest.raises(UsageError, match="belongs to the run itself"):
            call(export, str(run), "--to", "jsonl", "-o", f"{run}{suffix}")
        assert run.read_bytes() == before

    def test_neither_another_run_nor_the_input_is_overwritten(self, run: Path, tmp_path: Path) -> None:
        other = make_run(tmp_path / "other.db", [])
        source = tmp_path / "prompts.jsonl"
        source.write_text("{}")
        (tmp_path / "link.jsonl").symlink_to(source)
        own = make_run(tmp_path / "own.db", [], config=msgspec.structs.replace(CONFIG, input=str(source)))
        for target, why in ((other, "is a run"), (source, "was read from"), (tmp_path / "link.jsonl", "was read from")):
            before = target.read_bytes()
            with pytest.raises(UsageError, match=why):
                call(export, str(own), "--to", "jsonl", "-o", str(target))
            assert target.read_bytes() == before

    def test_a_run_that_goes_on_meanwhile_is_read_as_it_is_then(self, tmp_path: Path) -> None:
        file = create(tmp_path / "run.db", 2_000)
        settle(file, *[settlement(idx, text=f"old {idx}") for idx in range(0, 2_000, 2)])
        file.end("drained", "", 1.0)
        file.close()
        with RunReader(file.path, still=True) as reader:
            rows = reader.results()
            first = [next(rows) for _ in range(10)]
            file = RunFile.open(file.path)
            settle(file, *[settlement(idx, text=f"new {idx}") for idx in range(1, 2_000, 2)])
            file.close()  # all of it goes into the file that is read
            found = [*first, *rows]
        assert [row["index"] for row in found] == list(range(2_000))
        for row in found:
            expected = {"done": f"{'new' if row['index'] % 2 else 'old'} {row['index']}", "queued": ""}
            assert row["text"] == expected[row["state"]]
        assert all(row["state"] == "done" for row in found[600:])

    def test_a_pipe_is_written_to(self, run: Path, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE) as reader:
            call(export, "translate", "--to", "jsonl", "-o", str(tmp_path / "pipe"))
            assert reader.stdout is not None
            assert len(reader.stdout.read().splitlines()) == 5

    def test_a_folder_or_a_missing_one_is_refused(self, run: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="is a folder"):
            call(export, "translate", "--to", "csv", "-o", str(tmp_path))
        with pytest.raises(BatchdeckError, match="No such file or directory"):
            call(export, "translate", "-o", str(tmp_path / "no" / "a.csv"))

    def test_a_reader_that_has_seen_enough_is_no_error(self, home: Path) -> None:
        """``batchdeck export … | head -1``, with far more behind it than a pipe holds."""
        make_run(runs_folder() / "long.db", [item("x" * 10_000) for _ in range(100)])
        code = "from batchdeck.cli.export import command; command()"
        process = subprocess.Popen([sys.executable, "-c", code, "long"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["index"] == 0
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0
        process.stderr.close()


class TestLs:
    def test_each_run_is_a_line_with_its_figures(self, run: Path) -> None:
        header, line = call(ls).stdout.splitlines()
        assert header.split() == ["RUN", "STATE", "DONE", "FAILED", "TOTAL", "RATE", "COST", "WHEN"]
        assert line.split()[:6] == ["translate", "done", "2", "2", "5", "80.0%"]
        assert "$0.0020" in line

    def test_a_run_whose_engine_is_gone_is_interrupted(self, run: Path) -> None:
        make_run(runs_folder() / "gone.db", [item("a"), item(state="queued")], ending=None)
        states = {known["run"]: known["state"] for known in json.loads(call(ls, "--json").stdout)}
        assert states == {"translate": "done", "gone": "interrupted"}

    def test_a_file_that_cannot_be_read_is_a_line_not_a_crash(self, run: Path) -> None:
        (runs_folder() / "broken.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 4_000)
        (runs_folder() / "other.db").write_text("hello")
        lines = call(ls).stdout.splitlines()
        assert sum(line.startswith("translate ") for line in lines) == 1
        assert [line.split(":")[0] for line in lines if "broken.db" in line or "other.db" in line] == ["unreadable"] * 2
        known = json.loads(call(ls, "--json").stdout)
        assert sorted("error" in entry for entry in known) == [False, True, True]

    def test_every_name_in_the_list_finds_its_run(self, run: Path, tmp_path: Path) -> None:
        elsewhere = [make_run(tmp_path / name, [item("a")]) for name in ("translate.db", "unique.db")]
        for path in elsewhere:
            register(path)
        names = [line.split()[0] for line in call(ls).stdout.splitlines()[1:]]
        assert sorted(names) == sorted([str(run), str(elsewhere[0]), "unique"])
        assert {find_run(name) for name in names} == {run, *elsewhere}

    def test_no_runs_yet_says_how_to_make_one(self) -> None:
        assert "batchdeck run" in call(ls).stdout
        assert json.loads(call(ls, "--json").stdout) == []


class TestShow:
    def test_a_run_in_full(self, run: Path) -> None:
        text = call(show, "translate").stdout
        assert text.startswith("translate  done\n")
        for words in (
            "2 done, 2 failed",
            "5, 80.0% settled",
            "20 in, 10 out",
            "$0.0020",
            "http_400: 1 attempt, 1 item failed",
            "item 1: the prompt is too long",
            "model: m-1",
        ):
            assert words in text

    def test_as_json(self, run: Path) -> None:
        known = json.loads(call(show, "translate", "--json").stdout)
        assert (known["run"], known["state"], known["counts"]["done"]) == ("translate", "done", 2)
        assert known["errors"][0]["error_type"] == "http_400"

    def test_secrets_that_got_into_the_settings_are_masked(self, home: Path) -> None:
        canary = "sk-canary-1234"
        config = msgspec.structs.replace(
            CONFIG,
            base_url=f"https://me:{canary}@host.example/v1",
            headers={"Authorization": f"Bearer {canary}", "X-Team": "blue", "Api-Key": "${TEAM_KEY}"},
            params={"nested": [{"api_key": canary}], "max_tokens": "9"},
        )
        make_run(runs_folder() / "keys.db", [item("a")], config=config)
        for output in (call(show, "keys"), call(show, "keys", "--json"), call(ls, "--json")):
            assert canary not in output.stdout
        text = call(show, "keys").stdout
        assert "host.example/v1" in text
        assert "blue" in text
        assert "${TEAM_KEY}" in text
        assert '"max_tokens":"9"' in text

    def test_an_interrupted_run_shows_the_end_of_its_log_and_the_way_on(self, home: Path) -> None:
        path = make_run(runs_folder() / "gone.db", [item("a"), item(state="queued")], ending=None)
        log_path(path).write_text("\n".join(f"line {n}" for n in range(5_000)) + "\nMemoryError \x1b[31m\n")
        text = call(show, "gone").stdout
        assert text.startswith("gone  interrupted\n")
        assert "  line 4999\n  MemoryError ␛[31m\n" in text
        assert "line 4900\n" not in text
        assert f"batchdeck resume {path}" in text
        assert json.loads(call(show, "gone", "--json").stdout)["log"][-2] == "line 4999"

    def test_a_run_that_goes_on_is_running(self, home: Path, engine_elsewhere: Any) -> None:
        path = make_run(runs_folder() / "live.db", [item(state="queued")], ending=None)
        with engine_elsewhere(path):
            assert call(show, "live").stdout.startswith("live  running\n")
        assert call(show, "live").stdout.startswith("live  interrupted\n")

    def test_an_item_in_full(self, run: Path) -> None:
        text = call(show, "translate", "--item", "0").stdout
        assert text.startswith("item 0  a  done  (line 1 of the input)\n")
        assert "\nuser\n  Hallo\n" in text
        assert "attempt 1: ok, HTTP 200, 1.5s, first token 250ms, 10 in, 5 out, $0.0010, stop, m-1" in text
        assert text.endswith("\nanswer\n  Hello\n")

    def test_the_prompt_is_shown_as_it_was_sent(self, home: Path) -> None:
        config = msgspec.structs.replace(CONFIG, prompt="Translate {{text}}", system="Be {{text}}")
        make_run(runs_folder() / "t.db", [item("x", input={"text": "Haus"})], config=config)
        text = call(show, "t", "--item", "0").stdout
        assert "\nsystem\n  Be Haus\n" in text
        assert "\nuser\n  Translate Haus\n" in text

    def test_hostile_text_is_inert_on_the_terminal(self, run: Path) -> None:
        for output in (call(show, "translate", "--item", "4"), call(show, "translate", "--item", "4", "--json")):
            assert not STEERING & set(output.stdout)
        known = json.loads(call(show, "translate", "--item", "4", "--json").stdout)
        assert known["attempts"][0]["text"] == known["input"]["text"] == HOSTILE

    def test_a_bad_line_says_why(self, run: Path) -> None:
        assert "prompts.jsonl:3: not JSON" in call(show, "translate", "--item", "2").stdout

    def test_an_item_that_is_not_there(self, run: Path) -> None:
        with pytest.raises(UsageError, match="has no item 5; it has 5, counted from 0"):
            call(show, "translate", "--item", "5")

    @pytest.mark.parametrize("command", [show, export])
    def test_an_unknown_run_points_to_the_list(self, command: Any) -> None:
        with pytest.raises(UsageError, match="batchdeck ls"):
            call(command, "nothing")


@pytest.fixture
def engine_elsewhere() -> Any:
    """Holds a run's lock from another process, as its engine does."""
    from contextlib import contextmanager

    code = (
        "import sys; from pathlib import Path; from batchdeck.lock import RunLock; held = RunLock(Path(sys.argv[1]));"
    )
    code += "print('held', flush=True); sys.stdin.read()"

    @contextmanager
    def holding(path: Path) -> Iterator[None]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield
            process.stdin.close()

    return holding
