"""What a run may use up: may one more request start, and must the run stop? A pure rule of counters and a time.

What is in flight will cost something that nobody knows yet. It is taken to cost what an answer of this session costs on
average, or what the newest ones cost where that is more, since prompts often grow along an input. Beside others in
flight, twice that must still fit (``SAFETY``): where no answer costs more than twice the cheapest, what is spent then
passes the limit by no more than the first few answers, which nothing was known of. Near its end a run so becomes
narrower and narrower, and the last requests go one by one.
"""

from __future__ import annotations

from datetime import datetime

from batchdeck.model import Budget, Counts

FIRST = 4
"""Requests in flight at most while no answer has told what one costs."""
SAFETY = 2.0
"""How much more than expected what is in flight may use."""
RECENT = 1 / 8
"""Weight of the newest answer in the moving average."""
BLIND = 3
"""Answers that do not tell what they used, from which a limit cannot be kept."""
SHARE_FROM = 20
"""Items settled, from which on a share of failed ones means something."""
_ROUNDING = 1e-9


class _Use:
    """What answers use of one budget, in dollars or in tokens.

    ``pending``: of answers that are not in ``Counts`` yet. ``known`` and ``blind``: answers of this session that told
    what they used, and that did not. ``before``: what one used on average in earlier sessions, 0 where there were none.
    """

    __slots__ = ("_before", "_mean", "_recent", "blind", "known", "pending")

    def __init__(self, before: float) -> None:
        self._before = before
        self.known = 0
        self.blind = 0
        self.pending = 0.0
        self._mean = 0.0
        self._recent = 0.0

    @property
    def expected(self) -> float:
        """What one more answer is likely to use; 0 while nothing is known."""
        # Of earlier sessions the newest answers are not known, which may have been the larger ones.
        return max(self._mean, self._recent) if self.known else SAFETY * self._before

    @property
    def is_blind(self) -> bool:
        """Most answers do not tell what they used, so that it cannot be guessed from the others."""
        return self.blind >= BLIND and self.blind > self.known

    def learn(self, amount: float) -> None:
        self.known += 1
        self._mean += (amount - self._mean) / self.known
        self._recent += max(RECENT, 1 / self.known) * (amount - self._recent)

    def needs(self, in_flight: int) -> float:
        """What those in flight and one more may use."""
        return self.expected * (SAFETY * (in_flight + 1) if in_flight else 1.0)


class Spending:
    """One session of a run: what it has used, what is on its way, and where it stops.

    Each request is told three times: ``sent``, ``landed`` when it is back, and ``committed`` when ``Counts`` holds it.
    """

    def __init__(self, budget: Budget, counts: Counts | None = None) -> None:
        """counts: what earlier sessions used, so that a budget that they used up is not asked for more."""
        before = Counts() if counts is None else counts
        self.budget = budget
        self.in_flight = 0
        self._cost = _Use(before.cost / max(1, before.done - before.unpriced))
        self._tokens = _Use((before.tokens_in + before.tokens_out) / max(1, before.done))
        self._unpriced = 0

    def __repr__(self) -> str:
        return (
            f"<Spending {self.in_flight} in flight, about {_dollars(self._cost.expected)} and"
            f" {self._tokens.expected:.0f} tokens each>"
        )

    def change(self, budget: Budget) -> None:
        """Another budget from now on; what was learned stays."""
        self.budget = budget

    def sent(self) -> None:
        """One more request is in flight."""
        self.in_flight += 1

    def landed(self, tokens: int, cost: float | None, whole: bool = False) -> None:
        """One came back, however it went.

        cost: US dollars, None where it is not known or where there is nothing to pay. whole: it is a good answer, so
        that no cost and no tokens mean unknown ones.
        """
        self.in_flight = max(0, self.in_flight - 1)
        self._tokens.pending += tokens
        if tokens:
            self._tokens.learn(tokens)
        elif whole:
            self._tokens.blind += 1
        if cost is not None:
            self._cost.pending += cost
            self._cost.learn(cost)
        elif _is_unpriced(tokens, whole):
            self._cost.blind += 1
            self._unpriced += 1

    def committed(self, tokens: int, cost: float | None, whole: bool = False) -> None:
        """What ``landed`` told is in ``Counts`` from now on: the same values."""
        self._tokens.pending = max(0.0, self._tokens.pending - tokens)
        if cost is not None:
            self._cost.pending = max(0.0, self._cost.pending - cost)
        elif _is_unpriced(tokens, whole):
            self._unpriced = max(0, self._unpriced - 1)

    def holds(self, counts: Counts) -> bool:
        """What is in flight may use up the rest: start nothing more before some of it is back.

        With nothing in flight it holds only where ``over`` says to stop.
        """
        limits = self.budget
        if limits.max_cost is None and limits.max_tokens is None:
            return False
        return self._is_tight(self._cost, self._spent(counts), limits.max_cost) or self._is_tight(
            self._tokens, self._used(counts), limits.max_tokens
        )

    def over(self, counts: Counts, at: float) -> str | None:
        """The sentence to stop with, None while all is within its limit. at: wall time."""
        deadline = self.budget.deadline_at
        if deadline is not None and at >= deadline:
            moment = f"{datetime.fromtimestamp(deadline).astimezone():%Y-%m-%d %H:%M}"
            return f"the deadline of {moment} has passed; give a later one with --deadline and resume"
        return self._over_cost(counts) or self._over_tokens(counts) or self._over_errors(counts)

    def _spent(self, counts: Counts) -> float:
        """Dollars. Answers of unknown cost are taken for average ones."""
        unpriced = (counts.unpriced + self._unpriced) * self._cost.expected
        return counts.cost + self._cost.pending + unpriced

    def _used(self, counts: Counts) -> float:
        return counts.tokens_in + counts.tokens_out + self._tokens.pending

    def _is_tight(self, use: _Use, spent: float, limit: float | None) -> bool:
        if limit is None:
            return False
        if not use.expected and not use.known and self.in_flight >= FIRST:
            return True
        return spent >= limit or _passes(spent + use.needs(self.in_flight), limit)

    def _is_used_up(self, use: _Use, spent: float, limit: float) -> bool:
        return spent >= limit or (not self.in_flight and _passes(spent + use.expected, limit))

    def _over_cost(self, counts: Counts) -> str | None:
        limit, use = self.budget.max_cost, self._cost
        if limit is None:
            return None
        if use.is_blind:
            why = f"cannot keep --max-cost: what {use.blind} answers cost is not known, since "
            if self._tokens.is_blind:
                return why + "they do not tell how many tokens they used; go on without it, with '--max-cost off'"
            return why + "the price of this model is not; launch with --price IN/OUT, or use --max-tokens-total"
        spent = self._spent(counts)
        if not self._is_used_up(use, spent, limit):
            return None
        said = f"{_dollars(spent)} spent"
        unpriced = counts.unpriced + self._unpriced
        if unpriced:
            said += f", with {unpriced:,} of unknown cost taken for {_dollars(use.expected)} each"
        if spent < limit:
            said += f", the next answer costs about {_dollars(use.expected)}"
        return f"the budget of {_dollars(limit)} is used up ({said}); raise it with --max-cost and resume"

    def _over_tokens(self, counts: Counts) -> str | None:
        limit, use = self.budget.max_tokens, self._tokens
        if limit is None:
            return None
        if use.is_blind:
            return (
                "cannot keep --max-tokens-total: the answers do not tell how many tokens they used;"
                " go on without it, with '--max-tokens-total off'"
            )
        used = self._used(counts)
        if not self._is_used_up(use, used, limit):
            return None
        said = f"{used:,.0f} used" + (f", the next answer takes about {use.expected:,.0f}" if used < limit else "")
        return f"the budget of {limit:,.0f} tokens is used up ({said}); raise it with --max-tokens-total and resume"

    def _over_errors(self, counts: Counts) -> str | None:
        limit, failed = self.budget.max_errors, counts.failed - counts.bad_lines
        if limit is None or failed <= 0:
            return None
        settled = counts.done + failed
        if 0 < limit < 1:
            if settled < SHARE_FROM or failed < limit * settled * (1 - _ROUNDING):
                return None
            said = f"{failed:,} of {settled:,} items failed ({100 * failed / settled:.3g}%), --max-errors is"
            said += f" {100 * limit:.6g}%"
        elif failed < limit:
            return None
        else:
            said = f"{failed:,} {'item' if failed == 1 else 'items'} failed, --max-errors is {limit:,.0f}"
        return f"{said}; see why they failed, then raise it with --max-errors and resume"


def _is_unpriced(tokens: int, whole: bool) -> bool:
    return whole or tokens > 0


def _passes(amount: float, limit: float) -> bool:
    """More than the limit, and not only by the rounding of many sums."""
    return amount > limit * (1 + _ROUNDING)


def _dollars(amount: float) -> str:
    """``$5.00``, ``$0.000135``: small ones with the digits that count."""
    if amount >= 1 or amount == round(amount, 2):
        return f"${amount:,.2f}"
    return f"${amount:.6f}".rstrip("0")
