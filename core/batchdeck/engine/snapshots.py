"""The engine's state as one frozen value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from batchdeck import settings
from batchdeck.engine.engine import Engine
from batchdeck.engine.waiting import sentence
from batchdeck.model import Counts, ErrorClass, Snapshot, Summary, Waiting, Wall


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
        waiting = self._waiting(now)
        # Held for longer than the rate is measured over, it tells nothing of when it will be done.
        stands = waiting.held == "breaker" or (waiting.held in ("daily", "cooldown") and (waiting.seconds or 0.0) > 30)
        return Snapshot(
            run=engine.run_name,
            path=self._path,
            state=engine.state,
            message=self._message(waiting),
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
            eta=left / rate if left is not None and rate > 0 and not engine.is_over and not stands else None,
            cooldown=0.0 if engine.is_over else max(0.0, engine.cooldown.until - now),
            ttft=engine.journal.collector.ttft.percentiles(),
            e2e=engine.journal.collector.e2e.percentiles(),
            errors=engine.errors[:20],
            seq=engine.seq,
            samples=engine.journal.samples,
            at=self._wall(),
            waiting=waiting,
            quotas=() if engine.is_over else engine.admission.quota.states(now),
            budget=engine.config.budget,
            settings=settings.read(engine.config),
            queue_depth=counts.queue_depth,
            mode=mode(counts, waiting),
            shared_by=engine.admission.quota.holders,
            tuning=engine.tuning.state(),
            server=None if engine.is_over else engine.server_load,
            hedging=len(engine.hedging.others),
            stalled=0 if engine.is_over else engine.stalls.now,
            sweep=engine.sweeping.seen(),
        )

    def _waiting(self, now: float) -> Waiting:
        """Why it is not faster."""
        engine = self._engine
        waits = engine.waits
        left = None if waits.until is None or waits.held is None else max(0.0, waits.until - now)
        if waits.held == "cooldown":
            left = max(0.0, engine.cooldown.until - now)
        shares = waits.shares(now)
        words = ""
        if engine.state == "running" and not engine.is_ending:
            measuring = engine.sweeping.sentence if waits.held in (None, "cap", "store", "sweep") else ""
            words = (
                engine.admission.breaker.reason(now)
                or (f"sweep: {measuring}" if engine.sweeping.is_active else "")
                or sentence(waits.held, shares, left, engine.gate.cap, waits.span(now), engine.tuning.why)
            )
        return Waiting(counts=engine.reasons(), held=waits.held, seconds=left, shares=shares, sentence=words)

    def _expected(self) -> int | None:
        """How many items the input will give, judged by the bytes read so far."""
        offset = self._engine.input_offset
        if not self._size or not offset:
            return None
        guess = int(self._engine.counts.items * self._size / offset)
        limit = self._engine.config.limit
        return guess if limit is None else min(limit, guess)

    def _message(self, waiting: Waiting) -> str:
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
        # That the cap is reached is how a run should be; all else is worth a word.
        return waiting.sentence if waiting.held not in (None, "cap") else ""


def mode(counts: Counts, waiting: Waiting) -> Literal["open", "rate-limited"]:
    """Whether a provider's limit was met: by a 429, or by the quota that was kept within."""
    limited = sum(waiting.shares.get(reason, 0.0) for reason in ("rpm", "tpm", "daily", "cooldown"))
    return "rate-limited" if counts.rate_limit_hits or limited >= 0.5 else "open"


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
        concurrency=snapshot.concurrency,
        queue_depth=round(snapshot.queue_depth, 3),
        mode=snapshot.mode,
        stalls=counts.stalls,
        hedges=counts.hedges,
        hedge_wins=counts.hedge_wins,
        hedge_tokens=counts.hedge_tokens,
        hedge_cost=None if counts.hedge_guesses and not counts.hedge_cost else round(counts.hedge_cost, 6),
    )
