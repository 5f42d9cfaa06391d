#!/usr/bin/env python3
"""Runs of one account in processes of their own: what each gets of the quota, and who has a killed one's share, when.

    .venv/bin/python benchmarks/shared.py [--runs 2 4] [--rpm 1200] [--seconds 20] [--limits header flag]

Each run asks for far more than the quota, which it is told by the provider's headers (``header``), by ``--rpm``
(``flag``), or by nobody (``429``: learned). Shares and the total are counted between two snapshots of each run,
``seconds`` apart, once all know of each other; 429s at the simulator. Then one is killed: ``takeover`` is the time
until the others may use what it had. ``lease`` is what asking takes on the same file meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from processes import launched, report, simulator, workshop

from batchdeck import config, lock
from batchdeck.control.client import ControlClient
from batchdeck.limits.pool import Ask
from batchdeck.limits.shared import SharedPool
from batchdeck.model import Snapshot

TOLD = {"header": "told by headers", "flag": "told by --rpm", "429": "told by nobody"}
LEASES = 400
WHOLE = 0.98
PATIENCE = 60.0
"""Seconds after which something that never comes true is an error."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rpm", type=float, default=1_200.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--limits", nargs="+", choices=list(TOLD), default=["header", "flag"])
    given = parser.parse_args()
    for limits in given.limits:
        for number in given.runs:
            with workshop() as folder:
                show(measured(folder, limits, number, given))


def measured(folder: Path, limits: str, number: int, given: Any) -> dict[str, Any]:
    source = folder / "prompts.txt"
    most = int(given.rpm / 60 * (given.seconds + PATIENCE))
    source.write_text("".join(f"What about {n}?\n" for n in range(most)))
    rpm = f"--rpm={given.rpm:g}"
    options = ("-c", "200", *((rpm,) if limits == "flag" else ()))
    headers = "openai" if limits == "header" else "none"
    with contextlib.ExitStack() as stack:
        base_url = stack.enter_context(simulator("--latency-ms=300", rpm, f"--headers={headers}"))
        runs = [
            stack.enter_context(launched(source, base_url, *options, "--db", str(folder / f"{n}.db")))
            for n in range(number)
        ]
        figures = asyncio.run(watched(base_url, runs, given))
    return {"runs": number, "limits": limits, "rpm": given.rpm, **figures}


async def watched(base_url: str, runs: list[tuple[Path, int]], given: Any) -> dict[str, Any]:
    async with contextlib.AsyncExitStack() as stack:
        views = [await stack.enter_async_context(following(run)) for run, _ in runs]
        number = len(views)
        for view in views:
            await view.until(lambda now: now.shared_by == number and fair(now, 1 / number))
        began = [await view.until() for view in views]
        before = await stats(base_url)
        ended = [await view.until(lambda now, first=first: now.at >= first.at + given.seconds)
                 for view, first in zip(views, began, strict=True)]  # fmt: skip
        after = await stats(base_url)
        lease = await asyncio.to_thread(leases)
        others = views[1:]
        os.kill(runs[0][1], signal.SIGKILL)
        at = time.time()
        taken = [await view.until(lambda now: fair(now, 1 / (number - 1))) for view in others]
        fuller = [await view.until(lambda now, first=first: now.at >= first.at + 10.0)
                  for view, first in zip(others, taken, strict=True)]  # fmt: skip
    rates = [pace(first, last) for first, last in zip(began, ended, strict=True)]
    total = sum(rates)
    return {
        "shares": [round(rate / total, 4) for rate in rates],
        "of_quota": round(60 * total / given.rpm, 4),
        "refused": after["by_status"].get("429", 0) - before["by_status"].get("429", 0),
        "refused_at_start": before["by_status"].get("429", 0),
        "answered": after["complete"] - before["complete"],
        "takeover": round(max(now.at for now in taken) - at, 2),
        "of_quota_after": round(60 * sum(map(pace, taken, fuller)) / given.rpm, 4),
        "lease_median_ms": round(1000 * statistics.median(lease), 3),
        "lease_p99_ms": round(1000 * statistics.quantiles(lease, n=100)[-1], 3),
    }


class View:
    """One run's snapshots, the newest first met."""

    def __init__(self, client: ControlClient) -> None:
        self._client = client

    async def until(self, condition: Any = lambda now: True) -> Snapshot:
        async with asyncio.timeout(PATIENCE):
            async for now in self._client.stream():
                if condition(now):
                    return now
        raise SystemExit("a run has ended too early")


@contextlib.asynccontextmanager
async def following(run: Path) -> AsyncIterator[View]:
    info = lock.probe(run)
    assert info is not None, f"{run}: no engine"
    async with ControlClient(info.endpoint) as client:
        yield View(client)


def fair(now: Snapshot, share: float) -> bool:
    """Whether a run may use its part of the limit."""
    return any(quota.meter == "requests" and quota.rate >= WHOLE * share * quota.limit for quota in now.quotas)


def pace(first: Snapshot, last: Snapshot) -> float:
    """Answers a second."""
    return (last.counts.done - first.counts.done) / (last.at - first.at)


def leases() -> list[float]:
    """Seconds that each lease takes in the same file; of another account, so that nobody loses anything by it."""
    pool = SharedPool(config.home() / "quota.db", "benchmark", wall=time.time)
    ask = Ask(demand={}, used={"requests": 1.0}, limits={"requests": 1_000.0})
    taken = []
    try:
        for _ in range(LEASES):
            began = time.perf_counter()
            pool.lease(ask)
            taken.append(time.perf_counter() - began)
            time.sleep(0.01)
    finally:
        pool.close()
    return taken


async def stats(base_url: str) -> dict[str, Any]:
    async with httpx.AsyncClient() as client:
        found: dict[str, Any] = (await client.get(base_url.removesuffix("/v1") + "/sim/stats")).json()
        return found


def show(figures: dict[str, Any]) -> None:
    shares = ", ".join(f"{100 * share:.1f} %" for share in figures["shares"])
    rows = [
        ("shares", shares),
        ("together", f"{100 * figures['of_quota']:.1f} % of the quota, {figures['answered']:,} answers"),
        ("429s", f"{figures['refused']}; before that, from the start on, {figures['refused_at_start']}"),
        ("taken over", f"{figures['takeover']:g} s after kill -9; then {100 * figures['of_quota_after']:.1f} %"),
        ("a lease", f"median {figures['lease_median_ms']:g} ms, p99 {figures['lease_p99_ms']:g} ms"),
    ]
    title = f"{figures['runs']} runs, one account of {figures['rpm']:,g} requests a minute, {TOLD[figures['limits']]}"
    report(title, rows, figures)


if __name__ == "__main__":
    main()
