"""Backoff with full jitter, and who gets another try."""

from __future__ import annotations

import random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.model import AttemptOutcome, Failure
from batchdeck.retry.policy import RetryPolicy, backoff, may_retry


def failed(outcome: AttemptOutcome) -> Failure:
    return Failure(outcome=outcome, error_type="x", message="x")


@given(st.integers(1, 10_000), st.integers(0, 2**32))
def test_backoff_stays_below_its_ceiling(failures: int, seed: int) -> None:
    policy = RetryPolicy(base=0.5, ceiling=60.0)
    wait = backoff(policy, failures, random.Random(seed))
    assert 0.0 <= wait <= min(60.0, 0.5 * 2.0 ** min(failures - 1, 30))


@given(st.integers(1, 50), st.integers(0, 2**32), st.floats(0.0, 86_400.0))
def test_a_retry_after_is_never_undercut(failures: int, seed: int, retry_after: float) -> None:
    policy = RetryPolicy()
    wait = backoff(policy, failures, random.Random(seed), retry_after)
    assert retry_after <= wait <= retry_after + policy.base


def test_the_jitter_is_full() -> None:
    """A thousand items that failed together come back spread over the whole of their window."""
    rng, policy = random.Random(3), RetryPolicy(base=1.0, ceiling=60.0)
    waits = sorted(backoff(policy, 4, rng) for _ in range(1_000))
    assert waits[0] < 0.1
    assert waits[-1] > 7.9
    assert 3.6 < waits[500] < 4.4


@given(st.integers(0, 20), st.integers(1, 40), st.floats(0.0, 1e6))
def test_the_budget_counts_transient_errors_only(most: int, failures: int, limited_for: float) -> None:
    policy = RetryPolicy(max_retries=most)
    assert may_retry(policy, failed("transient"), failures, limited_for) == (failures <= most)
    assert may_retry(policy, failed("rate_limited"), failures, limited_for)


@given(st.floats(0.1, 1e5), st.floats(0.0, 1e6))
def test_max_wait_bounds_rate_limits_only(max_wait: float, limited_for: float) -> None:
    policy = RetryPolicy(max_retries=5, max_wait=max_wait)
    assert may_retry(policy, failed("rate_limited"), 0, limited_for) == (limited_for <= max_wait)
    assert may_retry(policy, failed("transient"), 1, limited_for)


@pytest.mark.parametrize("outcome", get_args(AttemptOutcome))
def test_only_what_cannot_succeed_ends_an_item(outcome: AttemptOutcome) -> None:
    if outcome != "ok":
        assert may_retry(RetryPolicy(), failed(outcome), 1, 0.0) == (outcome != "permanent")
