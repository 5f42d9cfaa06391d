"""The Python API."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from batchdeck.errors import BatchdeckError


class WorkerError(BatchdeckError):
    """A worker failed, or returned something else than it must. ``index``: of the prompt, counted from 0."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"prompt {index}: {reason}")
        self.index = index


def run_batch(prompts: Iterable[Any], worker: Callable[[Any], Mapping[str, Any]], cap: int = 4) -> dict[str, Any]:
    """Work through ``prompts`` in windows of ``cap``: plain function calls, no event loop, no network.

    worker: called once for each prompt, returns ``{"result": anything, "cost": seconds it would take}``.

    Returns ``{"results": [...], "batches": n}``: ``results[i]`` belongs to ``prompts[i]``, whatever each one cost, and
    ``n`` is ``ceil(len(prompts) / cap)``, 0 for no prompts. The same arguments give the same calls in the same order.

    Raises ``ValueError`` for ``cap < 1``, ``TypeError`` for a cap that is no whole number, and ``WorkerError`` with the
    ``index`` of the first prompt whose worker failed (the cause is chained) or returned something malformed.
    """
    size = _window(cap)
    if isinstance(prompts, str | bytes):
        raise TypeError("prompts must be a list of prompts, not one text")
    results: list[Any] = []
    batches = 0
    waiting = iter(prompts)
    while window := list(islice(waiting, size)):
        first = len(results)
        results.extend(_work(worker, first + place, prompt) for place, prompt in enumerate(window))
        batches += 1
    return {"results": results, "batches": batches}


def _window(cap: int) -> int:
    if isinstance(cap, bool):
        raise TypeError("cap must be a whole number, not a bool")
    size = operator.index(cap)
    if size < 1:
        raise ValueError(f"cap must be at least 1, not {cap}")
    return size


def _work(worker: Callable[[Any], Mapping[str, Any]], index: int, prompt: Any) -> Any:
    try:
        answer = worker(prompt)
    except Exception as error:
        raise WorkerError(index, f"the worker failed: {type(error).__name__}: {error}") from error
    if not isinstance(answer, Mapping) or "result" not in answer or "cost" not in answer:
        raise WorkerError(index, f"the worker must return {{'result', 'cost'}}, not {_shown(answer)}")
    cost = answer["cost"]
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not math.isfinite(cost) or cost < 0:
        raise WorkerError(index, f"the worker's cost must be a number of seconds, 0 or more, not {_shown(cost)}")
    return answer["result"]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
