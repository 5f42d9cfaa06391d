"""The engine's state as one frozen value."""

from __future__ import annotations

from collections.abc import Callable

from batchdeck.engine.engine import Engine
from batchdeck.model import ErrorClass, Snapshot, Summary, Wall


class Snapshots:
    """Makes snapshots of one engine. ``size``: bytes of the input, None when unknown."""

    def __init__(self, engine: Engine, path: str, wall: Wall, now: Callable[[], float], size: int | None):
        self._engine = engine
        self._path = path
        self._wall = wall
        self._now = now
        self._size = size

    def take(self) -> Snapshot:
        engine, now = self._engine, self._now()
        counts = engine.counts
        expected = counts.items if engine.ingest_complete else self._expected()
        rate = engine.journal.collector.items.rate(now) if not engine.is_over else 0.0
        left = None if expected is None else expected - counts.done - counts.failed - counts.skipped
        in_flight = engine.gate.in_flight
        return Snapshot(
            run=engine.run_name,
            path=self._path,
            state=engine.state,
            message=self._message(now),
            counts=counts,
            ingest_complete=engine.ingest_complete,
            items_expected=expected,
            in_flight=in_flight,
            backoff=engine.queue.backoff,
            queued=engine.queued,
            concurrency=engine.gate.cap,
            uncommitted=engine.uncommitted,
            rate=rate,
            tokens_rate=engine.journal.collector.tokens.rate(now) if not engine.is_over else 0.0,
            eta=left / rate if left is not None and rate > 0 and not engine.is_over else None,
            cooldown=0.0 if engine.is_over else max(0.0, engine.cooldown.until - now),
            ttft=engine.journal.collector.ttft.percentiles(),
            e2e=engine.journal.collector.e2e.percentiles(),
            errors=engine.errors[:20],
            seq=engine.seq,
            samples=engine.journal.samples,
            at=self._wall(),
        )

    def _expected(self) -> int | None:
        """How many items the input will give, judged by the bytes read so far."""
        offset = self._engine.input_offset
        if not self._size or not offset:
            return None
        guess = int(self._engine.counts.items * self._size / offset)
        limit = self._engine.config.limit
        return guess if limit is None else min(limit, guess)

    def _message(self, now: float) -> str:
        """One sentence: why it waits or why it stopped."""
        engine = self._engine
        if engine.message:
            return engine.message
        if engine.is_over:
            return ""
        if engine.store_trouble:
            return engine.store_trouble
        if engine.state == "paused":
            return "paused: nothing new is sent"
        if engine.state == "draining":
            return f"draining: {engine.gate.in_flight} in flight go on to their end"
        if engine.cooldown.until > now:
            return f"held by the provider's rate limit for {engine.cooldown.until - now:.1f} s more"
        if engine.uncommitted >= engine.gate.cap and not engine.gate.in_flight:
            return "waiting for the disk: answers are being written"
        due = engine.queue.next_due()
        if not engine.gate.in_flight and due is not None and due > now:
            return f"waiting {due - now:.1f} s; {engine.queue.backoff} to try again"
        return ""


def summarize(snapshot: Snapshot, errors: tuple[ErrorClass, ...]) -> Summary:
    """The summary of a run that has ended (or of one that goes on)."""
    counts = snapshot.counts
    return Summary(
        run=snapshot.run,
        state=snapshot.state,
        items=counts.items,
        done=counts.done,
        failed=counts.failed,
        skipped=counts.skipped,
        attempts=counts.attempts,
        retries=counts.retries,
        rate_limit_hits=counts.rate_limit_hits,
        seconds=round(counts.seconds, 3),
        tokens_in=counts.tokens_in,
        tokens_out=counts.tokens_out,
        cost=None if counts.unpriced and not counts.cost else round(counts.cost, 6),
        message=snapshot.message,
        path=snapshot.path,
        errors=errors,
    )
