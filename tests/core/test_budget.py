"""Money that a run may burn: it stops before its limit, says why, and goes on when the limit is raised."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.limits.budget import BLIND, FIRST, SAFETY, WINDOW, Spending
from batchdeck.model import Budget, Counts

NOW = 1_800_000_000.0
SEEDS = st.integers(0, 2**32)


class Run:
    """A run as the engine drives it: up to ``cap`` requests in flight, commits that come later than answers."""

    def __init__(self, budget: Budget, cap: int, seed: int) -> None:
        self.spending = Spending(budget)
        self.cap = cap
        self.rng = random.Random(seed)
        self.counts = Counts()
        self.uncommitted: list[tuple[int, float | None, bool]] = []
        self.sent = 0
        self.widest = 0

    def go(self, answer: Callable[[], tuple[int, float | None, bool]], most: int = 2_000) -> str | None:
        """Until the budget says stop and all are back; None when ``most`` requests were not enough for that."""
        stop = None
        while True:
            stop = stop or self.spending.over(self.counts, NOW)
            while stop is None and self.spending.in_flight < self.cap and not self.spending.holds(self.counts):
                if self.sent == most:
                    return None
                self.spending.sent()
                self.sent += 1
                self.widest = max(self.widest, self.spending.in_flight)
            if not self.spending.in_flight:
                assert stop is not None, "it holds, and nothing could ever change that"
                self.commit(len(self.uncommitted))
                return stop
            landed = answer()
            self.spending.landed(*landed)
            self.uncommitted.append(landed)
            if self.rng.random() < 0.3:
                self.commit(self.rng.randint(0, len(self.uncommitted)))

    def commit(self, how_many: int) -> None:
        now, self.uncommitted = self.uncommitted[:how_many], self.uncommitted[how_many:]
        for tokens, cost, whole in now:
            self.counts = msgspec.structs.replace(
                self.counts,
                tokens_in=self.counts.tokens_in + tokens,
                cost=self.counts.cost + (cost or 0.0),
                unpriced=self.counts.unpriced + (whole and cost is None),
            )
            self.spending.committed(tokens, cost, whole)


def dollars(costs: Iterable[float]) -> Callable[[], tuple[int, float | None, bool]]:
    each = iter(costs)
    return lambda: (100, next(each), True)


def forever(rng: random.Random, low: float, high: float) -> Iterable[float]:
    while True:
        yield rng.uniform(low, high)


@given(SEEDS, st.integers(1, 300), st.floats(0.01, 20.0))
def test_where_answers_cost_about_the_same_the_limit_holds_whatever_the_order(
    seed: int, cap: int, limit: float
) -> None:
    """Up to twice the cheapest: only the first few, of which nothing was known, can pass it."""
    rng = random.Random(seed)
    low = rng.choice([0.001, 0.01, 0.3])
    run = Run(Budget(max_cost=limit), cap, seed)
    said = run.go(dollars(forever(rng, low, SAFETY * low)), most=40_000 if low > 0.001 else 2_000)
    assert run.counts.cost <= limit + FIRST * SAFETY * low + 1e-9
    if said is not None:
        assert run.counts.cost + SAFETY * low >= limit, "it stopped with room for more"
        assert "--max-cost" in said


@given(SEEDS, st.integers(1, 64), st.lists(st.floats(0.0, 5.0), min_size=1, max_size=8))
def test_whatever_answers_cost_it_never_waits_forever(seed: int, cap: int, costs: list[float]) -> None:
    rng = random.Random(seed)

    def any_of_them() -> tuple[int, float | None, bool]:
        # good ones, good ones without a price, failures
        return rng.choice([(7, rng.choice(costs), True), (7, None, True), (0, None, False)])

    run = Run(Budget(max_cost=3.0, max_tokens=2_000), cap, seed)
    said = run.go(any_of_them)
    assert said is not None
    assert run.spending.in_flight == 0
    assert run.widest <= cap


@given(SEEDS, st.integers(1, 64))
def test_a_budget_that_is_raised_lets_it_go_on(seed: int, cap: int) -> None:
    rng = random.Random(seed)
    run = Run(Budget(max_tokens=10_000), cap, seed)

    def answer() -> tuple[int, float | None, bool]:
        return rng.randint(50, 100), None, True

    assert run.go(answer) is not None
    before = run.counts.tokens_in
    assert 9_900 <= before <= 10_000 + FIRST * 100
    run.spending.change(Budget(max_tokens=20_000))
    assert not run.spending.holds(run.counts)
    assert run.go(answer) is not None
    assert 19_900 <= run.counts.tokens_in <= 20_000 + FIRST * 100
    run.spending.change(Budget())
    assert run.spending.over(run.counts, NOW) is None


def test_the_first_wave_cannot_burn_a_small_budget() -> None:
    spending = Spending(Budget(max_cost=0.10))
    for _ in range(FIRST):
        assert not spending.holds(Counts())
        spending.sent()
    assert spending.holds(Counts())
    spending.landed(0, None)
    spending.sent()
    assert spending.holds(Counts()), "a request that failed tells nothing of what an answer costs"
    spending.landed(500, 0.001, True)
    assert not spending.holds(Counts())


def test_prompts_that_grow_along_the_input_are_expected_to_grow() -> None:
    run = Run(Budget(max_cost=10.0), 20, 1)
    costs = [0.001 * 1.02**number for number in range(2_000)]
    assert run.go(dollars(costs)) is not None
    assert run.counts.cost == pytest.approx(10.0, abs=max(costs[: run.sent]))


def test_near_the_end_it_goes_narrower_and_the_last_ones_go_alone() -> None:
    spending, counts = Spending(Budget(max_cost=1.0)), Counts(cost=0.5)
    spending.sent()
    spending.landed(100, 0.1, True)
    beside = 0
    while not spending.holds(counts):
        spending.sent()
        beside += 1
    assert beside == 2, "0.6 spent, 0.1 each: with twice that to be safe two fit beside each other"
    spending.landed(100, 0.1, True)
    assert spending.holds(counts)
    spending.landed(100, 0.1, True)
    assert not spending.holds(counts)
    spending.sent()
    assert spending.holds(counts)
    spending.landed(100, 0.1, True)
    spending.sent()
    spending.landed(100, 0.1, True)
    assert spending.over(counts, NOW) == (
        "the budget of $1.00 is used up ($1.00 spent); raise it with --max-cost and resume"
    )


def test_it_does_not_stop_while_what_is_in_flight_may_turn_out_cheaper() -> None:
    spending, counts = Spending(Budget(max_cost=1.0)), Counts(cost=0.7)
    for _ in range(3):
        spending.sent()
    spending.landed(100, 0.1, True)
    spending.landed(100, 0.15, True)
    assert spending.holds(counts)
    assert spending.over(counts, NOW) is None
    spending.landed(0, None)
    assert "the next answer costs about" in (spending.over(counts, NOW) or "")


def test_what_is_received_and_not_yet_committed_is_spent_already() -> None:
    spending = Spending(Budget(max_cost=5.0))
    spending.sent()
    spending.landed(10, 4.98, True)
    said = (
        "the budget of $5.00 is used up ($4.98 spent, the next answer costs about $4.98);"
        " raise it with --max-cost and resume"
    )
    assert spending.over(Counts(), NOW) == said
    spending.committed(10, 4.98, True)
    assert spending.over(Counts(cost=4.98, tokens_in=10), NOW) == said


def test_tokens_of_every_attempt_count() -> None:
    spending = Spending(Budget(max_tokens=2_000_000))
    assert spending.over(Counts(tokens_in=1_500_000, tokens_out=499_999), NOW) is None
    assert spending.over(Counts(tokens_in=1_500_000, tokens_out=500_000), NOW) == (
        "the budget of 2,000,000 tokens is used up (2,000,000 used); raise it with --max-tokens-total and resume"
    )


def test_a_model_without_a_price_cannot_keep_a_budget_in_dollars() -> None:
    spending, counts = Spending(Budget(max_cost=5.0)), Counts()
    for _ in range(2):
        spending.sent()
        spending.landed(100, None, True)
        assert spending.over(counts, NOW) is None
    spending.sent()
    spending.landed(100, None, True)
    said = spending.over(counts, NOW)
    assert said is not None
    assert said.startswith("cannot keep --max-cost: what 3 answers cost is not known, since the price of this model")
    assert "--price IN/OUT" in said
    assert "--max-tokens-total" in said


def test_a_server_that_tells_no_usage_can_keep_neither() -> None:
    for budget, name in ((Budget(max_cost=5.0), "--max-cost"), (Budget(max_tokens=500), "--max-tokens-total")):
        spending = Spending(budget)
        for _ in range(3):
            spending.sent()
            spending.landed(0, None, True)
        said = spending.over(Counts(unpriced=3), NOW)
        assert said is not None
        assert said.startswith(f"cannot keep {name}")
        assert "do not tell how many tokens" in said
        assert "--price" not in said


def test_failures_and_partial_answers_say_nothing_of_the_price() -> None:
    spending = Spending(Budget(max_cost=5.0, max_tokens=500))
    for _ in range(50):
        spending.sent()
        spending.landed(0, None)
    assert spending.over(Counts(), NOW) is None


def test_a_few_answers_of_unknown_cost_among_many_are_taken_for_average_ones() -> None:
    """A router that now and then chose a model that no list knows."""
    spending = Spending(Budget(max_cost=1.0))
    for number in range(100):
        spending.sent()
        spending.landed(10, None if number % 10 == 0 else 0.01, True)
    said = spending.over(Counts(), NOW)
    assert said is not None
    assert "$1.00 spent, with 10 answers of unknown cost taken for $0.01 each" in said


def test_answers_that_do_not_tell_their_tokens_are_taken_for_average_ones() -> None:
    """A server that leaves the usage out now and then: 120 tokens were used, not 100."""
    spending, counts = Spending(Budget(max_tokens=120)), Counts()
    for number in range(6):
        assert spending.over(counts, NOW) is None
        spending.sent()
        tokens = 0 if number == 2 else 20
        spending.landed(tokens, None, True)
        counts = msgspec.structs.replace(counts, tokens_in=counts.tokens_in + tokens)
        spending.committed(tokens, None, True)
    assert counts.tokens_in == 100
    assert spending.over(counts, NOW) == (
        "the budget of 120 tokens is used up (120 used, with 1 answer of unknown size taken for 20 each);"
        " raise it with --max-tokens-total and resume"
    )


@pytest.mark.parametrize("budget", [Budget(max_cost=1e6), Budget(max_tokens=1e9)])
def test_a_server_that_ceases_to_tell_is_noticed_however_long_it_did(budget: Budget) -> None:
    spending = Spending(budget)
    for _ in range(1_000):
        spending.sent()
        spending.landed(10, 0.01, True)
    after = 0
    while (said := spending.over(Counts(), NOW)) is None:
        spending.sent()
        spending.landed(0, None, True)
        after += 1
    assert BLIND < after <= WINDOW
    assert "do not tell how many tokens they used" in said


def test_an_answer_that_broke_off_is_taken_for_an_average_one() -> None:
    """It may be billed, and nobody will ever say how much: committed or not, it stays spent."""
    spending = Spending(Budget(max_cost=1.0, max_tokens=1_000))
    spending.sent()
    spending.landed(100, 0.1, True)
    spending.committed(100, 0.1, True)
    counts = Counts(tokens_in=100, cost=0.1, done=1)
    for _ in range(9):
        assert spending.over(counts, NOW) is None
        spending.sent()
        spending.landed(0, None, cut=True)
        spending.committed(0, None, cut=True)
    assert spending.over(counts, NOW) == (
        "the budget of $1.00 is used up ($1.00 spent, with 9 that broke off taken for $0.10 each);"
        " raise it with --max-cost and resume"
    )
    spending.change(Budget(max_tokens=1_000))
    assert spending.over(counts, NOW) == (
        "the budget of 1,000 tokens is used up (1,000 used, with 9 that broke off taken for 100 each);"
        " raise it with --max-tokens-total and resume"
    )


@pytest.mark.parametrize("budget", [Budget(max_cost=5.0), Budget(max_tokens=500)])
def test_where_every_answer_breaks_off_nothing_is_known_and_it_stops(budget: Budget) -> None:
    spending = Spending(budget)
    for _ in range(WINDOW):
        assert spending.over(Counts(), NOW) is None
        spending.sent()
        spending.landed(0, None, cut=True)
    said = spending.over(Counts(), NOW)
    assert said is not None
    assert said.startswith("cannot keep --max-")
    assert "20 answers" in said
    assert "broke off before they told" in said


@pytest.mark.parametrize(("limit", "more"), [(110, ""), (140, " and may take more")])
def test_a_resume_tells_what_an_answer_takes_and_not_what_it_leaves_room_for(limit: float, more: str) -> None:
    counts = Counts(tokens_in=100, done=4, items=9)
    said = Spending(Budget(max_tokens=limit), counts).over(counts, NOW)
    assert said == (
        f"the budget of {limit} tokens is used up (100 used, the next answer takes about 25{more});"
        " raise it with --max-tokens-total and resume"
    )


@pytest.mark.parametrize(
    ("limit", "counts", "said"),
    [
        (10, Counts(failed=9, done=5), None),
        (10, Counts(failed=12, done=5), "12 items failed, --max-errors is 10;"),
        (10, Counts(failed=12, bad_lines=3, done=5), None),
        (1, Counts(failed=1), "1 item failed, --max-errors is 1;"),
        (0, Counts(done=100), None),
        (0, Counts(failed=1), "1 item failed, --max-errors is 0;"),
        (0.05, Counts(failed=19), None),
        (0.05, Counts(failed=20), "20 of 20 items failed (100%), --max-errors is 5%;"),
        (0.05, Counts(failed=24, done=476), None),
        (0.05, Counts(failed=25, done=475), "25 of 500 items failed (5%), --max-errors is 5%;"),
        (0.05, Counts(failed=40, bad_lines=30, done=475), None),
        (None, Counts(failed=1_000), None),
    ],
)
def test_failed_items(limit: float | None, counts: Counts, said: str | None) -> None:
    found = Spending(Budget(max_errors=limit)).over(counts, NOW)
    assert found == (said and f"{said} see why they failed, then raise it with --max-errors and resume")


def test_a_deadline_names_the_time_where_one_is() -> None:
    at = datetime(2026, 11, 20, 21, 30).astimezone().timestamp()
    spending = Spending(Budget(deadline_at=at))
    assert spending.over(Counts(), at - 0.001) is None
    assert spending.over(Counts(), at) == (
        "the deadline of 2026-11-20 21:30 has passed; give a later one with --deadline and resume"
    )


def test_small_amounts_are_shown_with_the_digits_that_count() -> None:
    said = Spending(Budget(max_cost=0.0025)).over(Counts(cost=0.0026), NOW)
    assert said is not None
    assert said.startswith("the budget of $0.0025 is used up ($0.0026 spent)")


def test_without_a_budget_nothing_holds() -> None:
    spending = Spending(Budget(max_errors=5, deadline_at=NOW + 1))
    for _ in range(10_000):
        assert not spending.holds(Counts())
        spending.sent()
    assert spending.over(Counts(cost=1e6, tokens_in=10**12), NOW) is None
