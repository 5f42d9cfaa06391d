"""Percentiles are near the truth for any latencies, and histograms add up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.metrics.histogram import Histogram

LATENCIES = st.lists(st.floats(1e-5, 1e5), min_size=1, max_size=200)


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(LATENCIES, st.floats(0.0, 1.0))
def test_a_quantile_is_within_two_percent_of_the_nearest_rank(values: list[float], q: float) -> None:
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    assert filled(values).quantile(q) == pytest.approx(exact, rel=0.02)


@given(LATENCIES, LATENCIES)
def test_merging_is_adding_all(first: list[float], second: list[float]) -> None:
    merged = filled(first)
    merged.merge(filled(second))
    together = filled(first + second)
    assert merged.total == together.total
    assert merged.percentiles() == together.percentiles()
    assert [merged.quantile(n / 20) for n in range(21)] == [together.quantile(n / 20) for n in range(21)]


def test_the_slowest_of_a_few_is_their_p99() -> None:
    percentiles = filled([0.1] * 19 + [5.0]).percentiles()
    assert percentiles is not None
    assert percentiles.p50 == pytest.approx(0.1, rel=0.02)
    assert percentiles.p95 == pytest.approx(0.1, rel=0.02)
    assert percentiles.p99 == pytest.approx(5.0, rel=0.02)


def test_nothing_has_no_percentiles() -> None:
    assert Histogram().percentiles() is None
    with pytest.raises(ValueError, match="no values"):
        Histogram().quantile(0.5)


def test_an_answer_in_no_time_counts() -> None:
    histogram = filled([0.0, -1e-9])
    assert histogram.total == 2
    assert 0 < histogram.quantile(1.0) < 2e-6


@given(kept=st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=60), gone=st.lists(st.floats(1e-6, 1e4), max_size=60))
def test_what_is_taken_out_was_never_there(kept: list[float], gone: list[float]) -> None:
    alone, both, other = Histogram(), Histogram(), Histogram()
    for value in kept:
        alone.add(value)
        both.add(value)
    for value in gone:
        other.add(value)
    both.merge(other)
    both.take_out(other.buckets)
    assert both.buckets == alone.buckets
    assert both.percentiles() == alone.percentiles()
