"""The look-ahead gives every item once, in order, however reading, waiting and new arrivals are mixed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchdeck.engine.queue import WorkQueue
from batchdeck.model import Item
from batchdeck.store.runfile import RETRY_LANE


def item(idx: int, position: int) -> Item:
    return Item(idx=idx, variant=0, position=position, revision=0, data="{}", attempts=0)


class Lanes(RuleBasedStateMachine):
    """A run file that rows are added to and put back in, read through a queue; only the order of events is free."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = WorkQueue()
        self.stored: list[Item] = []
        self.given: list[int] = []
        self.held: list[tuple[float, Item]] = []
        self.now = 0.0
        self.ingested = 0
        self.put_back = 0

    @initialize(count=st.integers(0, 5))
    def begin(self, count: int) -> None:
        self.arrive(count)

    @rule(count=st.integers(1, 12))
    def arrive(self, count: int) -> None:
        for _ in range(count):
            self.stored.append(item(self.ingested, self.ingested))
            self.ingested += 1
        self.queue.ingested()

    @rule(count=st.integers(1, 4))
    def retry(self, count: int) -> None:
        for _ in range(count):
            self.stored.append(item(1_000_000 + self.put_back, RETRY_LANE + self.put_back))
            self.put_back += 1
        self.queue.retried()

    @precondition(lambda self: not self.queue.is_dry)
    @rule(asked=st.integers(1, 9))
    def refill(self, asked: int) -> None:
        after, before = self.queue.refill()
        rows = sorted((row for row in self.stored if after < row.position < before), key=lambda row: row.position)
        self.queue.extend(rows[:asked], len(rows) < asked, after)

    @rule(seconds=st.floats(0.0, 5.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(fresh=st.booleans(), again=st.booleans(), seconds=st.floats(0.0, 20.0))
    def take(self, fresh: bool, again: bool, seconds: float) -> None:
        due = sorted(until for until, _ in self.held if until <= self.now)
        work = self.queue.pop(self.now, fresh=fresh)
        if due:
            assert work is not None
            mine = next(entry for entry in self.held if entry[1] is work.item)
            assert mine[0] == due[0]
            self.held.remove(mine)
        elif work is not None:
            assert fresh
            self.given.append(work.item.position)
        if work is not None and again:
            self.queue.wait(work, self.now + seconds)
            self.held.append((self.now + seconds, work.item))

    @invariant()
    def it_says_what_it_holds(self) -> None:
        assert self.queue.backoff == len(self.held)
        assert self.queue.next_due() == (min(until for until, _ in self.held) if self.held else None)
        assert len(self.given) == len(set(self.given))
        for lane in (False, True):
            positions = [position for position in self.given if (position >= RETRY_LANE) == lane]
            assert positions == sorted(positions)
        if self.queue.is_empty:
            assert len(self.given) == len(self.stored)

    def teardown(self) -> None:
        while not self.queue.is_empty:
            if not self.queue.is_dry:
                self.refill(3)
            self.now += 30.0
            while self.queue.ready or self.queue.backoff:
                self.take(fresh=True, again=False, seconds=0.0)
        assert sorted(self.given) == sorted(row.position for row in self.stored)


TestLanes = Lanes.TestCase
TestLanes.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.integers(0, 10_000), unique=True, max_size=60), st.integers(1, 20))
def test_what_was_put_back_goes_behind_what_was_ingested(positions: list[int], asked: int) -> None:
    rows = [item(n, position) for n, position in enumerate(sorted(positions))]
    rows += [item(90_000 + n, RETRY_LANE + n) for n in range(5)]
    queue, order = WorkQueue(), []
    while not queue.is_empty:
        if not queue.is_dry:
            after, before = queue.refill()
            lane = [row for row in rows if after < row.position < before]
            queue.extend(lane[:asked], len(lane) < asked, after)
        while (work := queue.pop(0.0, fresh=True)) is not None:
            order.append(work.item.position)
    assert order == [row.position for row in rows]


def test_a_restart_reads_from_the_beginning_again() -> None:
    queue = WorkQueue()
    queue.extend([item(0, 0), item(1, 1)], False, -1)
    assert queue.pop(0.0, fresh=True) is not None
    assert repr(queue) == "<WorkQueue 1 ready, 0 in backoff>"
    queue.restart()
    assert queue.refill() == (-1, RETRY_LANE)
    assert (queue.ready, queue.is_empty) == (0, False)
