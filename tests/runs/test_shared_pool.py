"""Processes of this machine that share one account, and what becomes of its quota when one of them is killed.

Run as a program, this file is one of them: ``python test_shared_pool.py FILE LEASES SECONDS`` asks again and again and
says in a line of JSON what it got, and how much of the quota was out with all of them at that moment.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batchdeck.limits.account import since_boot
from batchdeck.limits.pool import METERS, Ask, Standing
from batchdeck.limits.shared import SharedPool

LEASE = 0.25
USED = 2.0
ENDLESS = 1_000_000
WHOLE = 0.98


class Holder:
    """A process that leases."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def line(self) -> Any:
        """What it says next: "ready", then what it got at each lease."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said, "the process ended"
        return json.loads(said)

    def lines(self) -> list[Any]:
        """What it got until its end, which must be a good one."""
        assert self.process.stdout is not None
        lines = [json.loads(said) for said in self.process.stdout]
        assert self.process.wait(30) == 0
        return lines


@contextlib.contextmanager
def holders(file: Path, seconds: float, *leases: int) -> Iterator[list[Holder]]:
    """One process for each number of leases; all begin at once, and each is ended by its own id."""
    with contextlib.ExitStack() as stack:
        started = []
        for number in leases:
            process = subprocess.Popen(
                [sys.executable, __file__, str(file), str(number), str(seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            started.append(Holder(process))
        for holder in started:
            assert holder.line() == "ready"
        for holder in started:
            assert holder.process.stdin is not None
            holder.process.stdin.write("go\n")
            holder.process.stdin.flush()
        yield started


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "quota.db"


def test_two_processes_have_half_each_and_a_killed_one_leaves_all_to_the_other(file: Path) -> None:
    with holders(file, LEASE, ENDLESS, ENDLESS) as (first, second):
        for holder in (first, second):
            while holder.line()["share"] != pytest.approx(0.5):
                pass
        first.process.kill()
        first.process.wait()
        said = [second.line()["share"]]
        while said[-1] < WHOLE:
            said.append(second.line()["share"])
        assert len(said) <= 5 / LEASE
        # Until it is known to be dead, its part is spent.
        assert len(said) > 2
        assert max(said[:-1]) == pytest.approx(0.5)


def test_eight_processes_at_once_never_have_more_than_the_quota(file: Path) -> None:
    with holders(file, 0.0, *[100] * 8) as started:
        lines = [line for holder in started for line in holder.lines()]
    assert len(lines) == 800
    assert max(line["out"] for line in lines) <= 1 + 1e-6
    assert min(line["share"] for line in lines) > 0
    # They were there together.
    assert max(line["holders"] for line in lines) > 1
    assert total(file) == 800 * USED
    assert {found.stat().st_mode & 0o777 for found in file.parent.iterdir()} == {0o600}


def test_who_is_killed_in_the_middle_of_its_work_does_no_harm_to_the_others(file: Path) -> None:
    with holders(file, 0.0, ENDLESS, ENDLESS, 300, 300) as (first, second, *others):
        for doomed in (first, second):
            while doomed.line()["holders"] < 2:
                pass
            doomed.process.kill()
        lines = [line for holder in others for line in holder.lines()]
    assert len(lines) == 600
    assert max(line["out"] for line in lines) <= 1 + 1e-6
    assert total(file) >= 600 * USED
    with contextlib.closing(sqlite3.connect(file)) as conn:
        assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def total(file: Path) -> float:
    """Requests that were counted as used."""
    pool = SharedPool(file, "account", wall=time.time)
    try:
        ask = Ask(demand={}, used={}, limits={})
        return pool.lease(ask).used_today["requests"]
    finally:
        pool.close()


def out(conn: sqlite3.Connection) -> float:
    """What of the quota is with somebody now, as the file has it."""
    standings = [msgspec.msgpack.decode(row[0], type=Standing) for row in conn.execute("SELECT standing FROM holders")]
    now = since_boot()
    return sum(standing.shares["requests"] for standing in standings if standing.expires > now)


def main(file: str, leases: str, seconds: str) -> None:
    timer = threading.Event()
    pool = SharedPool(Path(file), "account", wall=time.time)
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    ask = Ask(demand=dict.fromkeys(METERS, math.inf), used={"requests": USED}, limits={"requests": 500.0})
    with contextlib.closing(sqlite3.connect(file, timeout=30)) as conn:
        for _ in range(int(leases)):
            grant = pool.lease(ask)
            said = {"share": grant.shares["requests"], "holders": grant.holders, "out": out(conn)}
            print(json.dumps(said), flush=True)
            if float(seconds):
                timer.wait(float(seconds))
    pool.close()


if __name__ == "__main__":
    os.umask(0)  # files that nobody else may read do not depend on it
    main(*sys.argv[1:])
