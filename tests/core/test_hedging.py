"""Hedging: a request that takes unusually long is sent again, the first answer wins, and nothing is decided twice."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchdeck.cli.status import live_lines
from batchdeck.format import hedges
from batchdeck.model import Budget, Counts, Limits, Quotas
from batchdeck.retry.hedge import HIGHEST, LEVEL, Allowance, Usual, is_straggler, level
from batchdeck.sim.options import SimOptions
from batchdeck.store.reader import RunReader
from batchdeck.transport.base import Request, Sink
from tests.core.hedged import STRAGGLING, check_books, play
from tests.core.simulated import Reply, Rig, ask, good, in_life, recount, refusal, until, virtually
from tests.core.test_engine_waiting import Storm, passed
from tests.core.test_prometheus import NOW, one, scrape

replace = msgspec.structs.replace
EARLY = "batchdeck.engine.hedging.KNOWN_FROM"
BROKEN = refusal(500, "broken")


# -- the rules


@given(st.lists(st.tuples(st.integers(0, 200), st.booleans()), max_size=40), st.floats(0.001, 0.5))
def test_no_more_is_sent_than_the_share_and_a_calm_saves_up_little(steps: list[tuple[int, bool]], share: float) -> None:
    allowance, sent, hedged = Allowance(), 0, 0
    for requests, is_bad in steps:
        for _ in range(requests):
            allowance.earn()
        sent += requests
        burst = 0
        while is_bad and allowance.allows(share):
            allowance.spend(share)
            burst += 1
        hedged += burst
        assert hedged <= share * sent + 1e-6
        assert burst <= max(1, 1_000 * share + 1e-6)


def test_what_is_a_straggler() -> None:
    usual = Usual(ttft=2.0, e2e=9.0)

    def straggles(age: float, silent: float | None = None, *, stalled: bool = False, streams: bool = True) -> bool:
        return is_straggler(usual, age, silent, streams=streams, is_stalled=stalled, pause=5.0)

    assert not straggles(2.1)
    assert straggles(2.3), "no first token by the time that nearly all have one"
    assert not straggles(3.0, 0.02)
    assert straggles(6.0, 4.0, stalled=True)
    assert not straggles(500.0, 0.02), "long, and coming steadily"
    assert not straggles(500.0, 4.9)
    assert straggles(500.0, 5.1), "should have ended, and comes in drops"
    assert not straggles(9.8, streams=False)
    assert straggles(10.0, streams=False), "in one piece: the whole time counts"
    assert not is_straggler(Usual(), 500, None, streams=True, is_stalled=False, pause=5.0), "nothing to compare with"


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_what_is_hedged_does_not_make_the_p99_sink(answers: int, lost: int) -> None:
    assert LEVEL <= level(answers, lost) <= HIGHEST
    # ranked among all that were sent, the lost ones being the longest
    if lost <= answers // 200:
        assert level(answers, lost) * answers == pytest.approx(LEVEL * (answers + lost))


# -- what it is for


@pytest.mark.parametrize("seed", range(3))
def test_stragglers_no_longer_hold_a_run_up(tmp_path: Path, seed: int) -> None:
    sim = replace(STRAGGLING, seed=seed)
    calm = play(tmp_path / "calm.db", 600, sim)
    hedged = play(tmp_path / "hedged.db", 600, sim, hedge=0.05, price=(1.0, 2.0))
    assert (calm.ending, hedged.ending) == ("done", "done")
    assert calm.counts.hedges == 0
    assert hedged.counts.done == hedged.counts.items == 600
    assert calm.quantile(0.99) > 30
    assert hedged.quantile(0.99) < calm.quantile(0.99) / 3
    assert hedged.quantile(0.5) == pytest.approx(calm.quantile(0.5), rel=0.03)
    counts = check_books(hedged.rig.path, [hedged.rig], 0.05)
    silent = hedged.rig.tally.faults["hang"] + hedged.rig.tally.faults["stall"]
    assert counts.hedge_wins >= 0.6 * silent
    assert counts.hedges <= silent + 0.02 * 600, "the slowest one in a hundred, and those that never end"
    assert hedged.rig.tally.max_in_flight <= 25, "a hedge counts as in flight"
    # what it cost: the prompts again, and what had come of the streams that stalled
    assert 0 < counts.hedge_cost < 0.02 * counts.cost
    assert counts.hedge_guesses > 0
    assert counts.hedge_tokens > 0


def test_without_stragglers_it_costs_next_to_nothing(tmp_path: Path) -> None:
    played = play(tmp_path / "run.db", 1_000, SimOptions(ttft_ms=300, answer_tokens=8), hedge=0.05)
    counts = check_books(played.rig.path, [played.rig], 0.05)
    assert counts.hedges <= 20, "about one in a hundred, whatever share is allowed"


def test_a_provider_that_hangs_all_the_time_is_not_asked_more_than_the_share(tmp_path: Path) -> None:
    sim = SimOptions(seed=2, ttft_ms=200, answer_tokens=5, faults={"hang": 0.2})
    limits = Limits(first_token=10, idle=10)
    played = play(tmp_path / "run.db", 500, sim, hedge=0.02, limits=limits, budget=Budget(max_outage=0), max_retries=20)
    counts = check_books(played.rig.path, [played.rig], 0.02)
    assert 0 < counts.hedges <= 0.02 * counts.attempts
    assert counts.done == 500


def test_a_long_answer_that_comes_steadily_is_left_alone(tmp_path: Path) -> None:
    """Item 150's answer takes sixty times as long as any other."""

    class Novel:
        async def send(self, request: Request, sink: Sink) -> None:
            sink.sending()
            await asyncio.sleep(0.2)
            sink.head(200, (("content-type", "text/event-stream"),))
            for _ in range(600 if b"What is 150 " in request.body else 10):
                sink.data(b'data: {"choices": [{"index": 0, "delta": {"content": "word "}}]}\n\n')
                await asyncio.sleep(0.1)
            sink.data(b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')

        async def close(self) -> None:
            """Nothing is open."""

    played = play(tmp_path / "run.db", 160, transport=Novel(), hedge=0.5, concurrency=10)
    assert played.seconds[150] == pytest.approx(60.2, abs=0.1)
    assert played.rig.happened("hedge") == []


# -- who decides


class Races:
    """A provider that answers all items after a second, but one: ``first`` and ``second`` say what its two requests
    meet and when, in seconds after the first was sent. ``last``: what any further one meets."""

    SPECIAL = 120

    def __init__(self, first: tuple[float, Reply], second: tuple[float, Reply], last: Reply | None = None) -> None:
        self._script = [first, second]
        self._last = good() if last is None else last
        self.sent = 0
        self.asked = 0
        self._began = 0.0

    async def send(self, request: Request, sink: Sink) -> None:
        loop = asyncio.get_running_loop()
        sink.sending()
        self.sent += 1
        reply, at = good(), loop.time() + 1.0
        if int(re.findall(rb"What is (\d+)", request.body)[0]) == self.SPECIAL:
            self.asked += 1
            self._began = self._began or loop.time()
            after, reply = self._script.pop(0) if self._script else (0.0, self._last)
            at = self._began + after if after else at
        await asyncio.sleep(at - loop.time())
        status, headers, body = reply
        sink.head(status, tuple(headers.items()))
        sink.data(body)
        # The body's end is read a moment after its last byte.
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Nothing is open."""


def ledger(path: Path) -> list[tuple[Any, ...]]:
    query = f"SELECT number, outcome, error_type, text FROM attempts WHERE idx = {Races.SPECIAL} ORDER BY number"
    return ask(path, query)


def race(path: Path, provider: Races, live: Callable[[Rig], Any] | None = None, **given: Any) -> tuple[Rig, str]:
    """A run of 130 items in one piece each, of which one straggles, and with them one hedge is earned."""
    settings = {"stream": False, "concurrency": 10, "hedge": 0.01, "price": (1.0, 2.0), "max_retries": 1, **given}
    rig, ending = in_life(path, 130, live or (lambda rig: passed(rig, 1)), transport=provider, **settings)
    assert rig.engine.flying == []
    assert rig.engine.gate.in_flight == 0
    return rig, ending


WON, LOST = good("won"), good("lost")
OUTCOMES: list[tuple[str, tuple[float, Reply], tuple[float, Reply], list[tuple[Any, ...]], dict[str, float]]] = [
    ("the hedge is first", (9.0, LOST), (3.0, WON),
     [(1, "cancelled", "hedged", ""), (2, "ok", None, "won")], {"hedge_wins": 1, "hedge_guesses": 1}),
    ("the first is first", (3.0, WON), (9.0, LOST),
     [(1, "ok", None, "won"), (2, "cancelled", "hedged", "")], {"hedge_wins": 0, "hedge_guesses": 1}),
    ("the first fails, the hedge answers", (3.0, BROKEN), (5.0, WON),
     [(1, "transient", "http_500", ""), (2, "ok", None, "won")], {"hedge_wins": 1, "retries": 0}),
    ("the hedge fails, the first answers", (5.0, WON), (3.0, BROKEN),
     [(1, "ok", None, "won"), (2, "transient", "http_500", "")], {"hedge_wins": 0, "retries": 0}),
    ("the hedge is refused for good, the first answers", (5.0, WON), (3.0, refusal(400)),
     [(1, "ok", None, "won"), (2, "permanent", "http_400", "")], {"hedge_wins": 0, "failed": 0}),
    ("both fail, and that is one try", (3.0, BROKEN), (5.0, BROKEN),
     [(1, "transient", "http_500", ""), (2, "transient", "http_500", ""), (3, "ok", None, "Good.")],
     {"hedge_wins": 0, "retries": 1}),
    ("the first is refused for good and the hedge fails", (3.0, refusal(400)), (5.0, BROKEN),
     [(1, "permanent", "http_400", ""), (2, "transient", "http_500", ""), (3, "ok", None, "Good.")], {"retries": 1}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "first", "second", "attempts", "counted"), OUTCOMES, ids=[case[0] for case in OUTCOMES]
)
def test_one_of_two_decides(
    tmp_path: Path, name: str, first: tuple[float, Reply], second: tuple[float, Reply],
    attempts: list[tuple[Any, ...]], counted: dict[str, float],
) -> None:  # fmt: skip
    provider = Races(first, second)
    rig, ending = race(tmp_path / "run.db", provider)
    assert ending == "done"
    assert ledger(rig.path) == attempts
    counts = rig.engine.counts
    assert {"done": 130, "hedges": 1, "failed": 0} | counted == {
        key: getattr(counts, key) for key in {"done": 130, "hedges": 1, "failed": 0} | counted
    }
    assert counts.attempts == counts.sends == provider.sent == 129 + len(attempts)
    assert {name: getattr(counts, name) for name in recount(rig.path)} == recount(rig.path)
    assert len([event for event in rig.happened("done") if event[2] == Races.SPECIAL]) == 1


@pytest.mark.parametrize("seed", range(4))
def test_two_answers_in_one_turn_of_the_loop_are_one_result(tmp_path: Path, seed: int) -> None:
    """Both were paid for, both are kept, and the counters tell which one was too much."""
    at = [3.0, 4.25, 5.5, 7.0][seed]
    rig, ending = race(tmp_path / "run.db", Races((at, good("one")), (at, good("two"))))
    assert ending == "done"
    (first, second) = ledger(rig.path)
    assert {first[1:3], second[1:3]} == {("ok", None), ("cancelled", "hedged")}
    assert {first[3], second[3]} == {"one", "two"}
    counts = rig.engine.counts
    assert (counts.done, counts.hedges, counts.hedge_guesses) == (130, 1, 0), "the provider told what it cost"
    assert counts.hedge_tokens == 5
    assert counts.hedge_cost == pytest.approx((3 + 2 * 2) / 1e6)
    assert counts.cost == pytest.approx(131 * (3 + 2 * 2) / 1e6), "what was told is in the cost, too"
    with RunReader(rig.path) as reader:
        (row,) = reader.rows([Races.SPECIAL])
        kept = {attempt[1]: attempt[3] for attempt in (first, second)}
        assert row.text == kept["ok"]


def test_a_429_on_a_hedge_holds_the_account_as_any(tmp_path: Path) -> None:
    provider = Races((9.0, good("late")), (3.0, refusal(429, retry_after="2")))
    rig, ending = race(tmp_path / "run.db", provider)
    assert ending == "done"
    assert [attempt[1] for attempt in ledger(rig.path)] == ["ok", "rate_limited"]
    assert rig.engine.counts.rate_limit_hits == 1
    (event,) = rig.happened("rate_limited")[-1:]
    sent = [at for at, what, idx, _ in rig.happened("send") if event[0] < at < event[0] + 2]
    assert not sent


def test_a_refused_key_stops_the_run_and_the_first_request_goes_on(tmp_path: Path) -> None:
    rig, ending = race(tmp_path / "run.db", Races((9.0, good("late")), (3.0, refusal(401, "no such key"))))
    assert ending == "stopped"
    assert "no such key" in rig.engine.message
    assert [attempt[1] for attempt in ledger(rig.path)] == ["ok", "fatal"]
    assert ask(rig.path, f"SELECT state FROM items WHERE idx = {Races.SPECIAL}") == [("done",)]


def test_two_failures_of_an_item_without_retries_fail_it_once(tmp_path: Path) -> None:
    rig, ending = race(tmp_path / "run.db", Races((3.0, BROKEN), (5.0, BROKEN)), max_retries=0)
    assert ending == "done"
    counts = rig.engine.counts
    assert (counts.failed, counts.done, counts.retries) == (1, 129, 0)
    (error,) = rig.engine.errors
    assert (error.error_type, error.attempts, error.items) == ("http_500", 2, 1)

    async def again() -> str:
        once_more = Rig(rig.path, 0, SimOptions(), transport=Races((0, WON), (0, WON)), stream=False)
        assert (await once_more.engine.steer.retry()).ok
        return await once_more.run()

    assert virtually(again) == "done"
    assert [attempt[:2] for attempt in ledger(rig.path)] == [(1, "transient"), (2, "transient"), (3, "ok")]


def test_where_the_hedge_hangs_too_a_third_request_is_sent_and_no_fourth(tmp_path: Path) -> None:
    rig, ending = race(tmp_path / "run.db", Races((500.0, LOST), (400.0, LOST)), hedge=0.05)
    assert ending == "done"
    assert ledger(rig.path) == [
        (1, "cancelled", "hedged", ""), (2, "cancelled", "hedged", ""), (3, "ok", None, "Good."),
    ]  # fmt: skip
    counts = rig.engine.counts
    assert (counts.hedges, counts.hedge_wins, counts.hedge_guesses, counts.retries) == (2, 1, 2, 0)
    assert counts.seconds < 25
    assert {name: getattr(counts, name) for name in recount(rig.path)} == recount(rig.path)


def test_an_item_whose_requests_are_both_gone_in_one_turn_goes_again(tmp_path: Path) -> None:
    """The first made room for another one, and in that moment the second ran into its time limit."""

    async def live(rig: Rig) -> None:
        await until(lambda: hedge_in_flight(rig))
        rig.engine.hedging.others[Races.SPECIAL].stop("total")
        rig.engine.flights[Races.SPECIAL].stop("hedged")

    rig, ending = race(tmp_path / "run.db", Races((500.0, LOST), (400.0, LOST)), live)
    assert ending == "done"
    assert [attempt[1:3] for attempt in ledger(rig.path)] == [
        ("cancelled", "hedged"), ("transient", "timeout_total"), ("ok", None),
    ]  # fmt: skip
    assert rig.engine.counts.done == 130


def test_an_item_that_nobody_can_answer_fails_as_it_would_have(tmp_path: Path) -> None:
    """Two tries, three requests each: the first one made room, the other two took too long."""

    class Poison(Races):
        async def send(self, request: Request, sink: Sink) -> None:
            if b"What is 120 " in request.body:
                self._script = [(500.0, LOST)]
            await super().send(request, sink)

    provider = Poison((500.0, LOST), (500.0, LOST))
    rig, ending = race(tmp_path / "run.db", provider, limits=Limits(total=15.0), hedge=0.05)
    assert ending == "done"
    outcomes = [attempt[1:3] for attempt in ledger(rig.path)]
    assert outcomes == 2 * [("cancelled", "hedged"), ("transient", "timeout_total"), ("transient", "timeout_total")]
    counts = rig.engine.counts
    assert (counts.failed, counts.done, counts.retries, counts.hedges, counts.hedge_wins) == (1, 129, 1, 4, 0)
    assert {name: getattr(counts, name) for name in recount(rig.path)} == recount(rig.path)


# -- what holds it back


def hedge_in_flight(rig: Rig) -> bool:
    return Races.SPECIAL in rig.engine.hedging.others


def test_a_drain_lets_both_go_on_and_the_first_answer_wins(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await until(lambda: hedge_in_flight(rig))
        rig.engine.steer.drain()

    rig, ending = race(tmp_path / "run.db", Races((9.0, LOST), (7.0, WON)), live)
    assert ending == "drained"
    assert ledger(rig.path) == [(1, "cancelled", "hedged", ""), (2, "ok", None, "won")]


def test_a_cancel_cuts_both_and_the_item_goes_again_with_a_resume(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await until(lambda: hedge_in_flight(rig))
        flying = rig.engine.gate.in_flight
        assert f"{flying} requests cut off" in rig.engine.steer.cancel().message

    provider = Races((50.0, LOST), (40.0, LOST))
    rig, ending = race(tmp_path / "run.db", provider, live)
    assert ending == "cancelled"
    assert [attempt[:3] for attempt in ledger(rig.path)] == [
        (1, "cancelled", "cancelled"), (2, "cancelled", "cancelled"),
    ]  # fmt: skip
    assert ask(rig.path, f"SELECT state FROM items WHERE idx = {Races.SPECIAL}") == [("queued",)]
    rig, ending = race(tmp_path / "run.db", provider)
    assert ending == "done"
    assert [attempt[:2] for attempt in ledger(rig.path)] == [(1, "cancelled"), (2, "cancelled"), (3, "ok")]


def test_a_pause_sends_no_hedge(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await until(lambda: Races.SPECIAL in rig.engine.flights)
        rig.engine.steer.pause()
        await passed(rig, 20)
        assert not rig.happened("hedge")
        rig.engine.steer.resume()
        await until(lambda: bool(rig.happened("hedge")))

    rig, ending = race(tmp_path / "run.db", Races((60.0, LOST), (30.0, WON)), live)
    assert ending == "done"
    assert ledger(rig.path)[1][3] == "won"


def test_it_can_be_turned_on_for_the_last_one_that_does_not_answer(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await until(lambda: rig.engine.counts.done == 129)
        await passed(rig, 20)
        assert not rig.happened("hedge")
        assert rig.engine.steer.configure({"hedge": 0.01}).message == "hedge off → 1%"
        await passed(rig, 0.3)
        assert [idx for _, _, idx, _ in rig.happened("hedge")] == [Races.SPECIAL]
        assert rig.engine.steer.configure({"hedge": None}).ok
        await passed(rig, 1)
        assert hedge_in_flight(rig), "one that was sent goes on"

    rig, ending = race(tmp_path / "run.db", Races((500.0, LOST), (60.0, WON)), live, hedge=None)
    assert (ending, rig.engine.counts.hedge_wins) == ("done", 1)
    assert ledger(rig.path) == [(1, "cancelled", "hedged", ""), (2, "ok", None, "won")]


def test_while_a_quota_holds_the_run_none_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EARLY, 20)
    sim = SimOptions(seed=3, ttft_ms=300, answer_tokens=8, faults={"hang": 0.08})
    played = play(tmp_path / "run.db", 200, sim, hedge=0.2, concurrency=40, quotas=Quotas(rpm=240))
    counts = check_books(played.rig.path, [played.rig], 0.2)
    fresh = [at for at, _, _, number in played.rig.happened("send") if number == "1"]
    assert counts.done == 200
    assert all(at >= max(fresh) for at, *_ in played.rig.happened("hedge")), "only when nothing new waits for the quota"
    assert counts.hedges > 0


# -- whatever happens


class HedgedStorm(Storm):
    """The same storm, hedged."""

    def __init__(self, path: Path, seed: int) -> None:
        super().__init__(path, seed)
        self.sim = replace(self.sim, faults={**self.sim.faults, "hang": 0.06, "stall": 0.06})
        self.given |= {"hedge": 0.5}
        self.hedged = 0

    def look(self, rig: Rig) -> None:
        super().look(rig)
        engine = rig.engine
        self.hedged = max(self.hedged, engine.counts.hedges)
        flying = [flight for flight in engine.flying if flight.phase != "store"]
        if len(flying) > engine.gate.in_flight + 1 or len({id(flight) for flight in flying}) != len(flying):
            self.wrong.append(f"{rig.loop.time():.3f}: {engine!r} {engine.hedging!r} {flying}")


@pytest.mark.parametrize("seed", range(8))
def test_a_stormy_run_stays_right(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EARLY, 8)
    storm = HedgedStorm(tmp_path / "run.db", seed)
    image: Path = virtually(storm.first)
    rig: Rig = virtually(lambda: storm.second(image))
    assert storm.wrong == []
    with RunReader(image) as reader:
        counts = reader.counts()
    assert rig.engine.counts == counts
    assert {name: getattr(counts, name) for name in recount(image)} == recount(image)
    assert counts.unfinished == 0
    assert ask(image, "SELECT count(*) FROM attempts WHERE outcome = 'ok'")[0][0] == counts.done
    assert storm.hedged > 0 or seed % 3 == 0


@pytest.mark.parametrize("seed", range(8))
def test_the_books_balance_whatever_the_provider_does(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EARLY, 10)
    faults = {"500": 0.05, "400": 0.02, "hang": 0.06, "stall": 0.06, "reset": 0.04, "truncate": 0.03, "garbage": 0.03}
    sim = SimOptions(seed=seed, ttft_ms=200, answer_tokens=10, faults=faults, rpm=[None, 900][seed % 2],
                     headers=["none", "openai"][seed // 2 % 2])  # fmt: skip
    played = play(tmp_path / "run.db", 150, sim, seed=seed, hedge=0.5, concurrency=[4, 12][seed % 2], max_retries=2,
                  limits=Limits(first_token=6, idle=4, total=20), delay=[0.002, 0.4][seed // 4],
                  stream=seed % 4 != 3)  # fmt: skip
    assert played.ending == "done"
    counts = check_books(played.rig.path, [played.rig], 0.5)
    assert counts.hedges > 0
    assert counts.done + counts.failed == 150


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), moment=st.floats(0.5, 14.0), delay=st.sampled_from([0.0, 0.02, 0.4]))
def test_a_crash_at_any_moment_repeats_at_most_two_caps(
    tmp_path_factory: pytest.TempPathFactory, seed: int, moment: float, delay: float
) -> None:
    folder, cap, items = tmp_path_factory.mktemp("crash"), 4, 60
    faults = {"500": 0.1, "hang": 0.1, "stall": 0.1}
    sim = SimOptions(seed=seed, ttft_ms=200, answer_tokens=8, faults=faults)
    common: dict[str, Any] = {"concurrency": cap, "limits": Limits(first_token=4, idle=2, total=20), "hedge": 0.5}
    most = [0]

    async def crash() -> tuple[Rig, Path]:
        rig = Rig(folder / "run.db", items, sim, seed=seed, delay=delay, **common)
        rig.probes.append(lambda: most.append(max(most.pop(), rig.engine.gate.in_flight + rig.engine.uncommitted)))
        run = rig.loop.create_task(rig.engine.run())
        await until(lambda: run.done() or rig.loop.time() >= moment, step=0.013)
        return rig, rig.crash(folder / "image.db")

    async def go_on(image: Path) -> Rig:
        rig = Rig(image, items, sim, seed=seed + 1, max_retries=9, **common)
        assert await rig.run() == "done"
        return rig

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EARLY, 4)
        first, image = virtually(crash)
        committed = {idx for (idx,) in ask(image, "SELECT idx FROM items WHERE state != 'queued'")}
        assert first.tally.requests - recount(image)["attempts"] <= 2 * cap
        assert most[0] <= 2 * cap
        second = virtually(lambda: go_on(image))
    assert committed.isdisjoint(event[2] for event in second.happened("send", "hedge"))
    with RunReader(image) as reader:
        assert [row["index"] for row in reader.results() if row["state"] != "queued"] == list(range(items))
        counts = reader.counts()
    assert {name: getattr(counts, name) for name in recount(image)} == recount(image)


def test_a_crash_between_two_requests_of_an_item(tmp_path: Path) -> None:
    """The second one has failed and is in the ledger, the first one is lost: the numbers go on behind both."""

    async def crash() -> Path:
        rig = Rig(tmp_path / "run.db", 130, SimOptions(), transport=Races((60.0, LOST), (3.0, BROKEN)), stream=False,
                  hedge=0.01)  # fmt: skip
        rig.loop.create_task(rig.engine.run())
        await until(lambda: bool(rig.happened("spare")))
        await asyncio.sleep(0.1)
        return rig.crash(tmp_path / "image.db")

    image = virtually(crash)
    assert ledger(image) == [(2, "transient", "http_500", "")]
    assert in_life(image, 0, lambda rig: passed(rig, 1), transport=Races((0, WON), (0, WON)), stream=False)[1] == "done"
    assert ledger(image) == [(2, "transient", "http_500", ""), (3, "ok", None, "won")]


# -- what is told of it


def test_the_row_shows_the_request_that_is_further(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await until(lambda: len(rig.engine.hedging.others) > 0, step=0.05)
        (idx,) = list(rig.engine.hedging.others)[:1]
        snapshot = rig.snapshot()
        assert snapshot.hedging >= 1
        assert snapshot.queued == snapshot.counts.unfinished - len(rig.engine.flights)
        (row,) = rig.engine.steer.live([idx], full=True).rows
        assert row.hedged
        other = rig.engine.hedging.others[idx]
        await until(lambda: other.tokens > rig.engine.flights.get(idx, other).tokens or other.phase == "store")
        if other.phase != "store":
            assert rig.engine.steer.live([idx], full=True).rows[0].attempt == 2
        assert all(row.idx in rig.engine.flights for row in rig.engine.steer.live(None, full=False).rows)

    sim = replace(STRAGGLING, seed=1, faults={"hang": 0.05}, token_rate=10)
    rig, ending = in_life(tmp_path / "run.db", 300, live, sim, hedge=0.1, concurrency=30, limits=Limits(first_token=30))
    assert ending == "done"
    check_books(rig.path, [rig], 0.1)


def test_a_scrape_a_status_and_a_summary_tell_of_hedges() -> None:
    counts = replace(NOW.counts, hedges=12, hedge_wins=9, hedge_tokens=1_450, hedge_cost=0.03)
    now = replace(NOW, counts=counts, hedging=4)
    found = scrape(now)
    for name, value in (("hedges", 12), ("hedge_wins", 9), ("hedge_tokens", 1_450), ("hedge_cost_usd", 0.03)):
        assert one(found, f"batchdeck_{name}_total") == value
    assert one(found, "batchdeck_hedging") == 4
    assert one(found, "batchdeck_items", state="in_flight") == 20
    states = [value for (name, _), value in found.items() if name == "batchdeck_items"]
    assert sum(states) == counts.items
    assert "  hedges    12 sent, 9 answered first, $0.0300 extra" in list(live_lines(now))
    assert hedges(replace(counts, hedge_guesses=2)) == "12 sent, 9 answered first, ≥ $0.0300 extra"
    unpriced = Counts(hedges=3, hedge_wins=1, hedge_tokens=220, hedge_guesses=2)
    assert hedges(unpriced) == "3 sent, 1 answered first, at least 220 tokens extra"
    assert not any("hedges" in line for line in live_lines(NOW))
