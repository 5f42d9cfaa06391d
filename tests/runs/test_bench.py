"""``batchdeck bench`` and ``batchdeck ctl sweep`` against a simulator over HTTP: what is measured, and what is kept."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchdeck.model import Snapshot
from batchdeck.store.reader import RunReader
from tests.runs.processes import Sim, batchdeck, launch, simulator, wait_for, wait_until_free


@pytest.fixture
def sim() -> Iterator[Sim]:
    with simulator("--latency-ms", "60") as started:
        yield started


def prompts(folder: Path, count: int) -> Path:
    path = folder / "prompts.txt"
    path.write_text("".join(f"What about {n}?\n" for n in range(count)))
    return path


def bench(source: Path, sim: Sim, db: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return batchdeck("bench", str(source), "--base-url", sim.base_url, "-m", "sim", "--db", str(db), *options)


def test_a_sweep_is_measured_and_a_resume_sends_only_the_rest(tmp_path: Path, sim: Sim) -> None:
    db = tmp_path / "bench.db"
    done = bench(prompts(tmp_path, 90), sim, db, "--levels", "sequential,4,10", "--batch-size", "20", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["is_complete"] is True
    assert told["planned"] == [[1, 20], [4, 20], [10, 20]]
    one, four, ten = told["levels"]
    assert [level["concurrency"] for level in told["levels"]] == [1, 4, 10]
    assert [level["items"] for level in told["levels"]] == [20, 20, 20]
    for level in (one, four, ten):
        assert {"seconds", "throughput", "tokens_rate", "queue_depth", "memory", "errors"} <= set(level)
        assert set(level["e2e"]) == set(level["ttft"]) == {"p50", "p95", "p99"}
        assert level["e2e"]["p50"] >= 0.059
        assert level["throughput"] == pytest.approx(20 / level["seconds"], rel=1e-3)
        assert (level["success"], level["retries"], level["rate_limit_hits"]) == (1.0, 0, 0)
    assert one["seconds"] > 20 * 0.059
    assert four["speedup"] == pytest.approx(four["throughput"] / one["throughput"])
    # a busy machine makes each of them a little slower
    assert 2 < four["speedup"] < ten["speedup"]
    assert ten["efficiency"] == pytest.approx(ten["speedup"] / 10)
    assert told["fastest"] == 10
    # one level took two seconds at most: too little, and it says so instead of guessing
    assert told["optimal"] is None
    assert "too little was measured" in told["recommendation"]["sentence"]

    # the levels and the item before them, no other and none twice
    stats = sim.stats()
    assert stats["requests"] == stats["complete"] == told["warm_up"] + 60 == 61
    assert stats["max_in_flight"] == 10
    assert told["done"] == 61
    assert f"go on with the other 29 items: batchdeck resume {db} -c 10" in done.stderr
    with RunReader(db) as reader:
        assert reader.meta().state == "drained"
        events = [(event.value, event.detail) for event in reader.events() if event.kind == "sweep"]
        assert [value for value, _ in events] == [1, 4, 10, 10]
    rest = batchdeck("resume", str(db), "--headless", "--json")
    assert rest.returncode == 0, rest.stderr
    assert json.loads(rest.stdout)["done"] == 90
    assert sim.stats()["requests"] == sim.stats()["complete"] == 90
    exported = [json.loads(line) for line in batchdeck("export", str(db), "--to", "jsonl").stdout.splitlines()]
    assert len({row["index"] for row in exported}) == 90


def test_a_newcomer_sees_tables_a_plot_and_what_to_do(tmp_path: Path) -> None:
    done = batchdeck("bench", "--provider", "sim", "--sim-option", "latency_ms=40", "--levels", "1,2,4", "--batch-size",
                     "12", "--db", str(tmp_path / "one.db"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.match(r"AT ONCE +ITEMS +TIME +RATE +SPEEDUP +EFFICIENCY +P50 +P95 +P99 +TTFT$", lines[0])
    assert re.match(r"sequential +12 +[\d.]+s +[\d.]+/s +1\.00× +100%", lines[1])
    assert re.match(r"4 +12 +[\d.]+s +[\d.]+/s +\d\.\d\d× +\d+%", lines[3])
    assert re.match(r"AT ONCE +SUCCESS +429S +RETRIES +QUEUE +MEMORY +TOKENS +ERRORS$", lines[5])
    assert re.match(r"sequential +100% +0 +0 +[\d.]+ +\d+ MB +[\d,]+/s +none$", lines[6])
    bars = {line.split()[0]: line.count("█") for line in lines if "█" in line}
    assert bars["4"] == 48
    assert 0 < bars["sequential"] < bars["4"]
    assert re.search(r"^fastest: 4 at once \(.*× one at a time\)$", done.stdout, re.M)
    assert re.search(r"^concurrency: too little was measured", done.stdout, re.M)
    assert "37 answers are kept in" in done.stderr
    assert "4 at once: 12 items in" in done.stderr
    # a terminal that can only show ASCII gets ASCII
    plain = batchdeck("bench", "--provider", "sim", "--sim-option", "latency_ms=20", "--levels", "1,4", "--batch-size",
                      "8", "--ascii", "--quiet", "--db", str(tmp_path / "two.db"))  # fmt: skip
    assert plain.returncode == 0
    assert plain.stdout.isascii()
    assert "####" in plain.stdout
    assert plain.stderr == ""


def test_an_input_that_is_too_short_is_told_before_anything_is_sent(tmp_path: Path, sim: Sim) -> None:
    source, db = prompts(tmp_path, 40), tmp_path / "bench.db"
    done = bench(source, sim, db, "--table")
    assert done.returncode == 2
    assert done.stderr == (
        "batchdeck: prompts.txt has 40 items to send, and 12 levels take 1,080 (every item is sent once only)\n"
    )
    done = bench(source, sim, db, "--batch-size", "20")
    assert done.returncode == 2
    assert "3 levels take 60; --batch-size 13 would fit" in done.stderr
    done = bench(source, sim, db, "--limit", "2")
    assert done.returncode == 2
    for wrong, said in (
        (("--levels", "1,0"), "1 to 10,000"),
        (("--levels", "a"), "is not a list of levels"),
        (("--table", "--batch-size", "5"), "--table has levels"),
        (("--levels", "1,8", "--max-concurrent", "4"), "--max-concurrent allows 4"),
        (("--levels", "1,30", "--batch-size", "20"), "30 at once needs 30 items at least"),
        (("--levels", "1,30"), "19 a level, and 30 at once needs 30 at least"),
    ):
        done = bench(source, sim, db, *wrong)
        assert done.returncode == 2
        assert said in done.stderr
    done = batchdeck("bench")
    assert done.returncode == 2
    assert done.stderr == (
        "batchdeck: name an INPUT; only 'batchdeck bench --provider sim' brings prompts of its own\n"
    )
    assert sim.stats()["requests"] == 0
    assert not db.exists()
    # where nobody said how many a level, each gets what there is
    done = bench(source, sim, db, "--levels", "4,8", "--json")
    assert done.returncode == 0, done.stderr
    assert "prompts.txt has 40 items to send: 19 a level\n" in done.stderr
    assert json.loads(done.stdout)["planned"] == [[4, 19], [8, 19]]
    assert "exists already" in bench(source, sim, db).stderr


def test_the_modes_are_what_they_are_said_to_be(tmp_path: Path, sim: Sim) -> None:
    source = prompts(tmp_path, 400)
    for mode, more, levels in (
        ("simple", (), [[1, 8], [4, 8]]),
        ("large", (), [[10, 150]]),
        ("rate-limited", ("--max-concurrent", "7", "--batch-size", "30"), [[7, 30]]),
        ("benchmark", ("--max-concurrent", "6", "--batch-size", "9"), [[1, 9], [4, 9], [6, 9]]),
    ):
        done = bench(source, sim, tmp_path / f"{mode}.db", "--mode", mode, *more, "--json", "--quiet")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        told = json.loads(done.stdout)
        assert told["planned"] == [[level["concurrency"], level["items"]] for level in told["levels"]] == levels


def test_what_fails_is_told(tmp_path: Path) -> None:
    with simulator("--latency-ms", "20", "--fault", "400=0.3") as sim:
        done = bench(prompts(tmp_path, 60), sim, tmp_path / "bench.db", "--levels", "4", "--batch-size", "40", "--json")
    assert done.returncode == 3
    (level,) = json.loads(done.stdout)["levels"]
    assert level["failed"] == level["errors"]["http_400"] > 0
    assert level["success"] == pytest.approx(1 - level["failed"] / 40)


def test_a_refused_key_stops_it(tmp_path: Path) -> None:
    with simulator("--latency-ms", "20", "--fault", "401=1") as sim:
        done = bench(prompts(tmp_path, 60), sim, tmp_path / "bench.db", "--batch-size", "10")
    assert done.returncode == 4
    assert "no level was measured to its end" in done.stdout
    assert "not all was measured: " in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_keeps_what_is_in_flight_and_shows_what_was_measured(tmp_path: Path) -> None:
    with simulator("--latency-ms", "300") as sim:
        db = tmp_path / "bench.db"
        process = subprocess.Popen(
            [sys.executable, "-m", "batchdeck", "bench", str(prompts(tmp_path, 200)), "--base-url", sim.base_url, "-m",
             "sim", "--db", str(db), "--levels", "8,2", "--batch-size", "64"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:
            if line.startswith("8 at once"):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert re.search(r"^8 +64 ", out, re.M)
        assert not re.search(r"^2 +\d", out, re.M)
        assert "1 of 2 levels measured, then the run ends (2 at once was cut short after" in err
        stats = sim.stats()
        assert stats["requests"] == stats["complete"]
        with RunReader(db) as reader:
            assert reader.meta().counts.done == stats["complete"] >= 65
        done = batchdeck("resume", str(db), "--headless", "--json", "-c", "60")
        assert done.returncode == 0, done.stderr
        assert sim.stats()["requests"] == sim.stats()["complete"] == 200


async def test_a_run_that_goes_is_measured_from_another_terminal(tmp_path: Path, sim: Sim) -> None:
    run = launch(prompts(tmp_path, 4_000), sim, tmp_path / "translate.db", "-c", "3")
    await wait_for(run, lambda snapshot: snapshot.counts.done > 0)

    def ctl(*arguments: str) -> subprocess.CompletedProcess[str]:
        return batchdeck("ctl", "sweep", *arguments)

    assert ctl("--levels", "1,4", "--batch-size", "900").returncode == 0
    again = ctl(str(run))
    assert (again.returncode, again.stderr) == (1, "batchdeck: a sweep is under way already; end it first\n")
    status = batchdeck("ctl", "status").stdout
    assert re.search(r"^SWEEP  level 1 of 2, 1 at once: \d+ of 900 items$", status, re.M)
    stopped = ctl("--stop")
    assert stopped.stdout.startswith("0 of 2 levels measured, then ended by hand (1 at once was cut short after ")
    assert ctl("--stop").returncode == 1
    begun = ctl("--levels", "1,4,10", "--batch-size", "30", "--then", "5")
    assert (begun.returncode, begun.stdout) == (
        0, "measuring 3 levels (1, 4, 10 at once): 90 items, kept as results like any other\n"
    )  # fmt: skip

    def is_over(snapshot: Snapshot) -> bool:
        return snapshot.sweep is not None and snapshot.sweep.is_over

    now = await wait_for(run, is_over)
    assert now.sweep is not None
    assert [(level.concurrency, level.done) for level in now.sweep.measured] == [(1, 30), (4, 30), (10, 30)]
    assert now.concurrency == 5
    status = batchdeck("ctl", "status").stdout
    assert re.search(r"^SWEEP  3 of 3 levels measured$", status, re.M)
    assert re.search(r"^10 +30 ", status, re.M)

    short = ctl("--batch-size", "5000", "--json")
    told: dict[str, Any] = json.loads(short.stdout)
    assert told["ok"] is False
    assert "items are left to start" in told["message"]
    assert batchdeck("ctl", "cancel").returncode == 0
    wait_until_free(run)
    with RunReader(run) as reader:
        assert reader.meta().config.concurrency == 5
