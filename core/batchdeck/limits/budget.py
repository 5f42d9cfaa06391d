"""What a run may use up: may one more request start, and must the run stop? A pure rule of counters and a time.

What is in flight will cost something that nobody knows yet. It is taken to cost what an answer of this session costs on
average, or what the newest ones cost where that is more, since prompts often grow along an input. Beside others in
flight, twice that must still fit (``SAFETY``): where no answer costs more than twice the cheapest, what is spent then
passes the limit by no more than the first few answers, which nothing was known of. Near its end a run so becomes
narrower and narrower, and the last requests go one by one.
"""

from __future__ import annotations

from collections import deque
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
WINDOW = 20
"""The newest answers, of which it is asked whether they tell what they used; so many that broke off while nothing is
known of any other are too many as well."""
SHARE_FROM = 20
"""Items settled, from which on a share of failed ones means something."""
_ROUNDING = 1e-9


class _Use:
    """What answers use of one budget, in dollars or in tokens.

    ``pending``: of answers that are not in ``Counts`` yet. ``unknown``: whole answers that did not tell what they used
    and that ``Counts`` does not hold; ``cut``: those that broke off before they could, which it never holds.
    ``before``: what one used on average in earlier sessions, 0 where there were none.
    """

    __slots__ = ("_before", "_mean", "_newest", "_recent", "blind", "cut", "known", "pending", "unknown")

    def __init__(self, before: float) -> None:
        self._before = before
        self.known = 0
        self.blind = 0
        self.cut = 0
        self.unknown = 0
        self.pending = 0.0
        self._mean = 0.0
        self._recent = 0.0
        self._newest: deque[bool] = deque(maxlen=WINDOW)

    @property
    def average(self) -> float:
        """What an answer uses, as far as is known; 0 while nothing is."""
        return max(self._mean, self._recent) if self.known else self._before

    @property
    def expected(self) -> float:
        """What one more answer must have room for; 0 while nothing is known."""
        # Of earlier sessions the newest answers are not known, which may have been the larger ones.
        return self.average if self.known else SAFETY * self._before

    @property
    def is_blind(self) -> bool:
        """Most of the newest answers do not tell what they used, so that it cannot be guessed from the others."""
        blind = self._newest.count(False)
        return (blind >= BLIND and 2 * blind > len(self._newest)) or self.is_cut

    @property
    def is_cut(self) -> bool:
        """Answers break off one after another, and none was ever whole: they may cost anything."""
        return not self.known and not self._before and self.cut >= WINDOW

    def learn(self, amount: float) -> None:
        self.known += 1
        self._newest.append(True)
        self._mean += (amount - self._mean) / self.known
        self._recent += max(RECENT, 1 / self.known) * (amount - self._recent)

    def miss(self, whole: bool) -> None:
        """An answer of unknown size: a whole one, or one that broke off."""
        if whole:
            self.blind += 1
            self.unknown += 1
            self._newest.append(False)
        else:
            self.cut += 1

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

    def __repr__(self) -> str:
        return (
            f"<Spending {self.in_flight} in flight, about {_dollars(self._cost.average)} and"
            f" {self._tokens.average:.0f} tokens each>"
        )

    def change(self, budget: Budget) -> None:
        """Another budget from now on; what was learned stays."""
        self.budget = budget

    def sent(self) -> None:
        """One more request is in flight."""
        self.in_flight += 1

    def landed(self, tokens: int, cost: float | None, whole: bool = False, cut: bool = False) -> None:
        """One came back, however it went.

        cost: US dollars, None where it is not known or where there is nothing to pay. whole: it is a good answer, so
        that no cost and no tokens mean unknown ones. cut: an answer that began and broke off; it may be billed, too.
        """
        self.in_flight = max(0, self.in_flight - 1)
        self._tokens.pending += tokens
        if tokens:
            self._tokens.learn(tokens)
        elif whole or cut:
            self._tokens.miss(whole)
        if cost is not None:
            self._cost.pending += cost
            self._cost.learn(cost)
        elif whole or cut or tokens:
            self._cost.miss(whole)

    def committed(self, tokens: int, cost: float | None, whole: bool = False, cut: bool = False) -> None:
        """What ``landed`` told is in ``Counts`` from now on: the same values."""
        self._tokens.pending = max(0.0, self._tokens.pending - tokens)
        if cost is not None:
            self._cost.pending = max(0.0, self._cost.pending - cost)
        elif whole:
            # ``Counts.unpriced`` holds it; how many did not tell their tokens it does not say.
            self._cost.unknown = max(0, self._cost.unknown - 1)

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
        use = self._cost
        return counts.cost + use.pending + (counts.unpriced + use.unknown + use.cut) * use.average

    def _used(self, counts: Counts) -> float:
        """Tokens. Answers that do not tell them are taken for average ones."""
        use = self._tokens
        return counts.tokens_in + counts.tokens_out + use.pending + (use.unknown + use.cut) * use.average

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
            how_many = use.cut if use.is_cut else use.blind
            why = f"cannot keep --max-cost: what {how_many:,} answers cost is not known, since "
            if use.is_cut:
                return why + "they broke off before they told; see why, or go on without it, with '--max-cost off'"
            if self._tokens.is_blind:
                return why + "they do not tell how many tokens they used; go on without it, with '--max-cost off'"
            return why + "the price of this model is not; launch with --price IN/OUT, or use --max-tokens-total"
        spent = self._spent(counts)
        if not self._is_used_up(use, spent, limit):
            return None
        each = _dollars(use.average)
        said = f"{_dollars(spent)} spent{_taken(use, counts.unpriced + use.unknown, 'cost', each)}"
        said += _next(use, spent, limit, f"costs about {each}")
        return f"the budget of {_dollars(limit)} is used up ({said}); raise it with --max-cost and resume"

    def _over_tokens(self, counts: Counts) -> str | None:
        limit, use = self.budget.max_tokens, self._tokens
        if limit is None:
            return None
        if use.is_blind:
            how = f"{use.cut:,} answers broke off before they told" if use.is_cut else "the answers do not tell"
            return (
                f"cannot keep --max-tokens-total: {how} how many tokens they used;"
                " go on without it, with '--max-tokens-total off'"
            )
        used = self._used(counts)
        if not self._is_used_up(use, used, limit):
            return None
        each = f"{use.average:,.0f}"
        said = f"{used:,.0f} used{_taken(use, use.unknown, 'size', each)}"
        said += _next(use, used, limit, f"takes about {each}")
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


def _taken(use: _Use, unknown: int, what: str, each: str) -> str:
    """What of the sum is a guess: ``, with 3 answers of unknown size and 1 that broke off taken for 23 each``."""
    if not use.average:
        return ""
    parts = [f"{unknown:,} {'answer' if unknown == 1 else 'answers'} of unknown {what}"] if unknown else []
    if use.cut:
        parts.append(f"{use.cut:,} that broke off")
    return f", with {' and '.join(parts)} taken for {each} each" if parts else ""


def _next(use: _Use, spent: float, limit: float, takes: str) -> str:
    """Why it stops before the limit: one more is not sure to fit."""
    if spent >= limit:
        return ""
    more = "" if _passes(spent + use.average, limit) else " and may take more"
    return f", the next answer {takes}{more}"


def _passes(amount: float, limit: float) -> bool:
    """More than the limit, and not only by the rounding of many sums."""
    return amount > limit * (1 + _ROUNDING)


def _dollars(amount: float) -> str:
    """``$5.00``, ``$0.000135``: small ones with the digits that count."""
    if amount >= 1 or amount == round(amount, 2):
        return f"${amount:,.2f}"
    return f"${amount:.6f}".rstrip("0")
