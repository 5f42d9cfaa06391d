"""``batchdeck ctl``, the limits of ``run`` and ``resume``, and ``/metrics``: a run steered from another terminal."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest

from batchdeck import lock
from batchdeck.cli.ctl import command
from batchdeck.config import log_path, socket_path
from batchdeck.control.client import ControlClient
from batchdeck.model import Reason, Snapshot
from batchdeck.store.reader import RunReader
from tests.runs.processes import Sim, batchdeck, kill, launch, simulator, wait_for, wait_until_free

PRICE = ("--price", "0.15/0.60")


@pytest.fixture(scope="module")
def sim() -> Iterator[Sim]:
    """Slow enough that a run of some hundred prompts is still going when it is looked at."""
    with simulator("--latency-ms", "400") as started:
        yield started


def prompts(folder: Path, count: int = 2_000) -> Path:
    path = folder / "prompts.txt"
    path.write_text("".join(f"What about {n}?\n" for n in range(count)))
    return path


def ctl(*arguments: object) -> str:
    """What a command that was carried out says."""
    done = batchdeck("ctl", *map(str, arguments))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def refused(*arguments: object, code: int = 1) -> str:
    done = batchdeck(*map(str, arguments))
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr


async def test_a_run_is_steered_from_another_terminal(tmp_path: Path, sim: Sim) -> None:
    """One afternoon of a run: looked at, tuned, paused, gone on with, drained, and resumed with another budget."""
    run = launch(prompts(tmp_path), sim, tmp_path / "translate.db", "-c", "4", *PRICE)
    await wait_for(run, lambda snapshot: snapshot.counts.done > 0)

    # the only run that is going needs no name
    assert "4 → 8" in ctl("config", "--concurrency", 8, "--rpm", "6k", "--max-cost", "$2.50")
    now = await wait_for(run, lambda snapshot: snapshot.in_flight == 8)
    assert (now.concurrency, now.settings["rpm"], now.settings["max_cost"]) == (8, 6_000, 2.5)
    assert {"rpm", "6,000", "max-cost", "$2.50", "off"} <= set(ctl("config", run).split())
    assert json.loads(ctl("config", run, "--json"))["rpm"] == 6_000
    assert json.loads(ctl("config", run, "--rpm", "off", "--json"))["ok"] is True

    status = ctl("status")
    assert re.search(r"^translate  running", status)
    assert re.search(r"items +2,000, ", status)
    assert re.search(r"in flight +\d+ of 8", status)
    assert re.search(r"budget +\$\d+\.\d+ of \$2\.50", status)
    told = json.loads(ctl("status", "--json"))
    assert sum(told["waiting"]["counts"].values()) == 2_000 - told["counts"]["done"]

    assert ctl("pause", run).startswith("paused")
    await wait_for(run, lambda snapshot: snapshot.state == "paused" and snapshot.in_flight == 0)
    assert re.search(r"^paused +2?,?\d+", ctl("status", run), re.M)
    assert json.loads(ctl("resume", run, "--json")) == {"ok": True, "message": "resumed"}
    assert refused("ctl", "resume", run) == "batchdeck: the run is running\n"
    assert "no failed item" in refused("ctl", "retry", run, "--item", "3")
    assert "it must be 1 to 10,000" in refused("ctl", "config", run, "-c", "0", code=2)

    assert ctl("drain", run).startswith("draining")
    wait_until_free(run)
    with RunReader(run) as reader:
        kept = reader.meta()
    assert (kept.state, kept.config.concurrency, kept.config.quotas.rpm) == ("drained", 8, None)
    assert kept.config.budget.max_cost == 2.5

    # nobody works on it now
    said = refused("ctl", "pause", run)
    assert (
        said == f"batchdeck: no engine works on translate, which is drained; 'batchdeck resume {run}' goes on with it\n"
    )
    gone = batchdeck("ctl", "drain", str(run), "--json")
    assert (gone.returncode, json.loads(gone.stdout)["ok"]) == (1, False)
    assert "no run is going" in refused("ctl", "pause", code=2)
    assert "no engine works on translate" in refused("ctl", "metrics", run)
    status = ctl("status", run)
    assert re.search(r"^translate  drained", status)
    assert "of $2.50" in status
    assert json.loads(ctl("status", run, "--json"))["state"] == "drained"
    assert "$2.50" in ctl("config", run)
    shown = batchdeck("show", str(run)).stdout
    assert "of $2.50" in shown
    assert "price: $0.15 in, $0.6 out for a million tokens" in shown

    again = batchdeck("resume", str(run), "--detach", "--json", "-c", "3", "--max-cost", "off", "--tpm", "90k")
    assert again.returncode == 0, again.stderr
    now = await wait_for(run, lambda snapshot: snapshot.in_flight == 3)
    assert (now.settings["max_cost"], now.settings["tpm"]) == (None, 90_000)
    # for a run that goes, resume changes what it is given and leaves it going
    assert batchdeck("resume", str(run), "--detach", "--json", "-c", "5").returncode == 0
    await wait_for(run, lambda snapshot: snapshot.in_flight == 5)
    assert "it must be" in refused("resume", run, "--detach", "--tpm", "0", code=2)
    assert ctl("cancel", run).startswith("cancelled")


async def test_failed_items_are_named_to_be_tried_again(tmp_path: Path) -> None:
    with simulator("--latency-ms", "10", "--fault", "400=1") as sim:
        run = launch(prompts(tmp_path, 6), sim, tmp_path / "run.db")
        info = lock.probe(run)
        assert info is not None
        async with ControlClient(info.endpoint) as client:
            async for snapshot in client.stream():
                if snapshot.state == "done":
                    break
            # while it is watched the engine stays, and more can be asked of it
            sim.call("/sim/options", {"faults": {}})
            assert ctl("retry", run, "--item", 1, "--item", 4) == "2 failed items go again\n"
            async for snapshot in client.stream():
                if snapshot.state == "done" and snapshot.counts.done == 2:
                    break
            assert ctl("retry", run) == "4 failed items go again\n"
            async for snapshot in client.stream():
                if snapshot.state == "done" and snapshot.counts.done == 6:
                    break
    assert snapshot.counts.failed == 0


async def test_two_runs_must_be_told_apart(tmp_path: Path, sim: Sim) -> None:
    source = prompts(tmp_path)
    for name in ("one", "two"):
        await wait_for(launch(source, sim, tmp_path / f"{name}.db", "-c", "2"), lambda snapshot: snapshot.in_flight > 0)
    said = refused("ctl", "pause", code=2)
    assert "2 runs are going; say which one: " in said
    assert {"one", "two"} <= set(re.findall(r"\w+", said))
    for name in ("one", "two"):
        assert ctl("cancel", name).startswith("cancelled")


def samples(text: str, name: str) -> dict[str, float]:
    """The values of a metric by all of its labels."""
    return {labels: float(value) for labels, value in re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.M)}


async def test_metrics_are_scraped_on_the_socket_and_on_loopback(tmp_path: Path, sim: Sim) -> None:
    run = launch(prompts(tmp_path), sim, tmp_path / "translate.db", "-c", "8", "--metrics-port", "0")

    def is_busy(snapshot: Snapshot) -> bool:
        return snapshot.counts.done > 0 and snapshot.in_flight == 8

    await wait_for(run, is_busy)
    (address,) = re.findall(r"metrics at (http://127\.0\.0\.1:\d+/metrics)", log_path(run).read_text())
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        scraped = answer.read().decode()
    printed = ctl("metrics", run)
    assert json.loads(ctl("metrics", run, "--json"))["run"] == "translate"
    families = re.compile(r"^# TYPE (\S+) (\w+)$", re.M)
    assert families.findall(scraped) == families.findall(printed) != []
    for text in (scraped, printed):
        waiting = samples(text, "batchdeck_waiting_items")
        states = samples(text, "batchdeck_items")
        assert len(waiting) == len(get_args(Reason))
        ended = sum(value for labels, value in states.items() if re.search('state="(done|failed|skipped)"', labels))
        assert sum(waiting.values()) == sum(states.values()) - ended
    (seconds,) = samples(printed, "gen_ai_client_operation_duration_seconds_count").items()
    assert 'run="translate"' in seconds[0]
    assert 'gen_ai_request_model="sim"' in seconds[0]
    assert seconds[1] > 0
    # what can be read there cannot be steered there
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(address.replace("/metrics", "/v1/snapshot"), timeout=10)
    kill(run)


@pytest.mark.parametrize("how", ["--json", "--detach"])
def test_a_port_that_is_taken_is_told_before_anything_is_made(tmp_path: Path, sim: Sim, how: str) -> None:
    """And the same command with another port simply works."""
    db = tmp_path / "run.db"
    command = ["run", str(prompts(tmp_path, 3)), "--base-url", sim.base_url, "-m", "sim", "--db", str(db), how]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(*command, "--metrics-port", port, code=2)
    assert (
        said == f"batchdeck: --metrics-port {port} cannot be had (Address already in use); 0 takes any that is free\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.txt"]
    assert not socket_path(db).exists()
    again = batchdeck(*command, "--metrics-port", "0")
    assert again.returncode == 0, again.stderr
    wait_until_free(db)
    with RunReader(db) as reader:
        assert (reader.meta().state, reader.counts().done) == ("done", 3)


def test_a_run_of_a_newer_batchdeck_is_refused_in_one_line(tmp_path: Path, sim: Sim) -> None:
    db = tmp_path / "run.db"
    done = batchdeck(
        "run", str(prompts(tmp_path, 3)), "--base-url", sim.base_url, "-m", "sim", "--db", str(db), "--json"
    )
    assert done.returncode == 0, done.stderr
    with contextlib.closing(sqlite3.connect(db)) as file:
        file.execute("PRAGMA user_version = 99")
    for arguments in (["status"], ["status", "--json"], ["config"], ["pause"], ["config", "--rpm", "5"]):
        said = refused("ctl", arguments[0], db, *arguments[1:])
        assert "written by a newer batchdeck (schema 99" in said
        assert said.count("\n") == 1
    resumed = refused("resume", db, "--json")
    assert resumed.splitlines()[-1] == refused("ctl", "status", db).rstrip()


def test_a_run_that_met_the_limit_says_so_at_its_end(tmp_path: Path) -> None:
    db = tmp_path / "run.db"
    with simulator("--latency-ms", "20", "--rpm", "900", "--burst", "0.01") as sim:
        done = batchdeck("run", str(prompts(tmp_path, 40)), "--base-url", sim.base_url, "-m", "sim", "--db", str(db),
                         "-c", "30", "--max-errors", "5%", "--headless")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"^rate limited: cap 30, \d+ hits?, average queue depth \d+\.\d$", done.stderr, re.M)
    assert re.search(r"budget +0% of items failed, 5% at most", batchdeck("show", str(db)).stdout)


def test_a_budget_in_dollars_needs_a_price(tmp_path: Path) -> None:
    source = prompts(tmp_path, 3)
    base = ["run", str(source), "--provider", "sim", "-m", "sim", "--dry-run", "--max-cost", "2"]
    said = refused(*base, code=2)
    assert "--price" in said
    assert "--max-tokens-total" in said
    assert batchdeck(*base, *PRICE).returncode == 0
    known = batchdeck("run", str(source), "--provider", "openai", "-m", "gpt-4o-mini", "--dry-run", "--max-cost", "2")
    assert known.returncode == 0, known.stderr
    for wrong in ("0.15", "a/b", "-1/2", "inf/1"):
        assert "IN/OUT" in refused(*base, "--price", wrong, code=2)


def test_a_limit_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    source = str(prompts(tmp_path, 3))
    said = refused("run", source, "--provider", "sim", "--max-cost", "2,50", code=2)
    assert said == "batchdeck: --max-cost: '2,50' is not an amount such as 2.50\n"
    said = refused("run", source, "--provider", "sim", "--deadline", "2020-01-01", code=2)
    assert said == "batchdeck: --deadline: 2020-01-01 is over already\n"


@pytest.mark.parametrize("name", command.commands)
def test_every_command_leaves_nobody_guessing(name: str) -> None:
    verb = command.commands[name]
    assert f"Examples:\n      batchdeck ctl {name}" in (verb.help or "")
    assert [option.name for option in verb.params if isinstance(option, click.Option) and not option.help] == []


@pytest.mark.parametrize("verb", ["run", "resume"])
def test_the_help_shows_limits_apart_from_the_rest(verb: str) -> None:
    text = batchdeck(verb, "--help").stdout
    (section,) = re.findall(r"^Limits and budgets.*?:\n(.*?)\n\n", text, re.M | re.S)
    for option in ("--rpm", "--tpm", "--max-cost", "--max-errors", "--deadline", "--priority"):
        assert re.search(rf"^  {option} ", section, re.M)
        assert text.count(f"  {option} ") == 1
    assert re.search(r"^Options:\n(  .*\n)*  -c, --concurrency N", text, re.M)
