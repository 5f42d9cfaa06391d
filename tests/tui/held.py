"""A run that its account's tokens a minute hold, as its engine would tell it."""

from __future__ import annotations

from pathlib import Path

from batchdeck.model import Budget, Counts, ErrorClass, Percentiles, QuotaState, Reason, Snapshot, Waiting
from batchdeck.settings import SETTINGS

SENTENCE = "held by TPM: 92 % of the time in the last minute; more concurrency will not help"
COUNTS: dict[Reason, int] = {
    "tpm": 372, "backoff": 3, "cooldown": 5, "connecting": 2, "first_token": 14, "streaming": 24,
}  # fmt: skip


def held_by_tpm(run: Path, seconds: float = 90.0) -> Snapshot:
    """Of a run file of 640 items, 220 of them settled and 4 failed."""
    return Snapshot(
        run=run.stem,
        path=str(run),
        state="running",
        message=SENTENCE,
        counts=Counts(
            items=640, done=216, failed=4, attempts=236, rate_limit_hits=16, tokens_in=8_640, tokens_out=23_760,
            cost=0.2214, seconds=seconds, queue_seconds=212.4 * seconds,
        ),
        ingest_complete=True,
        items_expected=640,
        in_flight=40,
        backoff=8,
        queued=380,
        concurrency=64,
        uncommitted=0,
        rate=8.2,
        tokens_rate=1_480.0,
        eta=51.0,
        cooldown=0.0,
        ttft=Percentiles(p50=0.31, p95=1.2, p99=2.0),
        e2e=Percentiles(p50=2.1, p95=5.0, p99=9.0),
        errors=(
            ErrorClass(error_type="rate_limited", attempts=16, items=0, example="Rate limit reached", example_idx=2),
            ErrorClass(error_type="http_500", attempts=4, items=4, example="upstream [/oops] broke", example_idx=3),
        ),
        seq=220,
        samples=90,
        at=1_795_000_090.0,
        waiting=Waiting(
            counts=COUNTS, held="tpm", seconds=1.4, shares={"tpm": 0.92, "cap": 0.03}, sentence=SENTENCE
        ),
        quotas=(
            QuotaState(meter="requests", limit=500, source="header", remaining=88, rate=500),
            QuotaState(meter="tokens", limit=90_000, source="flag", remaining=30_000, rate=90_000),
        ),
        budget=Budget(max_cost=5.0),
        settings=dict.fromkeys(SETTINGS) | {"concurrency": 64.0, "tpm": 90_000.0, "max_cost": 5.0, "priority": 1.0},
        queue_depth=212.4,
        mode="rate-limited",
    )  # fmt: skip
