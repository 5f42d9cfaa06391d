"""A run in the foreground: a progress bar on standard error, rows or a summary on standard output."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec

from batchdeck.config import log_path
from batchdeck.daemon import exit_code, host, run_loop, write_log
from batchdeck.export import row_json
from batchdeck.format import count, money, progress_line, some
from batchdeck.inert import inert
from batchdeck.model import Launch, Ready, Snapshot, Summary
from batchdeck.store.runfile import RunFile
from batchdeck.store.writer import Store

PLAIN_SECONDS = 10.0
FOLLOW_CHUNK = 500


class Progress:
    """Draws the progress; on a terminal in place, elsewhere a line every ten seconds and one at the end."""

    def __init__(self, *, quiet: bool, follow: bool) -> None:
        self._quiet = quiet
        self._follow = follow
        self._in_place = sys.stderr.isatty()
        self._said_at = float("-inf")
        self._state = ""
        self.has_whole_input = False
        self._seq: int | None = None

    async def tick(self, snapshot: Snapshot, store: Store) -> None:
        self.has_whole_input = snapshot.ingest_complete
        if self._follow:
            await self._rows(store)
        if self._quiet:
            return
        line = progress_line(snapshot, shutil.get_terminal_size((100, 24)).columns - 1)
        if self._in_place:
            sys.stderr.write(f"\r\x1b[2K{line}")
            sys.stderr.flush()
            return
        now = asyncio.get_running_loop().time()
        if now - self._said_at >= PLAIN_SECONDS or snapshot.state != self._state:
            print(line, file=sys.stderr, flush=True)
            self._said_at = now
        self._state = snapshot.state

    def end(self) -> None:
        if self._in_place and not self._quiet:
            sys.stderr.write("\n")

    async def _rows(self, store: Store) -> None:
        """Print the rows settled since the last call, in the order of their commits."""
        while True:
            seq = self._seq
            if seq is None:
                self._seq = await store.submit(lambda file: file.seq)
                return
            rows, self._seq = await store.submit(lambda file: _settled(file, seq))  # noqa: B023
            for row in rows:
                sys.stdout.buffer.write(row_json(row) + b"\n")
            sys.stdout.buffer.flush()
            if len(rows) < FOLLOW_CHUNK:
                return


def _settled(file: RunFile, seq: int) -> tuple[list[dict[str, Any]], int]:
    return file.settled_after(seq, FOLLOW_CHUNK)


def run_foreground(launch: Launch, *, as_json: bool, quiet: bool, follow: bool) -> int:
    """Run to the end. Returns the exit code."""
    progress = Progress(quiet=quiet, follow=follow)
    write_log(logging.FileHandler(log_path(Path(launch.path)), delay=True))

    def ready(word: Ready) -> None:
        if not quiet:
            print(f"run file: {inert(launch.path)}", file=sys.stderr, flush=True)

    summary = run_loop(host(launch, ready, progress))
    progress.end()
    if as_json:
        print(msgspec.json.encode(summary).decode(), flush=True)
    elif not quiet:
        _say(summary)
        if summary.state in ("drained", "cancelled", "stopped", "failed"):
            config = launch.config
            # An input that came through a pipe and was not read to its end cannot be read on by another process.
            if config is None or config.input != "-" or progress.has_whole_input:
                print(f"go on with: batchdeck resume {inert(launch.path)}", file=sys.stderr)
    return exit_code(summary)


def _say(summary: Summary) -> None:
    say = sys.stderr
    print(
        f"{summary.state}: {summary.done} done, {summary.failed} failed of {summary.items}"
        f" in {summary.seconds:.1f} s; {summary.attempts} attempts, {summary.retries} retries,"
        f" {summary.rate_limit_hits} rate-limit hits",
        file=say,
    )
    if summary.mode == "rate-limited":
        hits = some(summary.rate_limit_hits, "hit")
        depth = f"average queue depth {summary.queue_depth:,.1f}"
        print(f"rate limited: cap {count(summary.concurrency)}, {hits}, {depth}", file=say)
    if summary.hedges:
        extra = summary.hedge_cost or None
        cost = money(extra) if extra is not None else f"{count(summary.hedge_tokens)} tokens"
        print(
            f"hedged: {count(summary.hedges)} sent, {count(summary.hedge_wins)} answered first, at least {cost} extra",
            file=say,
        )
    if summary.message:
        print(inert(summary.message), file=say)
    for error in summary.errors[:10]:
        print(
            f"  {error.error_type}: {error.attempts} attempts, {error.items} items failed;"
            f" e.g. item {error.example_idx}: {inert(error.example)[:200]}",
            file=say,
        )
