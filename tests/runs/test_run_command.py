"""``batchdeck run`` and ``resume`` as a person at a shell meets them: real processes, real HTTP, real files."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from batchdeck import lock
from batchdeck.control.client import ControlClient
from batchdeck.model import Command
from batchdeck.store.reader import RunReader
from tests.runs.processes import (
    batchdeck,
    kill,
    launch,
    simulator,
    wait_for,
    wait_for_end,
    wait_until_free,
)

CANARY = "sk-canary-7d1f0c55aa"


def prompts(folder: Path, count: int) -> Path:
    path = folder / "prompts.txt"
    path.write_text("".join(f"What about {n}?\n" for n in range(count)))
    return path


def test_a_headless_run_answers_everything_and_exports_in_order(tmp_path: Path) -> None:
    db = tmp_path / "run.db"
    with simulator("--latency-ms", "20") as sim:
        done = batchdeck(
            "run",
            str(prompts(tmp_path, 50)),
            "--base-url",
            sim.base_url,
            "--model",
            "sim",
            "--db",
            str(db),
            "--headless",
            "--json",
        )
        stats = sim.stats()
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    expected = {
        "run": "run",
        "state": "done",
        "items": 50,
        "done": 50,
        "failed": 0,
        "skipped": 0,
        "attempts": 50,
        "rate_limit_hits": 0,
    }
    assert {name: summary[name] for name in expected} == expected
    assert summary["tokens_out"] == stats["tokens_out"]
    assert summary["cost"] is None, "a simulated model has no price, and unknown is not zero"
    assert stat.S_IMODE(db.stat().st_mode) == 0o600
    out = tmp_path / "out.jsonl"
    exported = batchdeck("export", str(db), "--to", "jsonl", "-o", str(out))
    assert exported.returncode == 0, exported.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(50))
    assert all(row["state"] == "done" and "simulated" in row["text"] and row["attempts"] == 1 for row in rows)
    assert all(0 < row["ttft"] <= row["seconds"] and row["finish_reason"] == "stop" for row in rows)
    with RunReader(db) as reader:
        told = [reader.detail(index) for index in range(50)]
    ledger = [one.attempts[0] for one in told if one is not None]
    assert len(ledger) == 50
    assert all(0 <= (one.connect or 0) <= (one.ttft or 0) for one in ledger)
    assert max(one.connect or 0 for one in ledger) > 2 * min(one.connect or 0 for one in ledger), (
        "of the kept ones, none"
    )


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_rate_limits_hold_the_run_and_fail_nobody(tmp_path: Path, stream: str) -> None:
    with simulator("--latency-ms", "30", "--rpm", "1500", "--headers", "none") as sim:
        done = batchdeck(
            "run",
            str(prompts(tmp_path, 260)),
            "--base-url",
            sim.base_url,
            "-m",
            "sim",
            "-c",
            "30",
            "--db",
            str(tmp_path / "run.db"),
            "--json",
            stream,
        )
        stats = sim.stats()
    summary = json.loads(done.stdout)
    assert done.returncode == 0
    assert summary["failed"] == 0
    assert summary["done"] == 260
    assert summary["rate_limit_hits"] == stats["by_status"]["429"] > 0
    assert summary["attempts"] == stats["requests"]


def test_errors_are_told_by_class_and_a_retry_mends_them(tmp_path: Path) -> None:
    db = str(tmp_path / "run.db")
    with simulator("--latency-ms", "10", "--fault", "400=0.2", "--fault", "500=0.1") as sim:
        done = batchdeck(
            "run", str(prompts(tmp_path, 60)), "--base-url", sim.base_url, "-m", "sim", "--db", db, "--json"
        )
        assert done.returncode == 3
        summary = json.loads(done.stdout)
        errors = {error["error_type"]: error for error in summary["errors"]}
        assert errors["http_400"]["items"] == summary["failed"] > 0
        assert errors["http_500"]["attempts"] > 0
        assert errors["http_500"]["items"] == 0
        assert summary["retries"] == errors["http_500"]["attempts"]
        sim.call("/sim/options", {"faults": {}})
        again = batchdeck("resume", db, "--retry-failed", "--json")
    summary = json.loads(again.stdout)
    assert again.returncode == 0
    assert (summary["done"], summary["failed"]) == (60, 0)


def test_a_refused_key_stops_the_run_with_one_message_and_is_in_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIM_KEY", "sk-the-right-one")
    db = tmp_path / "run.db"
    source = prompts(tmp_path, 500)
    with simulator("--latency-ms", "10", "--require-key", "SIM_KEY") as sim:
        monkeypatch.setenv("OPENAI_API_KEY", CANARY)
        arguments = ["--base-url", sim.base_url, "-m", "sim", "--db", str(db)]
        done = batchdeck("run", str(source), *arguments, "--header", f"X-Team: {CANARY}-header", "--json")
        assert done.returncode == 4
        summary = json.loads(done.stdout)
        assert summary["state"] == "stopped"
        assert summary["failed"] == 0, "the items wait for a better key"
        assert summary["attempts"] <= 10
        assert "key" in summary["message"].lower()
        for path in [*tmp_path.rglob("*")]:
            if path.is_file():
                assert CANARY.encode() not in path.read_bytes(), path
        assert CANARY not in done.stdout + done.stderr
        with RunReader(db) as reader:
            attempts = [a.id for row in reader.window(0, 500) if row.attempts for a in reader.detail(row.idx).attempts]  # type: ignore[union-attr]
            assert attempts
            assert all(CANARY.encode() not in reader.raw(attempt) for attempt in attempts)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-the-right-one")
        asked = batchdeck("resume", str(db), "--json")
        assert asked.returncode == 2
        assert "X-Team" in asked.stderr
        again = batchdeck("resume", str(db), "--json", "--header", "X-Team: a")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["done"] == 500


def test_a_run_full_of_failures_keeps_the_key_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    faults = ["500=0.1", "400=0.1", "reset=0.1", "truncate=0.1", "garbage=0.1"]
    options = [part for fault in faults for part in ("--fault", fault)]
    with simulator("--latency-ms", "5", *options) as sim:
        done = batchdeck(
            "run",
            str(prompts(tmp_path, 80)),
            "--base-url",
            sim.base_url,
            "-m",
            "sim",
            "--max-retries",
            "1",
            "--db",
            str(tmp_path / "run.db"),
            "--json",
        )
    assert done.returncode == 3, done.stderr
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path


def test_bad_lines_are_failed_items_with_their_place(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text('{"prompt": "one"}\nnot json\n{"prompt": "three"}\n{"other": 1}\n')
    db = str(tmp_path / "run.db")
    with simulator("--latency-ms", "5") as sim:
        arguments = ["run", str(source), "--base-url", sim.base_url, "-m", "sim", "--db", db, "--json"]
        strict = batchdeck(*arguments, "--strict")
        assert strict.returncode == 2
        assert "rows.jsonl:2" in strict.stderr
        assert not Path(db).exists()
        done = batchdeck(*arguments)
    assert done.returncode == 3
    summary = json.loads(done.stdout)
    assert (summary["done"], summary["failed"], summary["attempts"]) == (2, 2, 2)
    rows = [json.loads(line) for line in batchdeck("export", db, "--to", "jsonl").stdout.splitlines()]
    assert [row["error_type"] for row in rows] == [None, "bad_input", None, "bad_input"]
    assert "rows.jsonl:2" in rows[1]["error"]
    assert "rows.jsonl:4" in rows[3]["error"]


def test_a_dry_run_sends_nothing(tmp_path: Path) -> None:
    with simulator() as sim:
        done = batchdeck(
            "run",
            str(prompts(tmp_path, 9)),
            "--base-url",
            sim.base_url,
            "-m",
            "m",
            "--prompt",
            "Say {{text}}",
            "--system",
            "Be brief",
            "--param",
            "temperature=0",
            "--max-tokens",
            "7",
            "--dry-run",
            "--json",
        )
        assert sim.stats()["requests"] == 0
    said = json.loads(done.stdout)
    assert (said["items"], said["bad"], said["columns"]) == (9, 0, ["text"])
    assert said["url"] == sim.base_url + "/chat/completions"
    assert said["request"]["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "Say What about 0?"},
    ]
    assert said["request"]["temperature"] == 0
    assert 7 in said["request"].values()
    assert said["sample"][0] == {"line": 1, "values": {"text": "What about 0?"}, "error": None}
    assert said["key"] == {"name": "OPENAI_API_KEY", "set": False, "needed": False}
    assert not [*tmp_path.glob("**/*.db")]


def test_a_dry_run_tells_tokens_and_dollars_as_far_as_they_are_known(tmp_path: Path) -> None:
    rows = [{"text": "x" * 400}, {"text": "y" * 400}, {"other": 1}]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    def told(*options: str) -> tuple[dict[str, Any], str]:
        words = ("run", str(source), "--prompt", "{{text}}", "--dry-run", *options)
        return json.loads(batchdeck(*words, "--json").stdout), batchdeck(*words).stdout

    said, read = told("--provider", "openai", "-m", "gpt-4o-mini", "--max-tokens", "50")
    estimate = said["estimate"]
    assert 200 <= estimate["tokens_in"] <= 230, "two good rows of 400 bytes, at four bytes a token"
    assert estimate["tokens_out_most"] == 100
    assert estimate["price"] == [0.15, 0.6]
    assert estimate["cost_in"] == pytest.approx(estimate["tokens_in"] * 0.15e-6)
    assert estimate["cost_most"] == pytest.approx(estimate["cost_in"] + 100 * 0.6e-6)
    assert "$0.15 a million in" in read
    assert "at most 100 tokens of answers" in read

    said, read = told("--provider", "sim")
    assert said["estimate"]["price"] is said["estimate"]["cost_in"] is said["estimate"]["tokens_out_most"] is None
    assert "no price is known" in read
    assert "how long the answers are is not known" in read


def test_the_sample_of_a_dry_run_is_bounded_whatever_stands_in_the_file(tmp_path: Path) -> None:
    source = tmp_path / "wide.jsonl"
    wide = {f"c{n}": "v" * 5_000 for n in range(500)} | {"n" * 300: 1, "nested": {"deep": [1, None]}}
    rows = [{"nested": {"deep": [1, None]}, "note": None, "\x1b[2J": "\x1b]0;t\x07"}, "broken", *[wide] * 200]
    source.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    done = batchdeck("run", str(source), "--provider", "sim", "--prompt", "hello", "--dry-run", "--json")
    said = json.loads(done.stdout)
    assert said["sample"][0]["values"] == {"nested": '{"deep":[1,null]}', "note": "", "\x1b[2J": "\x1b]0;t\x07"}
    assert said["sample"][1]["values"] == {}
    assert "wide.jsonl:2" in said["sample"][1]["error"]
    assert 3 <= len(said["sample"]) <= 20
    assert len(json.dumps(said["sample"])) < 128 * 1024
    assert all(len(value) <= 200 for row in said["sample"] for value in row["values"].values())
    assert "\x1b" not in done.stdout


def test_rows_follow_as_json_while_they_settle(tmp_path: Path) -> None:
    with simulator("--latency-ms", "20") as sim:
        done = batchdeck(
            "run",
            "-",
            "--base-url",
            sim.base_url,
            "-m",
            "sim",
            "--db",
            str(tmp_path / "run.db"),
            "--follow",
            "--quiet",
            stdin='{"prompt": "a"}\nbroken {\n{"prompt": "c"}\n',
        )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert Counter(row["state"] for row in rows) == {"done": 2, "failed": 1}
    assert {row["index"] for row in rows} == {0, 1, 2}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_drains_a_run_in_the_foreground(tmp_path: Path, number: int) -> None:
    db = tmp_path / "run.db"
    with simulator("--latency-ms", "100") as sim:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "batchdeck",
                "run",
                str(prompts(tmp_path, 400)),
                "--base-url",
                sim.base_url,
                "-m",
                "sim",
                "--db",
                str(db),
                "--follow",
                "--quiet",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(20) == 130
        process.stdout.close()
        with RunReader(db) as reader:
            meta = reader.meta()
        assert meta.state == "drained"
        assert 0 < meta.counts.done < 400
        assert meta.counts.attempts == meta.counts.done == sim.stats()["requests"] == 1 + len(rest.splitlines())
        again = batchdeck("resume", str(db), "--json", "-c", "50")
        assert again.returncode == 0
        assert sim.stats()["requests"] == 400


async def test_two_engines_never_run_the_same_file(tmp_path: Path) -> None:
    with simulator("--latency-ms", "200") as sim:
        run = launch(prompts(tmp_path, 200), sim, tmp_path / "run.db")
        await wait_for(run, lambda snapshot: snapshot.in_flight > 0)
        second = batchdeck("resume", str(run), "--headless", "--json")
        assert second.returncode == 2
        info = lock.probe(run)
        assert info is not None
        assert f"process {info.pid}" in second.stderr
        third = batchdeck(
            "run", str(tmp_path / "prompts.txt"), "--base-url", sim.base_url, "-m", "sim", "--db", str(run)
        )
        assert third.returncode == 2
        assert "batchdeck resume" in third.stderr
        kill(run)


async def test_the_engine_outlives_the_terminal_that_started_it(tmp_path: Path) -> None:
    """A terminal that is closed sends SIGHUP to its whole foreground process group."""
    with simulator("--latency-ms", "50") as sim:
        leader = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "batchdeck",
                "run",
                str(prompts(tmp_path, 300)),
                "--base-url",
                sim.base_url,
                "-m",
                "sim",
                "--db",
                str(tmp_path / "run.db"),
                "--detach",
                "--json",
            ],
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        assert leader.stdout is not None
        run = Path(json.loads(leader.stdout.readline())["path"])
        leader.wait(20)
        leader.stdout.close()
        info = lock.probe(run)
        assert info is not None
        assert os.getsid(info.pid) == info.pid, "a session of its own: no terminal's signals reach it"
        os.kill(info.pid, signal.SIGHUP)
        snapshot = await wait_for_end(run)
        assert (snapshot.state, snapshot.counts.done) == ("done", 300)
        found = batchdeck("watch", str(run), "--json")
        assert json.loads(found.stdout.splitlines()[0])["counts"]["done"] == 300
        wait_until_free(run)


async def test_the_knob_moves_what_the_provider_sees(tmp_path: Path) -> None:
    with simulator("--latency-ms", "300") as sim:
        run = launch(prompts(tmp_path, 2_000), sim, tmp_path / "run.db", "-c", "10")
        await wait_for(run, lambda snapshot: sim.stats()["max_in_flight"] == 10)
        info = lock.probe(run)
        assert info is not None
        async with ControlClient(info.endpoint) as client:
            reply = await client.command(Command(name="concurrency", by=10))
            assert reply.ok
            await wait_for(run, lambda snapshot: sim.stats()["in_flight"] == 20)
            await client.command(Command(name="concurrency", by=-10))
            await wait_for(run, lambda snapshot: snapshot.in_flight == 10)
            assert (await client.command(Command(name="pause"))).ok
            await wait_for(run, lambda snapshot: snapshot.in_flight == 0 and snapshot.state == "paused")
            assert (await client.command(Command(name="resume"))).ok
            await wait_for(run, lambda snapshot: snapshot.in_flight == 10)
            assert (await client.command(Command(name="cancel"))).ok
        assert (await wait_for_end(run)).state == "cancelled"
        wait_until_free(run)
        assert sim.stats()["max_in_flight"] == 20
    with RunReader(run) as reader:
        caps = [event.value for event in reader.events() if event.kind == "concurrency"]
        assert caps == [20, 10]
        meta = reader.meta()
        cut = [row for row in reader.window(0, 2_000) if row.attempts and row.state == "queued"]
        assert len(cut) == 10, "what was cut off is in the ledger and will be asked again"
        assert sum(sample.done for sample in reader.samples()) == meta.counts.done


async def test_words_of_an_open_stream_stand_in_their_row(tmp_path: Path) -> None:
    with simulator("--hold", "--seed", "3") as sim:
        run = launch(prompts(tmp_path, 3), sim, tmp_path / "run.db")
        await wait_for(run, lambda snapshot: snapshot.in_flight == 3)
        info = lock.probe(run)
        assert info is not None
        async with ControlClient(info.endpoint) as client:
            while True:
                rows = {row.idx: row for row in (await client.live([0, 1, 2])).rows}
                words = len(rows) == 3 and all(row.phase == "streaming" and row.text for row in rows.values())
                if words and sim.stats()["holding"] == 3:
                    break
            first = {idx: row.text for idx, row in rows.items()}
            sim.call("/sim/release", {})
        await wait_for_end(run)
    with RunReader(run) as reader:
        for row in reader.window(0, 3):
            assert row.state == "done"
            assert row.text.startswith(first[row.idx])


def test_a_missing_input_is_one_clear_line(tmp_path: Path) -> None:
    done = batchdeck("run", str(tmp_path / "nothing.jsonl"), "--provider", "sim")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"batchdeck: {tmp_path}/nothing.jsonl: no such file"]


async def test_a_changed_input_is_not_gone_on_with(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(f'{{"prompt": "{n}"}}\n' for n in range(40_000)))
    with simulator("--latency-ms", "50") as sim:
        run = launch(source, sim, tmp_path / "run.db", "-c", "2")
        await wait_for(run, lambda snapshot: snapshot.counts.items > 1_000)
        kill(run)
        source.write_text('{"prompt": "another"}\n')
        refused = batchdeck("resume", str(run), "--json")
    assert refused.returncode == 2
    assert "has changed" in refused.stderr


def test_a_provider_that_batchdeck_brings_lives_as_long_as_the_run(tmp_path: Path) -> None:
    done = batchdeck(
        "run",
        str(prompts(tmp_path, 20)),
        "--provider",
        "sim",
        "--sim-option",
        "latency_ms=20",
        "--db",
        str(tmp_path / "run.db"),
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == 20


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("rate-limit=3", "No such option '--rate-limit'"),
        ("rpm=many", "Invalid value for '--rpm': 'many'"),
        ("fault=400", "--fault 400: write it as NAME=RATE"),
        ("rpm", "--sim-option takes name=value"),
    ],
)
def test_what_the_simulator_does_not_take_is_one_clear_line(tmp_path: Path, option: str, said: str) -> None:
    run = tmp_path / "run.db"
    done = batchdeck("run", str(prompts(tmp_path, 1)), "--provider=sim", f"--sim-option={option}", f"--db={run}")
    assert done.returncode in (1, 2)
    (line,) = done.stderr.splitlines()
    assert line.startswith("batchdeck: ")
    assert said in line
    assert "exit code" not in line
    assert not run.exists()


def test_a_new_run_has_no_name_of_one_that_was_deleted_by_hand(tmp_path: Path) -> None:
    run, source = tmp_path / "run.db", str(prompts(tmp_path, 1))
    launched = ("run", source, "--provider=sim", f"--db={run}", "--sim-option=latency_ms=1", "--json")
    assert batchdeck(*launched).returncode == 0
    assert batchdeck("label", str(run), "--name", "precious", "--tag", "keep").returncode == 0
    for file in tmp_path.glob("run.db*"):
        file.unlink()
    assert batchdeck(*launched).returncode == 0
    assert json.loads(batchdeck("label", str(run), "--json").stdout)["name"] == ""


@pytest.mark.parametrize(("rows", "said"), [("0\n", "give --retry-failed"), ("one\n", "is no index of an item")])
def test_rows_to_be_tried_again_are_named_by_their_index(tmp_path: Path, rows: str, said: str) -> None:
    named = tmp_path / "rows.txt"
    named.write_text(rows)
    run = tmp_path / "run.db"
    assert batchdeck("run", str(prompts(tmp_path, 1)), "--provider=sim", f"--db={run}", "--json").returncode == 0
    also = () if "give" in said else ("--retry-failed",)
    done = batchdeck("resume", str(run), "--rows", str(named), *also, "--json")
    assert done.returncode == 2
    assert said in done.stderr
