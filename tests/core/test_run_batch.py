"""``run_batch``: windows of plain function calls."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import batchdeck
from batchdeck import WorkerError, run_batch
from batchdeck.errors import BatchdeckError


def upper(prompt: str) -> dict[str, Any]:
    return {"result": prompt.upper(), "cost": 1.0}


def test_results_stand_where_their_prompts_stood() -> None:
    assert run_batch(["a", "b", "c"], upper, cap=2) == {"results": ["A", "B", "C"], "batches": 2}


@given(st.lists(st.integers()), st.integers(1, 12), st.integers())
def test_any_number_of_prompts_in_windows_of_any_size(prompts: list[int], cap: int, seed: int) -> None:
    costs = random.Random(seed)
    calls: list[int] = []

    def worker(prompt: int) -> dict[str, Any]:
        calls.append(prompt)
        return {"result": ("answer", prompt), "cost": costs.randrange(100)}

    done = run_batch(prompts, worker, cap)
    assert done == {"results": [("answer", prompt) for prompt in prompts], "batches": -(-len(prompts) // cap)}
    assert sorted(calls) == sorted(prompts)


def test_four_at_a_time_unless_said_otherwise() -> None:
    assert run_batch(list("abcde"), upper)["batches"] == 2


def test_no_prompts_are_no_batches() -> None:
    assert run_batch([], upper) == {"results": [], "batches": 0}


def test_prompts_may_come_from_a_generator_and_no_further_than_a_window_ahead() -> None:
    taken: list[int] = []

    def prompts() -> Any:
        for n in range(6):
            taken.append(n)
            yield n

    def worker(prompt: int) -> dict[str, Any]:
        assert len(taken) <= (prompt // 2 + 1) * 2
        return {"result": prompt, "cost": 0}

    assert run_batch(prompts(), worker, cap=2) == {"results": list(range(6)), "batches": 3}


@pytest.mark.parametrize("cap", [0, -1])
@pytest.mark.parametrize("prompts", [[], ["a"]])
def test_a_cap_below_one_is_refused(cap: int, prompts: list[str]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        run_batch(prompts, upper, cap)


@pytest.mark.parametrize("cap", [True, 2.0, "2", None])
def test_a_cap_that_is_no_whole_number_is_refused(cap: Any) -> None:
    with pytest.raises(TypeError):
        run_batch(["a"], upper, cap)


def test_one_text_is_not_a_list_of_prompts() -> None:
    with pytest.raises(TypeError, match="list of prompts"):
        run_batch("hello", upper)


def test_a_failing_worker_is_named_by_its_prompt_with_the_cause_chained() -> None:
    def worker(prompt: str) -> dict[str, Any]:
        if prompt == "d":
            raise LookupError("no d")
        return upper(prompt)

    with pytest.raises(WorkerError, match=r"prompt 3: the worker failed: LookupError: no d") as caught:
        run_batch(list("abcdef"), worker, cap=2)
    assert caught.value.index == 3
    assert isinstance(caught.value.__cause__, LookupError)
    assert isinstance(caught.value, BatchdeckError)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "text",
        {"result": 1},
        {"cost": 1},
        {"result": 1, "cost": "much"},
        {"result": 1, "cost": True},
        {"result": 1, "cost": float("nan")},
        {"result": 1, "cost": -1},
    ],
)
def test_a_malformed_answer_is_named_by_its_prompt(answer: Any) -> None:
    with pytest.raises(WorkerError, match="prompt 1: the worker") as caught:
        run_batch(["a", "b"], lambda prompt: upper(prompt) if prompt == "a" else answer)
    assert caught.value.index == 1


def test_the_package_offers_nothing_that_is_not_there() -> None:
    assert not hasattr(batchdeck, "run_everything")
