"""What is fair among runs that share a limit: held against the definition of max-min fairness, for all demands."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.limits.fair import FLOOR, HEADROOM, Want, fair_shares

LIMITS = st.none() | st.floats(1.0, 1e7)
DEMANDS = st.just(math.inf) | st.just(0.0) | st.floats(0.0, 1e7)
WANTS = st.lists(st.tuples(DEMANDS, st.integers(1, 100)), min_size=1, max_size=9).map(
    lambda wants: {str(number): Want(*want) for number, want in enumerate(wants)}
)


def met(limit: float | None, want: Want) -> float:
    """The share with which a run has all it wants."""
    if want.demand == 0:
        return 0.0
    return math.inf if limit is None else HEADROOM * want.demand / limit


@pytest.mark.parametrize(
    ("limit", "wants", "shares"),
    [
        (600, {"alone": (0, 1)}, {"alone": 1.0}),
        (600, {"a": (math.inf, 1), "b": (math.inf, 1)}, {"a": 0.5, "b": 0.5}),
        (600, {"a": (math.inf, 3), "b": (math.inf, 1)}, {"a": 0.75, "b": 0.25}),
        (None, {"a": (math.inf, 3), "b": (20, 1)}, {"a": 0.75, "b": 0.25}),
        (600, {"small": (60, 1), "wide": (math.inf, 1)}, {"small": 0.11, "wide": 0.89}),
        (600, {"small": (60, 1), "a": (900, 1), "b": (math.inf, 1)}, {"small": 0.11, "a": 0.445, "b": 0.445}),
        (600, {"idle": (0, 1), "busy": (30, 1)}, {"idle": 0.005, "busy": 0.995}),
        (600, {"a": (0, 1), "b": (0, 1)}, {"a": 0.5, "b": 0.5}),
        (600, {"first": (math.inf, 100), "patient": (math.inf, 1)}, {"first": 100 / 101, "patient": 1 / 101}),
    ],
)
def test_what_each_gets(limit: float | None, wants: dict[str, tuple[float, float]], shares: dict[str, float]) -> None:
    assert fair_shares(limit, {name: Want(*want) for name, want in wants.items()}) == pytest.approx(shares)


@given(LIMITS, WANTS)
def test_all_of_the_limit_is_given_out_and_never_more(limit: float | None, wants: dict[str, Want]) -> None:
    shares = fair_shares(limit, wants)
    weight = sum(want.weight for want in wants.values())
    assert set(shares) == set(wants)
    assert 0.99 <= sum(shares.values()) <= 1 + 1e-9
    for name, want in wants.items():
        assert shares[name] >= FLOOR * want.weight / weight * (1 - 1e-9)


@given(LIMITS, WANTS)
def test_who_lacks_something_is_behind_nobody(limit: float | None, wants: dict[str, Want]) -> None:
    """The definition of max-min fairness: none can get more but from one who has, by weight, no more than it."""
    shares = fair_shares(limit, wants)
    for name, want in wants.items():
        if shares[name] < met(limit, want) - 1e-9:
            level = shares[name] / want.weight
            assert all(shares[other] / wants[other].weight <= level + 1e-9 for other in wants)


@given(LIMITS, WANTS)
def test_the_same_as_a_search_for_the_level_of_the_water(limit: float | None, wants: dict[str, Want]) -> None:
    weight = sum(want.weight for want in wants.values())
    floors = {name: FLOOR * want.weight / weight for name, want in wants.items()}

    def filled(level: float) -> dict[str, float]:
        return {name: max(floors[name], min(met(limit, want), level * want.weight)) for name, want in wants.items()}

    low, high = 0.0, 1.0
    if sum(filled(high).values()) < 1:
        return  # nobody lacks anything: there is no level
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(filled(middle).values()) < 1 else (low, middle)
    assert fair_shares(limit, wants) == pytest.approx(filled(high), abs=1e-9)


@given(LIMITS, WANTS, st.integers(1, 99))
def test_more_weight_is_never_less(limit: float | None, wants: dict[str, Want], more: int) -> None:
    before = fair_shares(limit, wants)["0"]
    first = wants["0"]
    heavier = wants | {"0": Want(first.demand, first.weight + more)}
    assert fair_shares(limit, heavier)["0"] >= before - 1e-9


@given(LIMITS, WANTS, DEMANDS)
def test_nobody_gains_by_hiding_what_it_wants(limit: float | None, wants: dict[str, Want], demand: float) -> None:
    """Of what it can use: room to grow in goes by other rules."""
    first = wants["0"]
    greedier = wants | {"0": Want(max(demand, first.demand), first.weight)}
    useful = min(fair_shares(limit, wants)["0"], met(limit, first))
    assert fair_shares(limit, greedier)["0"] >= useful - 1e-9
