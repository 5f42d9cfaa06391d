"""One account shared by several runs: what each tells the others, and what it may use until it asks again.

The rules are here, without a place to keep what is known: ``MemoryAccount`` keeps it for runs of one process,
``shared.SharedPool`` for all processes of this machine. Shares that are out at one time never add up to more than 1:
what somebody was granted counts as spent until it asks again, leaves, or has been silent for ``EXPIRY``.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Protocol, get_args

import msgspec

from batchdeck.errors import BatchdeckError
from batchdeck.limits.days import HOUR, HOURS
from batchdeck.limits.fair import Want, fair_shares
from batchdeck.model import Meter

METERS: tuple[Meter, ...] = get_args(Meter)
DAY_METERS: tuple[Meter, ...] = ("requests_day", "tokens_day")
EXPIRY = 2.0
"""Seconds after which a holder that has not asked again is taken for dead."""
TRICKLE = 1e-9
"""The share of somebody who comes while all is given out: more follows when the others have asked again."""
SAME_HOLD = 0.05
"""Seconds by which a hold must exceed the known one to be another: one that is told on must not grow by the telling."""


class PoolUnavailable(BatchdeckError):
    """What the runs of this machine use cannot be shared; a run can go on alone."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What one run could use until the next lease."""

    demand: dict[Meter, float]
    """A minute (a day for the day meters), if nothing held it; ``math.inf`` where the quota itself does, and for a
    meter that is not named."""
    used: dict[Meter, float]
    """Since its last lease."""
    limits: dict[Meter, float]
    """Those it knows now (flag, header), a minute or a day."""
    hold: float = 0.0
    """Seconds from now that a 429 holds the account, as this run knows it."""
    pace: float | None = None
    """Learned requests a minute of the whole account, where no header says the limit."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a run may use until it leases again, void after ``EXPIRY``."""

    shares: dict[Meter, float]
    """This run's share of each limit, all meters named, above 0 and at most 1."""
    limits: dict[Meter, float]
    """What any run alive knows: the newest saying of each meter."""
    hold: float
    """Seconds from now that anybody's 429 holds the account."""
    pace: float | None
    """The newest pace that a run alive has learned."""
    holders: int
    """Runs alive on this account, this one among them."""
    used_today: dict[Meter, float]
    """By all runs of this machine in the last 24 hours, counted by the hour."""
    left: dict[Meter, float] = {}
    """What this run may still use of each limit a day that is known, from when it asked on. There is nothing to wait
    for when it is used up, so it is an amount, and what is out with the others is not in it."""


class QuotaPool(Protocol):
    """One run's side of a shared account. ``lease`` may be called in a thread; it never raises."""

    priority: int
    """Weight among the runs of the account, 1 to 100; counts from the next lease on."""

    def lease(self, ask: Ask) -> Grant:
        """Ask again, every 250 ms."""

    def leave(self) -> None:
        """Give everything back now."""

    def close(self) -> None:
        """Leave for good."""


class Said(msgspec.Struct, frozen=True, array_like=True):
    """A figure and when it was news."""

    value: float
    at: float


class Known(msgspec.Struct, frozen=True):
    """What a run, or all of them, know of an account."""

    limits: dict[Meter, Said] = {}
    pace: Said | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One run as the others see it. ``expires``: on the account's clock."""

    priority: int
    expires: float
    demand: dict[Meter, float]
    known: Known
    shares: dict[Meter, float]
    left: dict[Meter, float] = {}


class Voice:
    """Tells what a run says anew from what it repeats, and from what it only heard from the others."""

    def __init__(self) -> None:
        self._said = self._heard = Known()

    def say(self, ask: Ask, now: float) -> Known:
        def dated(value: float, *known: Said | None) -> Said:
            return next((old for old in known if old is not None and old.value == value), Said(value, now))

        said, heard = self._said, self._heard
        self._said = Known(
            {
                meter: dated(limit, said.limits.get(meter), heard.limits.get(meter))
                for meter, limit in ask.limits.items()
            },
            None if ask.pace is None else dated(ask.pace, said.pace, heard.pace),
        )
        return self._said

    def hear(self, known: Known) -> None:
        self._heard = known


class Account:
    """Who is alive on an account, and what they know. Times are seconds of one clock for all of them."""

    def __init__(self, standings: Mapping[str, Standing] | None = None, hold_until: float = -math.inf) -> None:
        self.standings = dict(standings or {})
        self.hold_until = hold_until

    def __repr__(self) -> str:
        return f"<Account {sorted(self.standings)}, held until {self.hold_until:.3f}>"

    @property
    def known(self) -> Known:
        """The newest saying of everything."""
        limits: dict[Meter, Said] = {}
        paces = []
        for standing in self.standings.values():
            for meter, said in standing.known.limits.items():
                if meter not in limits or said.at > limits[meter].at:
                    limits[meter] = said
            if standing.known.pace is not None:
                paces.append(standing.known.pace)
        return Known(limits, max(paces, key=lambda said: said.at, default=None))

    def lease(
        self, holder: str, priority: int, ask: Ask, voice: Voice, used_today: Mapping[Meter, float], asked_at: float,
        now: float,
    ) -> Known:  # fmt: skip
        """Take in what a holder asked for at ``asked_at``; its standing tells what it got. Returns what all know.

        used_today: by all, what this holder tells now among it.
        """
        self.standings = {name: other for name, other in self.standings.items() if other.expires > now}
        if ask.hold > 0 and asked_at + ask.hold > self.hold_until + SAME_HOLD:
            self.hold_until = asked_at + ask.hold
        standing = Standing(
            priority=priority, expires=now + EXPIRY, demand=ask.demand, known=voice.say(ask, now), shares={}
        )
        self.standings[holder] = standing
        known = self.known
        shares = self._shares(holder, known)
        limits = {meter: said.value for meter, said in known.limits.items()}
        for meter, limit in ask.limits.items():
            limits[meter] = min(limit, limits[meter])
        left = {
            meter: self._left(holder, meter, limits[meter] - used_today.get(meter, 0.0), shares[meter])
            for meter in DAY_METERS
            if meter in limits
        }
        self.standings[holder] = msgspec.structs.replace(standing, shares=shares, left=left)
        return known

    def _shares(self, holder: str, known: Known) -> dict[Meter, float]:
        """What is fair, as far as it is not out with others yet."""
        shares: dict[Meter, float] = {}
        for meter in METERS:
            limit = known.limits[meter].value if meter in known.limits else None
            if meter == "requests" and known.pace is not None:
                limit = known.pace.value if limit is None else min(limit, known.pace.value)
            wants = {
                name: Want(other.demand.get(meter, math.inf), other.priority) for name, other in self.standings.items()
            }
            out = sum(other.shares.get(meter, 0.0) for name, other in self.standings.items() if name != holder)
            shares[meter] = max(TRICKLE, min(fair_shares(limit, wants)[holder], 1.0 - out))
        return shares

    def _left(self, holder: str, meter: Meter, rest: float, share: float) -> float:
        """A part of what is left of a day. Not less than one request, or the last one would be nobody's."""
        out = sum(other.left.get(meter, 0.0) for name, other in self.standings.items() if name != holder)
        return max(0.0, min(max(1.0, share * rest), rest - out))

    def grant(self, holder: str, known: Known, used_today: dict[Meter, float], now: float) -> Grant:
        return Grant(
            shares=self.standings[holder].shares,
            limits={meter: said.value for meter, said in known.limits.items()},
            hold=max(0.0, self.hold_until - now),
            pace=known.pace.value if known.pace is not None else None,
            holders=len(self.standings),
            used_today=used_today,
            left=self.standings[holder].left,
        )


class MemoryAccount:
    """An account of runs of one process. ``clock``: seconds that do not go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.lock = threading.Lock()
        self.account = Account()
        self._numbers = itertools.count(1)
        self._hours: dict[int, dict[Meter, float]] = {}

    def __repr__(self) -> str:
        return f"<MemoryAccount {self.account}>"

    def number(self) -> str:
        return str(next(self._numbers))

    def use(self, used: Mapping[Meter, float], now: float) -> dict[Meter, float]:
        """Count what was used; returns what was in the last 24 hours."""
        hour = math.floor(now / HOUR)
        self._hours = {at: cell for at, cell in self._hours.items() if at >= hour - HOURS}
        cell = self._hours.setdefault(hour, {})
        total: dict[Meter, float] = defaultdict(float)
        for meter, amount in used.items():
            cell[meter] = cell.get(meter, 0.0) + amount
        for cell in self._hours.values():
            for meter, amount in cell.items():
                total[meter] += amount
        return dict(total)


class MemoryPool:
    """One run's side of a ``MemoryAccount``."""

    def __init__(self, account: MemoryAccount, priority: int = 1) -> None:
        self.priority = priority
        self._account = account
        self._holder = account.number()
        self._voice = Voice()

    def __repr__(self) -> str:
        return f"<MemoryPool {self._holder} of {self._account}>"

    def lease(self, ask: Ask) -> Grant:
        asked_at = self._account.clock()
        with self._account.lock:
            now = self._account.clock()
            account = self._account.account
            used = self._account.use(ask.used, now)
            known = account.lease(self._holder, self.priority, ask, self._voice, used, asked_at, now)
            self._voice.hear(known)
            return account.grant(self._holder, known, used, now)

    def leave(self) -> None:
        with self._account.lock:
            self._account.account.standings.pop(self._holder, None)

    def close(self) -> None:
        self.leave()
