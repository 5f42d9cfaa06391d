"""Money, tokens, errors and time that a run may use up: it stops in order, keeps all it has, says why, and goes on."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batchdeck import settings
from batchdeck.daemon import exit_code
from batchdeck.engine.snapshots import summarize
from batchdeck.errors import EXIT_OK, EXIT_SOME_FAILED, EXIT_STOPPED
from batchdeck.limits.budget import FIRST
from batchdeck.model import Budget
from batchdeck.sim.options import SimOptions
from batchdeck.store.reader import RunReader
from tests.core.simulated import EPOCH, Reply, Rig, Scripted, good, recount, refusal, until, virtually

Live = Callable[[Rig], Coroutine[Any, Any, None]]
MOST = 100
"""Tokens of the longest answer of ``uneven``; the shortest has half of them."""


def uneven(number: int, body: bytes) -> Reply:
    """An answer of 50 to 100 tokens, prompt included; at a dollar for a thousand that is 5 to 10 cents."""
    used = random.Random(f"{number}/{len(body)}").randint(MOST // 2, MOST)
    choice = {"index": 0, "message": {"role": "assistant", "content": "Good."}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 20, "completion_tokens": used - 20}
    return 200, {"content-type": "application/json"}, msgspec.json.encode({"choices": [choice], "usage": usage})


def half_fails(number: int, body: bytes) -> Reply:
    return refusal(400, "no good") if number % 2 else good()


PRICE = (1000.0, 1000.0)
GIVEN: dict[str, Any] = {"transport": None, "concurrency": 20, "price": PRICE}


async def nothing(rig: Rig) -> None:
    """Nobody interferes."""


def worked(path: Path, items: int, live: Live = nothing, reply: Any = uneven, **given: Any) -> tuple[Rig, Scripted]:
    """A run to its ending; what was spent and settled is what the tables say."""

    async def main() -> tuple[Rig, Scripted]:
        provider = Scripted(reply, seconds=0.5)
        rig = Rig(path, items, SimOptions(), **{**GIVEN, "transport": provider, **given})
        run = rig.loop.create_task(rig.run())
        await live(rig)
        await run
        return rig, provider

    rig, provider = virtually(main)
    counts, counted = rig.engine.counts, recount(path)
    assert {name: getattr(counts, name) for name in counted} == counted
    assert rig.engine.gate.in_flight == 0
    assert counts.attempts == counted["attempts"]
    return rig, provider


def resumed(path: Path, live: Live = nothing, reply: Any = uneven, **changes: float | None) -> tuple[Rig, Scripted]:
    """Go on with a run file as ``batchdeck resume`` does, with these settings laid over its own."""
    with RunReader(path) as reader:
        config = settings.apply(reader.meta().config, changes)
    given = {name: getattr(config, name) for name in type(config).__struct_fields__}
    return worked(path, 0, live, reply, **given)


def code(rig: Rig) -> int:
    return exit_code(summarize(rig.snapshot(), rig.engine.errors))


def stopped(rig: Rig, provider: Scripted) -> str:
    """Why it stopped. What was sent is all kept, and nothing was cut off."""
    assert (rig.engine.state, code(rig)) == ("stopped", EXIT_STOPPED)
    with RunReader(rig.path) as reader:
        meta = reader.meta()
        assert (meta.state, meta.message) == ("stopped", rig.snapshot().message)
        assert [event.kind for event in reader.events()][-2:] == ["stopped", "ended"]
        assert len(reader.select("queued")) == rig.engine.counts.unfinished > 0
        assert rig.engine.counts.attempts == len(list(reader.results())) - rig.engine.counts.unfinished
    assert not [event for event in rig.trace if event[1] == "cancelled"]
    return meta.message


# -- money and tokens


@pytest.mark.parametrize("seed", range(4))
def test_money_is_spent_to_the_limit_and_no_further(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "run.db"
    limit = (4.0, 7.3, 12.0, 0.5)[seed]
    rig, provider = worked(path, 400, budget=Budget(max_cost=limit), concurrency=(1, 8, 60, 20)[seed], seed=seed)
    said = stopped(rig, provider)
    assert said.startswith(f"the budget of ${limit:.2f} is used up ($")
    assert said.endswith("; raise it with --max-cost and resume")
    dearest = MOST / 1000
    assert limit - dearest <= rig.engine.counts.cost <= limit + FIRST * dearest
    assert rig.engine.counts.done == len(provider.sent_at)

    # Resumed as it is, there is nothing to spend: it stops again before it sends anything.
    spent = rig.engine.counts.cost
    again, silent = resumed(path)
    assert stopped(again, silent).startswith(f"the budget of ${limit:.2f} is used up (")
    assert silent.sent_at == []
    assert again.engine.counts.cost == spent

    more, paid = resumed(path, max_cost=limit + 3.0)
    assert stopped(more, paid).startswith(f"the budget of ${limit + 3.0:.2f} is used up (")
    assert limit + 3.0 - dearest <= more.engine.counts.cost <= limit + 3.0 + FIRST * dearest

    last, _ = resumed(path, max_cost=1_000.0)
    assert (last.engine.state, code(last)) == ("done", EXIT_OK)
    assert last.snapshot().message == ""
    assert last.engine.counts.done == last.engine.counts.attempts == 400
    with RunReader(path) as reader:
        assert reader.meta().config.budget.max_cost == limit, "what was given for a session is not yet in the file"


@pytest.mark.parametrize("cap", [1, 8, 60])
def test_tokens_are_used_to_the_limit_and_no_further(tmp_path: Path, cap: int) -> None:
    path = tmp_path / "run.db"
    rig, provider = worked(path, 300, budget=Budget(max_tokens=6_000), concurrency=cap)
    assert stopped(rig, provider).startswith("the budget of 6,000 tokens is used up (")
    used = rig.engine.counts.tokens_in + rig.engine.counts.tokens_out
    assert 6_000 - MOST <= used <= 6_000 + FIRST * MOST
    again, silent = resumed(path)
    assert "raise it with --max-tokens-total and resume" in stopped(again, silent)
    assert silent.sent_at == []
    last, _ = resumed(path, max_tokens_total=None)
    assert (code(last), last.engine.counts.done) == (EXIT_OK, 300)


def test_near_its_end_it_goes_narrower_and_never_waits_for_nothing(tmp_path: Path) -> None:
    widths: list[tuple[float, int]] = []

    async def live(rig: Rig) -> None:
        while not rig.engine.is_over:
            widths.append((rig.engine.counts.cost, rig.engine.gate.in_flight))
            before = rig.engine.counts.done
            await until(lambda: rig.engine.counts.done > before or rig.engine.is_over)  # noqa: B023

    rig, provider = worked(tmp_path / "run.db", 400, live, budget=Budget(max_cost=10.0), concurrency=40)
    stopped(rig, provider)
    assert max(width for spent, width in widths if spent < 4.0) == 40
    assert all(width * 2 * 0.05 <= 10.0 - spent + 0.2 for spent, width in widths if spent > 5.0)
    # Whatever is left is used up within a few answers' time once only single ones fit.
    assert rig.loop.time() < 40


def test_answers_of_unknown_price_stop_a_run_that_must_not_cost_too_much(tmp_path: Path) -> None:
    rig, provider = worked(tmp_path / "run.db", 200, price=None, budget=Budget(max_cost=5.0))
    said = stopped(rig, provider)
    assert said.startswith("cannot keep --max-cost")
    assert "--price IN/OUT" in said
    assert len(provider.sent_at) <= 2 * FIRST
    last, _ = resumed(tmp_path / "run.db", max_cost=None)
    assert (code(last), last.engine.counts.done) == (EXIT_OK, 200)


def silent_now_and_then(number: int, body: bytes) -> Reply:
    """100 tokens an answer, and every fourth does not say so."""
    usage = {"prompt_tokens": 40, "completion_tokens": 60} if number % 4 else None
    choice = {"index": 0, "message": {"role": "assistant", "content": "Good."}, "finish_reason": "stop"}
    return 200, {"content-type": "application/json"}, msgspec.json.encode({"choices": [choice], "usage": usage})


def cut_now_and_then(number: int, body: bytes) -> Reply:
    """100 tokens an answer; every fourth is a stream that ends in the middle, without its usage."""
    if number % 4:
        return silent_now_and_then(1, body)
    chunk = {"choices": [{"index": 0, "delta": {"content": "Goo"}, "finish_reason": None}]}
    return 200, {"content-type": "text/event-stream"}, b"data: " + msgspec.json.encode(chunk) + b"\n\n"


@pytest.mark.parametrize(
    ("reply", "words"),
    [(silent_now_and_then, " answers of unknown {} taken for "), (cut_now_and_then, " that broke off taken for ")],
)
@pytest.mark.parametrize("budget", [Budget(max_tokens=10_000), Budget(max_cost=10.0)])
def test_what_is_billed_unseen_is_counted_as_an_average_answer(
    tmp_path: Path, reply: Any, words: str, budget: Budget
) -> None:
    rig, provider = worked(tmp_path / "run.db", 400, reply=reply, budget=budget, concurrency=8)
    assert (rig.engine.state, code(rig)) == ("stopped", EXIT_STOPPED)
    assert words.format("cost" if budget.max_cost else "size") in rig.snapshot().message
    # 100 answers of 100 tokens (10 cents) are all that may be paid for, told or not
    assert 95 <= len(provider.sent_at) <= 100 + FIRST
    counts = rig.engine.counts
    assert counts.tokens_in + counts.tokens_out < 8_000, "unknown stays unknown in what is kept"


def test_a_page_in_the_place_of_an_answer_is_not_billed(tmp_path: Path) -> None:
    def reply(number: int, body: bytes) -> Reply:
        return (200, {"content-type": "text/html"}, b"<html>Log in</html>") if number % 2 else uneven(number, body)

    rig, _ = worked(tmp_path / "run.db", 40, reply=reply, budget=Budget(max_tokens=4_500), max_retries=30)
    assert (rig.engine.state, rig.engine.counts.done) == ("done", 40)
    assert len(rig.happened("transient")) >= 20


def test_what_a_crash_took_is_not_forgotten(tmp_path: Path) -> None:
    """Killed with money spent: the next process counts what the first one paid for."""
    path = tmp_path / "run.db"

    async def main() -> Path:
        rig = Rig(
            path, 300, SimOptions(), **{**GIVEN, "transport": Scripted(uneven, 0.5), "budget": Budget(max_cost=9.0)}
        )
        run = rig.loop.create_task(rig.run())
        await until(lambda: rig.engine.counts.cost > 6.0)
        assert not run.done()
        return rig.crash(tmp_path / "image.db")

    image = virtually(main)
    rig, _ = resumed(image)
    assert rig.engine.state == "stopped"
    assert 9.0 - MOST / 1000 <= rig.engine.counts.cost <= 9.0 + FIRST * MOST / 1000


# -- errors


def test_it_stops_at_so_many_failed_items(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    rig, provider = worked(path, 200, reply=half_fails, budget=Budget(max_errors=15), concurrency=6)
    said = stopped(rig, provider)
    failed = rig.engine.counts.failed
    assert 15 <= failed <= 15 + 6
    assert said.startswith("15 items failed, --max-errors is 15; see why they failed") or f"{failed} items" in said
    again, silent = resumed(path)
    assert silent.sent_at == []
    assert "raise it with --max-errors and resume" in stopped(again, silent)
    last, _ = resumed(path, max_errors=None)
    assert (code(last), last.engine.state) == (EXIT_OK, "done") if not failed else (EXIT_SOME_FAILED, "done")
    assert last.engine.counts.done == 200 - failed


def test_it_stops_at_a_share_of_failed_items(tmp_path: Path) -> None:
    path = tmp_path / "run.db"

    def reply(number: int, body: bytes) -> Reply:
        return refusal(400, "no good") if number >= 60 and number % 3 == 0 else good()

    rig, provider = worked(path, 400, reply=reply, budget=Budget(max_errors=0.1), concurrency=5)
    said = stopped(rig, provider)
    counts = rig.engine.counts
    assert 0.09 < counts.failed / (counts.done + counts.failed) < 0.13
    assert "items failed (10" in said
    assert "--max-errors is 10%; see why they failed" in said
    last, _ = resumed(path, max_errors=0.9)
    assert (last.engine.state, last.engine.counts.unfinished) == ("done", 0)


# -- time


def test_a_deadline_lets_what_is_in_flight_end(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    rig, provider = worked(path, 2_000, reply=lambda number, body: good(), budget=Budget(deadline_at=EPOCH + 10.2))
    said = stopped(rig, provider)
    assert said.startswith("the deadline of ")
    assert said.endswith("has passed; give a later one with --deadline and resume")
    assert 10.2 - 0.5 <= max(provider.sent_at) <= 10.26
    assert rig.engine.counts.done == len(provider.sent_at)
    # Virtual time begins anew: by this clock the deadline is yet to come.
    again, late = resumed(path, deadline=EPOCH - 1)
    assert stopped(again, late) != ""
    assert late.sent_at == []
    last, _ = resumed(path, deadline=EPOCH + 10_000, reply=lambda number, body: good())
    assert (code(last), last.engine.counts.done) == (EXIT_OK, 2_000)


# -- changed while it runs


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("max_cost", 3.0, "the budget of $3.00 is used up ("),
        ("max_tokens_total", 2_000.0, "the budget of 2,000 tokens is used up ("),
        ("deadline", EPOCH + 0.5, "the deadline of"),
        ("max_errors", 0.0, "2 items failed, --max-errors is 0"),
    ],
)
def test_a_budget_lowered_below_what_is_spent_stops_it_at_once(
    tmp_path: Path, name: str, value: float, words: str
) -> None:
    sent: list[int] = []

    def reply(number: int, body: bytes) -> Reply:
        return refusal(400, "no good") if number in (3, 4) else uneven(number, body)

    async def live(rig: Rig) -> None:
        await until(lambda: rig.engine.counts.cost > 6.0)
        answer = rig.engine.steer.configure({name: value})
        assert answer.ok, answer.message
        assert rig.snapshot().state == "draining"
        sent.append(len(rig.happened("send")))

    rig, provider = worked(tmp_path / "run.db", 500, live, reply=reply)
    assert stopped(rig, provider).startswith(words)
    assert len(provider.sent_at) == sent[0]
    if name != "deadline":  # virtual time begins anew
        again, silent = resumed(tmp_path / "run.db")
        assert stopped(again, silent).startswith(words)
        assert silent.sent_at == []


def test_a_budget_raised_while_it_holds_lets_more_go_at_once(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await until(lambda: rig.engine.waits.held == "budget" and rig.engine.counts.cost > 4.0)
        before = rig.engine.gate.in_flight
        assert rig.engine.steer.configure({"max_cost": 50.0}).message == "max cost $5.00 → $50.00"
        assert rig.engine.gate.in_flight > before
        await until(lambda: rig.engine.gate.in_flight == 20)

    rig, _ = worked(tmp_path / "run.db", 200, live, budget=Budget(max_cost=5.0))
    assert (code(rig), rig.engine.counts.done) == (EXIT_OK, 200)
    with RunReader(rig.path) as reader:
        assert reader.meta().config.budget.max_cost == 50.0
        assert ("settings", "max cost $5.00 → $50.00") in [(event.kind, event.detail) for event in reader.events()]


def test_raised_while_the_last_ones_come_in_it_still_ends_and_goes_on_when_asked(tmp_path: Path) -> None:
    """The stop was decided; a new budget then is for the resume, which needs no second process."""

    async def main() -> Rig:
        provider = Scripted(uneven, 0.5)
        rig = Rig(
            tmp_path / "run.db", 200, SimOptions(), **{**GIVEN, "transport": provider, "budget": Budget(max_cost=5)}
        )
        assert await rig.engine.run() == "stopped"
        assert not rig.engine.wanted.is_set()
        assert rig.engine.steer.configure({"max_cost": None}).ok
        assert rig.engine.steer.resume().ok
        assert rig.engine.wanted.is_set()
        assert await rig.run() == "done"
        return rig

    rig = virtually(main)
    assert rig.engine.counts.done == rig.engine.counts.attempts == 200
    assert rig.snapshot().message == ""
