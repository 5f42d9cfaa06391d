"""What the account may send now: every limit that is known, of whoever said it, asked as one.

A limit comes from a person (a flag), from the provider's headers, or is learned from its 429s. Requests are spaced so
that no minute holds more than the limit (``bucket``), and held before the provider would refuse them, as its answers
tell what remains (``mirror``). Tokens are reserved by estimate and settled by real usage. Who asks first goes first:
the caller asks for one request until it goes, so none can be overtaken or starve.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from batchdeck.limits.bucket import Bucket
from batchdeck.limits.days import Day
from batchdeck.limits.estimate import Estimate, Need
from batchdeck.limits.headers import Reading
from batchdeck.limits.mirror import Mirror, Note
from batchdeck.limits.pace import Pace
from batchdeck.limits.trail import Trail
from batchdeck.model import Meter, Quotas, QuotaState, Reason

MINUTE, DAY = 60.0, 86_400.0
KNOCK = 600.0
"""Seconds after which a daily limit is asked again at the latest: it may be another than was said."""
MOST_REMAINING = 1e9
"""What is beyond it, or beyond the limit itself, is a server's way to say that it does not know."""
MOST_TOKENS = 1e7
"""Tokens of one request that are believed."""
FRESH = 0.02
"""Seconds in which one more answer's headers would tell nothing new."""
_FLAGS: dict[str, Meter] = {
    "rpm": "requests",
    "tpm": "tokens",
    "input_tpm": "input_tokens",
    "output_tpm": "output_tokens",
    "rpd": "requests_day",
    "tpd": "tokens_day",
}
_SPACED: tuple[Meter, ...] = ("requests", "tokens", "input_tokens", "output_tokens")
"""Counted by the minute."""
_REASONS: dict[Meter, Reason] = {
    "requests": "rpm",
    "tokens": "tpm",
    "input_tokens": "tpm",
    "output_tokens": "tpm",
    "requests_day": "daily",
    "tokens_day": "daily",
}
Source = Literal["flag", "header", "learned", "shared"]


class TooLarge(msgspec.Struct, frozen=True):
    """A request that could never be sent, and why."""

    message: str


class Ticket:
    """A request that was let go: what was reserved for it, and how much had been sent up to and with it."""

    __slots__ = ("is_open", "mark", "need", "notes", "sent_at", "size")

    def __init__(self, need: Need, mark: Need, sent_at: float, size: int) -> None:
        self.need = need
        self.mark = mark
        self.sent_at = sent_at
        self.size = size
        self.is_open = True
        """Whether its reservation stands: nothing has told yet what it really used."""
        self.notes: dict[Meter, Note] = {}
        """What was forecast of each meter that the provider tells of."""


class _Limit:
    """One meter: the limits said of it, the bucket that spaces requests, and the mirror of the provider's own count."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.flag: float | None = None
        self.said: float | None = None
        self.said_at = -math.inf
        """When the newest request was sent whose answer told it: an older answer may come later."""
        self.shared: float | None = None
        """Said by another run of the account, for as long as it is alive."""
        self.window = DAY if meter.endswith("_day") else MINUTE
        self.bucket: Bucket | None = None
        self.mirror: Mirror | None = None
        self.day: Day | None = None
        self.share = 1.0
        self.was_shared = False
        """Whether another run of this machine used it too."""

    def __repr__(self) -> str:
        return f"<{self.meter} {self.limit} {self.bucket} {self.mirror}>"

    @property
    def limit(self) -> float | None:
        known = [limit for limit in (self.flag, self.said) if limit is not None]
        return min(known) if known else self.shared

    @property
    def source(self) -> Source:
        if self.flag is not None and self.flag == self.limit:
            return "flag"
        return "header" if self.said is not None else "shared"

    @property
    def _is_strict(self) -> bool:
        """Whether only the bucket keeps the limit: what remains at the provider is not known, or a person said less."""
        return self.mirror is None or self.source != "header"

    def resize(self, now: float) -> None:
        """The limit or this run's share of it is another now."""
        limit = self.limit
        if self.window == DAY:
            # A day's quota is there to be used up, not to be spaced over the day.
            counted = self.flag if self.flag is not None else self.shared if self.said is None else None
            if counted is None:
                self.day = None
            elif self.day is None:
                self.day = Day(counted)
            else:
                self.day.limit = counted
        elif limit is None:
            self.bucket = None
        elif self.bucket is None:
            self.bucket = Bucket(limit, self.window, now, self.share, strict=self._is_strict)
        else:
            self.bucket.refill(now)
            self.bucket.resize(limit, self.share, strict=self._is_strict)
        if self.said is not None and self.mirror is not None:
            self.mirror.resize(self.said / self.window, now)

    def wait(self, now: float, amount: float, mark: float) -> float:
        wait = self.day.wait(now, amount) if self.day is not None else 0.0
        if self.mirror is not None:
            wait = max(wait, min(KNOCK, self.mirror.wait(now, mark, amount)))
            if self.window == MINUTE and self.said is not None and not self.was_shared:
                # Runs that share an account are spaced by their shares, and would be strangers to each other here.
                wait = max(wait, self.mirror.glide(now, amount))
        if self.bucket is not None:
            # What the provider held back may be made up for: by its own count, not by ours.
            self.bucket.blocked = wait > 0 and self.source == "header"
            wait = max(wait, self.bucket.wait(now, amount))
        return wait


class Quota:
    """One account as one run sees it. Times are the loop's seconds."""

    def __init__(self, quotas: Quotas, now: float, *, max_tokens: int | None = None) -> None:
        self.pace = Pace(now)
        self.estimate = Estimate(max_tokens)
        self.holders = 1
        self.is_short = False
        """Whether it has held a request since somebody put this back."""
        self._limits: dict[Meter, _Limit] = {}
        self._sent_requests = self._sent_in = self._sent_out = 0.0
        self._trails = {meter: Trail() for meter in _SPACED}
        self._heard_at = -1.0
        self._pace_share = 1.0
        self._open = dict.fromkeys(_REASONS, 0.0)
        self.used = dict.fromkeys(_REASONS, 0.0)
        """All that was sent in this session, by meter: estimated, then corrected when it was answered."""
        self.configure(quotas, now)

    def __repr__(self) -> str:
        return f"<Quota {list(self._limits.values())} {self.pace}>"

    def configure(self, quotas: Quotas, now: float) -> None:
        """What a person says of the account, from now on."""
        for name, meter in _FLAGS.items():
            flag = getattr(quotas, name)
            if flag is not None or meter in self._limits:
                limit = self._limit(meter)
                limit.flag = flag
                limit.resize(now)

    def share(
        self, shares: Mapping[Meter, float], limits: Mapping[Meter, float], pace: float | None, holders: int,
        left: Mapping[Meter, float], now: float,
    ) -> None:  # fmt: skip
        """What other runs of the account leave to this one, and what they know of it.

        pace: requests a second of the whole account, if they are news. left: amounts of the limits a day, to be used
        from now on.
        """
        self.holders = holders
        for meter in limits:
            self._limit(meter)
        self._pace_share = shares.get("requests", 1.0 / holders)
        # A tiny share is that of a run which has not got its own yet: it tells nothing of the account.
        self.pace.weight = 1.0 / self._pace_share if self._pace_share >= 0.001 else 1.0
        for meter, limit in self._limits.items():
            limit.shared = limits.get(meter)
            limit.share = shares.get(meter, 1.0)
            limit.was_shared |= holders > 1
            limit.resize(now)
            if limit.day is not None:
                limit.day.spare = left.get(meter, math.inf)
        self.pace.adopt(pace, now)

    # -- asking

    def need(self, size: int, refusals: int = 0) -> Need:
        return self.estimate.need(size, refusals)

    def refuses(self, need: Need, *, was_refused: bool = False) -> TooLarge | None:
        """Why a request could never go: its prompt alone is more than a minute's (or a day's) worth of tokens.

        By a limit that a person said for this run. By one that a header told only when the provider has refused the
        request itself (``was_refused``): the header, or the estimate, may be wrong.
        """
        for meter in ("input_tokens", "tokens", "tokens_day"):
            limit = self._limits.get(meter)
            if limit is None:
                continue
            known = (limit.flag, limit.said if was_refused else None)
            most = min((one for one in known if one is not None), default=math.inf)
            if need.tokens_in > most:
                window = "day" if meter == "tokens_day" else "minute"
                return TooLarge(
                    f"the prompt has about {need.tokens_in:,.0f} tokens, and the account may send {most:,.0f} a"
                    f" {window}"
                )
        return None

    def wait(self, now: float, need: Need) -> tuple[float, Reason | None]:
        """Seconds until this request may go, and what holds it; (0, None): now."""
        longest, reason = 0.0, None
        for meter, limit in self._limits.items():
            wait = limit.wait(now, _amount(meter, need), self._mark(meter))
            if wait > longest:
                longest, reason = wait, _REASONS[meter]
        wait = self.pace.wait(now, self._pace_share)
        if wait > longest:
            longest, reason = wait, "rpm"
        self.is_short |= reason is not None
        return longest, reason

    def take(self, now: float, need: Need, size: int) -> Ticket:
        """The request goes."""
        self._sent_requests += need.requests
        self._sent_in += need.tokens_in
        self._sent_out += need.tokens_out
        for meter in self.used:
            self.used[meter] += _amount(meter, need)
            self._open[meter] += _amount(meter, need)
        self.pace.take(now)
        ticket = Ticket(need, Need(self._sent_in, self._sent_out, self._sent_requests), now, size)
        for meter, limit in self._limits.items():
            if limit.bucket is not None:
                limit.bucket.take(now, _amount(meter, need))
            if limit.day is not None:
                limit.day.take(now, _amount(meter, need))
            if limit.mirror is not None:
                ticket.notes[meter] = limit.mirror.note(now, _amount(meter, need), self._mark(meter))
        for meter, trail in self._trails.items():
            trail.add(now, _amount(meter, need))
        return ticket

    # -- learning

    def wants(self, now: float, status: int) -> bool:
        """Whether an answer's headers are worth reading now: at thousands a second, not each one is."""
        return status == 429 or now - self._heard_at >= FRESH

    def heard(self, ticket: Ticket, readings: Iterable[Reading], now: float) -> bool:
        """What an answer's headers said. True: a limit is new or another."""
        changed = False
        self._heard_at = now
        for reading in readings:
            limit = self._limit(reading.meter)
            if reading.limit is not None and reading.limit > 0 and ticket.sent_at >= limit.said_at:
                limit.said_at = ticket.sent_at
                if reading.limit != limit.said:
                    is_new = limit.bucket is None
                    limit.said = reading.limit
                    limit.resize(now)
                    changed = True
                    if is_new and limit.bucket is not None:
                        # The first wave went before anybody knew of the limit, and what it reserved will be given back.
                        first = min(self._open[reading.meter], reading.limit * limit.share)
                        limit.bucket.take(now, first)
            remaining = reading.remaining
            if remaining is not None and remaining <= (limit.said or MOST_REMAINING):
                if limit.mirror is None:
                    # Where nobody says the limit, what remains of it after the first request is near to it.
                    rate = (limit.limit or max(remaining, 1.0)) / limit.window
                    trail = self._trails.get(reading.meter, Trail())
                    limit.mirror = Mirror(rate, trail, limit.window)
                    limit.resize(now)
                note = ticket.notes.get(reading.meter)
                if note is None:
                    note = Note(_amount(reading.meter, ticket.need), _amount(reading.meter, ticket.mark))
                limit.mirror.told(remaining, reading.reset, note, ticket.sent_at, now, self._mark(reading.meter))
        return changed

    def refused(self, ticket: Ticket, now: float, *, tells: bool = True) -> None:
        """A 429. What no header explains lowers the pace; ``tells`` False: it came of something else than the rate."""
        explained = False
        self._close(ticket)
        for meter in self.used:
            if not meter.startswith("requests"):
                self.used[meter] -= _amount(meter, ticket.need)
        for meter, limit in self._limits.items():
            if limit.day is not None and meter != "requests_day":
                limit.day.take(now, -_amount(meter, ticket.need))
            if limit.bucket is not None and meter != "requests":
                # Refused requests count as requests with some providers, but use no tokens.
                limit.bucket.give(_amount(meter, ticket.need))
            if limit.mirror is not None:
                if meter in ticket.notes:
                    limit.mirror.refused(ticket.notes[meter], ticket.sent_at, now)
                level = limit.mirror.level(now)
                explained |= level is not None and level < _amount(meter, ticket.need) + 2 * limit.mirror.margin
            if meter in self._trails:
                self._trails[meter].amend(ticket.sent_at, -_amount(meter, ticket.need))
        if tells and not explained:
            self.pace.refused(now, ticket.sent_at)

    def forget_pace(self, now: float) -> None:
        """The 429s that it was learned from came of something else than a rate."""
        self.pace = Pace(now)

    def accepted(self) -> None:
        """The provider let a request in, whatever came of it."""
        self.pace.accepted()

    def settle(self, ticket: Ticket, tokens_in: int | None, tokens_out: int | None, now: float) -> None:
        """What a request really used, where its answer told."""
        self.estimate.learn(ticket.size, tokens_in, tokens_out)
        self._close(ticket)
        need = ticket.need
        real = Need(
            min(MOST_TOKENS, float(tokens_in)) if tokens_in is not None else need.tokens_in,
            min(MOST_TOKENS, float(tokens_out)) if tokens_out is not None else need.tokens_out,
        )
        for meter in self.used:
            self.used[meter] += _amount(meter, real) - _amount(meter, need)
        for meter, limit in self._limits.items():
            more = _amount(meter, need) - _amount(meter, real)
            if limit.bucket is not None:
                limit.bucket.give(more)
            if limit.day is not None and more:
                limit.day.take(now, -more)
            if more and meter in self._trails:
                self._trails[meter].amend(ticket.sent_at, -more)

    def _close(self, ticket: Ticket) -> None:
        """The reservation has become what it was for."""
        if ticket.is_open:
            ticket.is_open = False
            for meter in self._open:
                self._open[meter] -= _amount(meter, ticket.need)

    # -- what others may know

    @property
    def known(self) -> dict[Meter, float]:
        """Limits by what a person or the provider said to this run."""
        found = {}
        for meter, limit in self._limits.items():
            if limit.limit is not None and (limit.flag is not None or limit.said is not None):
                found[meter] = limit.limit
        return found

    def states(self, now: float) -> tuple[QuotaState, ...]:
        found = []
        for meter, limit in self._limits.items():
            if limit.limit is None:
                continue
            remaining = limit.mirror.level(now) if limit.mirror is not None else None
            if limit.day is not None:
                remaining = limit.day.left(now) if remaining is None else min(remaining, limit.day.left(now))
            found.append(
                QuotaState(
                    meter=meter,
                    limit=limit.limit,
                    source=limit.source,
                    remaining=None if remaining is None else max(0.0, remaining),
                    rate=limit.limit * limit.share,
                )
            )
        if self.pace.rate is not None:
            pace = self.pace.rate * MINUTE
            found.append(
                QuotaState(meter="requests", limit=pace, source="learned", remaining=None, rate=pace * self._pace_share)
            )
        return tuple(found)

    def _limit(self, meter: Meter) -> _Limit:
        limit = self._limits.get(meter)
        if limit is None:
            limit = self._limits[meter] = _Limit(meter)
        return limit

    def _mark(self, meter: Meter) -> float:
        """All that was sent in this session."""
        match meter:
            case "requests" | "requests_day":
                return self._sent_requests
            case "input_tokens":
                return self._sent_in
            case "output_tokens":
                return self._sent_out
        return self._sent_in + self._sent_out


def _amount(meter: Meter, need: Need) -> float:
    match meter:
        case "requests" | "requests_day":
            return need.requests
        case "input_tokens":
            return need.tokens_in
        case "output_tokens":
            return need.tokens_out
    return need.tokens_in + need.tokens_out
