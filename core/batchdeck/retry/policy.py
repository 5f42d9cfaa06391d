"""When a failed attempt is tried again: a pure rule.

Backoff is exponential with full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import random

import msgspec

from batchdeck.model import Failure


class RetryPolicy(msgspec.Struct, frozen=True):
    """``max_retries``: transient errors an item may meet.

    ``max_wait``: seconds an item may wait for rate limits; None: forever.
    """

    max_retries: int = 5
    max_wait: float | None = None
    base: float = 0.5
    ceiling: float = 60.0


def backoff(policy: RetryPolicy, failures: int, rng: random.Random, retry_after: float | None = None) -> float:
    """Seconds to wait after the ``failures``-th transient error in a row (1-based)."""
    top = min(policy.ceiling, policy.base * 2.0 ** min(failures - 1, 30))
    jittered = rng.random() * top
    return jittered if retry_after is None else retry_after + min(jittered, policy.base)


def may_retry(policy: RetryPolicy, failure: Failure, failures: int, limited_for: float) -> bool:
    """Whether an item goes on after ``failure``.

    failures: transient errors so far, this one included. limited_for: seconds from its first 429 to the end of the hold
    that it would have to wait for now.
    """
    if failure.outcome == "transient":
        return failures <= policy.max_retries
    if failure.outcome == "rate_limited":
        return policy.max_wait is None or limited_for <= policy.max_wait
    return failure.outcome in ("fatal", "cancelled")
