"""What the provider would still take: as it said, less what was sent, plus what comes back in its way of counting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchdeck.limits.mirror import Mirror, Note
from batchdeck.limits.trail import Trail


class Account:
    """A mirror and the requests that it has seen, one unit of amount each unless said."""

    def __init__(self, limit: float = 300.0) -> None:
        self.trail = Trail()
        self.mirror = Mirror(limit / 60.0, self.trail)
        self.mark = 0.0

    def send(self, now: float, amount: float = 1.0) -> Note:
        self.mark += amount
        self.trail.add(now, amount)
        return self.mirror.note(now, amount, self.mark)

    def hear(self, note: Note, sent_at: float, now: float, remaining: float, reset: float | None = None) -> None:
        self.mirror.told(remaining, reset, note, sent_at, now, self.mark)

    def wait(self, now: float, amount: float = 1.0) -> float:
        return self.mirror.wait(now, self.mark, amount)


@given(st.integers(2, 200), st.integers(0, 300))
def test_it_never_says_go_for_more_than_remains(remaining: int, sends: int) -> None:
    """Nothing comes back here, and no time passes."""
    account = Account()
    account.hear(account.send(0.0), 0.0, 0.0, remaining)
    gone = 0
    for _ in range(sends):
        if account.wait(0.0) > 0:
            break
        account.send(0.0)
        gone += 1
    assert gone == min(sends, remaining)


def test_nothing_is_known_before_an_answer_told() -> None:
    account = Account()
    account.send(0.0)
    assert account.mirror.level(1.0) is None
    assert account.wait(1.0, 1e9) == 0


def test_an_older_answer_that_comes_later_changes_nothing() -> None:
    account = Account()
    first, second = account.send(0.0), account.send(0.1)
    account.hear(second, 0.1, 0.5, 100)
    before = account.mirror.level(0.6)
    account.hear(first, 0.0, 0.6, 290)
    assert account.mirror.level(0.6) == before


def test_the_first_wave_is_known_by_its_answers_and_not_by_what_was_guessed() -> None:
    """Sixteen requests go before anything is known, each taken for ten times what it uses."""
    account = Account(6_000.0)
    notes = [Note(500.0, 500.0 * number) for number in range(1, 17)]
    account.mark = 500.0 * 16
    for number, note in enumerate(notes):
        account.hear(note, number * 0.01, 1.0 + number * 0.01, 5_950.0 - 50.0 * number)
    level = account.mirror.level(1.2)
    assert level is not None
    assert 5_100.0 < level < 5_400.0


def test_a_sliding_minute_gives_back_what_was_sent_a_minute_ago() -> None:
    """60 requests in the first seconds, and none after them: the provider counts each for 60 s."""
    account, sends = Account(60.0), 0
    log: list[float] = []

    def remaining(now: float) -> int:
        return 60 - sum(1 for at in log if at > now - 60.0)

    now = 0.0
    while now < 58.0:
        if account.wait(now) == 0 and remaining(now) > 0:
            note = account.send(now)
            log.append(now)
            account.hear(note, now, now, remaining(now))
            sends += 1
        now += 0.5 if sends < 50 else 1.0
    assert remaining(58.0) <= 1
    wait = account.wait(58.0, 5.0)
    assert 1.0 < wait < 8.0
    assert account.wait(58.0 + wait + 0.1, 5.0) == 0
    assert remaining(58.0 + wait + 0.1) >= 4


def test_a_bucket_is_known_to_fill() -> None:
    account, level, now = Account(60.0), 10.0, 0.0
    for _ in range(120):
        level = min(10.0, level + 0.5)
        now += 0.5
        if account.wait(now) == 0:
            level -= 1
            assert level > -1
            account.hear(account.send(now), now, now, max(0.0, level))
    # A request a second is what it gives back, and what it was asked for.
    assert account.mark >= 60


def test_in_its_first_minute_what_remains_is_made_to_last_with_a_stranger_on_the_account() -> None:
    """A sliding minute of 60, of which somebody else uses half: in spite of him it is not used up before it ends."""
    account, log = Account(60.0), [0.0]
    theirs = [2.0 * n + 1.0 for n in range(30)]
    now = 0.0
    account.hear(account.send(now), now, now, 59)
    while now < 55.0:
        taken = len(log) + sum(1 for at in theirs if at <= now)
        if account.wait(now) == 0 and account.mirror.glide(now, 1.0) == 0:
            log.append(now)
            assert taken < 60, f"used up after {now} s"
            account.hear(account.send(now), now, now, 60 - taken - 1)
        now += 0.1
    assert len(log) >= 25
    assert account.mirror.glide(61.0, 1.0) == 0


def test_a_small_bucket_is_not_spread_over_the_first_minute() -> None:
    account = Account(60.0)
    account.hear(account.send(0.0), 0.0, 0.0, 11)
    account.send(0.1)
    assert account.mirror.glide(0.1, 1.0) == 0


def test_without_a_word_for_long_one_request_asks_which_forecast_is_right() -> None:
    """A sliding minute that was used in its first quarter only: by that forecast nothing comes back for long."""
    account = Account(60.0)
    log = [0.5 * n for n in range(30)] + [60.25 + 0.5 * n for n in range(30)]
    for now in log:
        used = sum(1 for at in log if now - 60.0 < at <= now)
        account.hear(account.send(now), now, now, 35 - used if now < log[-1] else 0)
    asked = next(second for second in range(60) if account.wait(75.0 + second) == 0)
    assert asked == 10
    account.send(85.0)
    assert account.wait(85.5) > 0


@given(
    st.lists(
        st.tuples(st.floats(0.0, 70.0), st.floats(0.0, 30.0), st.sampled_from([0.0, 0.0, 1.0, 5.0]), st.booleans()),
        max_size=40,
    )
)
def test_whatever_answers_say_there_is_a_wait_that_ends(history: list[tuple[float, float, float, bool]]) -> None:
    """Limits of one, used up from the start, refused and told late: never an error, and a finite time to ask again."""
    account, now = Account(1.0), 0.0
    flying: list[tuple[float, float, Note, float, bool]] = []
    for gap, late, remaining, is_refused in history:
        now += gap
        for at, sent_at, note, said, refused in sorted(flying, key=lambda one: one[0]):
            if at <= now:
                account.hear(note, sent_at, at, said)
                if refused:
                    account.mirror.refused(note, sent_at, at)
        flying = [one for one in flying if one[0] > now]
        for wait in (account.wait(now), account.mirror.glide(now, 1.0)):
            assert 0.0 <= wait < 1e6
            assert wait == 0.0 or now + wait > now
        flying.append((now + late, now, account.send(now), remaining, is_refused))


def test_an_account_that_never_had_anything_left_is_no_error() -> None:
    account = Account(1.0)
    for sent, heard in [(1.0, 2.0), (64.1, 125.0), (135.0, 145.0), (146.0, 156.0)]:
        if sent == 64.1:
            account.send(64.0)
        note = account.send(sent)
        account.hear(note, sent, heard, 0.0)
        account.mirror.refused(note, sent, heard)
    assert account.wait(157.0) > 0


def test_a_refused_request_took_nothing() -> None:
    account = Account()
    account.hear(account.send(0.0), 0.0, 0.1, 50)
    before = account.mirror.level(0.2)
    note = account.send(0.2)
    account.mirror.refused(note, 0.2, 0.2)
    assert account.mirror.level(0.2) == before


def test_refusals_widen_the_margin_and_what_goes_well_narrows_it() -> None:
    account = Account()
    account.hear(account.send(0.0), 0.0, 0.0, 200)
    assert account.mirror.margin == 0
    note = account.send(1.0, 2.0)
    account.hear(note, 1.0, 1.0, 190)
    account.mirror.refused(note, 1.0, 1.0)
    widest = account.mirror.margin
    assert widest > 2.0
    for second in range(100, 300):
        note = account.send(float(second), 0.1)
        account.hear(note, float(second), float(second), account.mirror.level(float(second)) or 0.0)
    assert account.mirror.margin < widest


def test_where_nothing_comes_back_it_asks_again_when_the_window_turns() -> None:
    """A fixed minute that is used up, with a reset that says when it turns."""
    account = Account(60.0)
    for second in range(12):
        account.hear(account.send(float(second)), float(second), second + 0.1, 11 - second, reset=40.0 - second)
    wait = account.wait(12.0, 3.0)
    assert 0 < wait <= 28.0
    assert account.wait(39.0, 3.0) > 0
    assert account.wait(40.2, 3.0) == 0
    account.send(40.2, 3.0)
    # One request asks, the others wait for its answer.
    assert account.wait(40.3, 3.0) > 0


@given(st.floats(0.1, 1.0), st.floats(1.0, 200.0))
def test_a_limit_that_shrinks_leaves_no_more_than_it_holds(factor: float, remaining: float) -> None:
    account = Account()
    account.hear(account.send(0.0), 0.0, 0.0, remaining)
    account.mirror.resize(5.0 * factor, 1.0)
    level = account.mirror.level(1.0)
    assert level is not None
    assert level <= max(1.0, remaining * factor) + 1e-6
