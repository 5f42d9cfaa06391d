"""A circuit breaker: a run waits for a provider that is down, instead of failing items one by one.

Closed, open, half-open (Nygard, "Release It!", 2007): while it is open one probe at a time is sent, and the first
answer closes it. What opens it, always without any sign of life between:

- three connections that could not be made: that is never an item's own fault;
- so many other transient failures that a provider which is up would hardly ever have them in a row. With a share p of
  faults, n in a row begin at a given answer with chance (1 - p) p^n. n is chosen so that p^n <= 1e-7, which within
  100,000 requests happens with a chance below 1 %: n is 24 for p = 0.5, 14 for 0.3, 7 for 0.1. p is learned as it goes,
  and taken for at least 0.5 while all of them fell within 5 s, since faults of one moment (a balancer that restarts)
  are one fault. In any case at least 5, of 5 items, and half of what is in flight;
- an account whose quota is used up, at once.

An item that failed while the provider was up is known to be able to fail by itself (too long, or it crashes the
server). Where a failure may be the item's, it is no sign of an outage again: else the handful of bad items that are
left at the end of a run would look like one.
"""

from __future__ import annotations

import math
import random
from typing import Literal

from batchdeck.model import Failure

QUOTA = "quota_exhausted"
CONNECT = ("connect", "timeout_connect")
_SERVERS_OWN = (*CONNECT, "http_503", "http_521", "http_522", "http_523", "http_529", "http_530")
"""Never the fault of an item: nothing listens, or the server itself says that it is not available."""

REFUSED = 3
LEAST = 5
CHANCE = 1e-7
MOMENT = 5.0
MEMORY = 256
"""Results that count in the share of faults, older ones fade."""
PRIOR = (2.0, 6.0)
"""What a session begins with: two faults in six."""
FEWEST_FAULTS, MOST_FAULTS = 0.001, 0.75
"""With more than that a provider is as good as down."""
FIRST_CONTACT = 60.0
"""Seconds to wait for a provider that never answered in this session."""
PROBES = {"down": (2.0, 60.0), "quota": (30.0, 600.0)}
"""Seconds until the first probe, and between two at most."""
JITTER = 0.2
CALM = 60.0
"""Seconds after closing in which another outage goes on with the intervals of the last one."""
LAST = 1.0
"""Seconds before giving up at which it is tried once more."""
PATIENCE = 10.0
"""Seconds after that in which the answer to this last probe may still come."""
FREE_PROBES = 5
"""Probes of one item in one outage that do not count against it. More of them happen only where few items are left."""
KNOWN = 10_000
"""Items that failed by themselves, kept in mind."""


class Breaker:
    """State of one provider in one session. Times are the loop's; each request is told once, by one of the three:

    ``sent`` when it starts, then ``succeeded`` or ``failed``.
    """

    def __init__(self, rng: random.Random, *, max_outage: float | None) -> None:
        """max_outage: as in ``Budget``."""
        self._rng = rng
        self._max_outage = max_outage
        self._kind: Literal["down", "quota"] | None = None
        self._since = 0.0
        self._message = ""
        self._refusal: str | None = None
        self._answered = False
        self._succeeded = False
        self._in_flight = 0
        # in a row, since the last sign of life
        self._refused = 0
        self._failures = 0
        self._items: set[int] = set()
        self._began = 0.0
        self._width = 1
        # how reliable the provider is
        self._faults, self._seen = PRIOR
        self._suspects: dict[int, None] = {}
        # probing
        self._probing = False
        self._probe_at = 0.0
        self._step = 0
        self._calm_at = -math.inf
        self._probes: dict[int, int] = {}

    def __repr__(self) -> str:
        if self._kind is None:
            return f"<Breaker closed, {self._failures} failed in a row>"
        return f"<Breaker open ({self._kind}) since {self._since:.1f}, {'probing' if self._probing else 'waiting'}>"

    @property
    def max_outage(self) -> float | None:
        return self._max_outage

    @max_outage.setter
    def max_outage(self, seconds: float | None) -> None:
        self._max_outage = seconds
        self._refusal = None
        if seconds == 0:
            self._kind = None

    @property
    def is_open(self) -> bool:
        return self._kind is not None

    @property
    def since(self) -> float | None:
        """When the outage began: with the first of the failures in a row. None while it is closed."""
        return self._since if self.is_open else None

    def sent(self) -> bool:
        """A request starts. True when it is a probe: tell ``succeeded`` or ``failed`` so."""
        self._probing = self.is_open
        return self._probing

    def succeeded(self, now: float, probe: bool = True) -> bool:
        """An answer came. True when this closes it.

        An answer to what was sent before it opened does not: a server that shuts down ends what it has begun and takes
        nothing new. It only brings the next probe forward.
        """
        if probe:
            self._probing = False
        self._succeeded = True
        self._lives()
        return self.is_open and self._spoke(now, probe)

    def failed(self, now: float, idx: int, failure: Failure, probe: bool) -> bool:
        """A request came to nothing. True when this opens it, or keeps it open for longer.

        An answer that refuses (400, 429) is a sign of life, though not of a quota that is there again.
        """
        if probe:
            self._probing = False
        if failure.error_type == QUOTA:
            return self._exhausted(now, failure, probe)
        if failure.outcome in ("cancelled", "fatal"):
            return False
        if failure.outcome != "transient":
            self._lives()
            if self._kind == "down":
                self._spoke(now, probe)
            elif self._kind == "quota" and probe:
                self._schedule(now)
            return False
        if self._max_outage == 0:
            return False
        if self._kind is not None:
            return probe and self._probe_failed(now, idx, failure)
        return self._adds_up(now, idx, failure)

    def counts_against_item(self, idx: int, failure: Failure) -> bool:
        """Whether a failure that was just told uses up one of its item's retries.

        In an outage it does not. Only an item that is probed again and again, and may itself be at fault, pays in the
        end: otherwise a few bad items that are all that is left would hold a run forever.
        """
        if not self.is_open:
            return True
        return _may_be_the_items(failure) and self._probes.get(idx, 0) > FREE_PROBES

    def wait(self, now: float, in_flight: int) -> float:
        """Seconds until one more request may start, 0 when it may now. While it is open, that is the next probe.

        With a probe under way the time is only an upper bound: its end is what tells.
        """
        self._in_flight = in_flight
        if self._kind is None:
            return 0.0
        if not in_flight:
            self._probing = False
        due = now + PROBES[self._kind][1] if self._probing else self._probe_at
        gives_up = self._gives_up_at()
        if gives_up is not None and now < gives_up:
            due = min(due, gives_up)
        return max(0.0, due - now)

    def slept(self, seconds: float) -> None:
        """So long nothing was to be sent: that was not the provider's fault."""
        self._since += seconds

    def reason(self, now: float) -> str:
        """What is wrong and what happens next, in one sentence; empty while it is closed."""
        if not self.is_open:
            return ""
        seconds = max(1, math.ceil(self._probe_at - now))
        then = f"tried again in {seconds} s" if not self._probing and now < self._probe_at else "being tried again now"
        return f"{self._trouble()}; {then}"

    def gave_up(self, now: float) -> str | None:
        """The sentence to stop with, None while there is hope."""
        if self._refusal is not None:
            return f"the account's quota is used up ({self._refusal}); resume goes on when there is more"
        at = self._gives_up_at()
        if at is None or now < at or (self._probing and now < at + PATIENCE):
            return None
        waited = _span(now - self._since)
        if self._kind == "quota":
            return f"{self._trouble()} for {waited}; resume goes on when there is more"
        if not self._answered:
            return (
                f"the provider has not answered once in {waited} ({self._message});"
                " check --base-url and whether it is up; resume goes on"
            )
        return f"the provider was down for {waited} ({self._message}); resume goes on, or set a longer --max-outage"

    # -- signs of life

    def _lives(self) -> None:
        """The provider has answered: what failed before that was not an outage."""
        self._answered = True
        keep = 1 - 1 / MEMORY
        if self._failures:
            keep **= self._failures + 1
            self._suspects.update(dict.fromkeys(self._items))
            while len(self._suspects) > KNOWN:
                del self._suspects[next(iter(self._suspects))]
        self._faults = self._faults * keep + self._failures
        self._seen = self._seen * keep + self._failures + 1
        self._forget()

    def _forget(self) -> None:
        if self._failures or self._refused:
            self._refused = self._failures = 0
            self._items = set()

    def _spoke(self, now: float, probe: bool) -> bool:
        """A sign of life while it is open. True when it closes."""
        if probe:
            self._kind = None
            self._calm_at = now + CALM
            self._probes.clear()
        elif self._kind == "down" and not self._probing:
            self._step = 0
            self._probe_at = min(self._probe_at, now)
        return probe

    # -- failures

    def _adds_up(self, now: float, idx: int, failure: Failure) -> bool:
        if idx in self._suspects and _may_be_the_items(failure):
            return False
        if not self._failures:
            self._began = now
            self._width = max(1, self._in_flight)
        self._failures += 1
        self._items.add(idx)
        if failure.error_type in CONNECT:
            self._refused += 1
        if self._refused < REFUSED and not self._is_too_much(now):
            return False
        self._open(now, "down", failure, self._began)
        return True

    def _is_too_much(self, now: float) -> bool:
        """Whether so many failures in a row mean an outage."""
        chance = max(self._faults / self._seen, 0.5 if now - self._began < MOMENT else FEWEST_FAULTS)
        unlikely = math.ceil(math.log(CHANCE) / math.log(min(chance, MOST_FAULTS)))
        # With a cap of 1, four items are all that the engine has on their way at a time.
        items = min(LEAST, 4 * self._width)
        return self._failures >= max(LEAST, unlikely, self._width / 2) and len(self._items) >= items

    def _exhausted(self, now: float, failure: Failure, probe: bool) -> bool:
        if self._max_outage == 0:
            self._refusal = _short(failure.message)
            return True
        if self._kind == "quota":
            return probe and self._probe_again(now, failure)
        self._open(now, "quota", failure, now)
        return True

    def _open(self, now: float, kind: Literal["down", "quota"], failure: Failure, since: float) -> None:
        self._step = self._step + 1 if self._kind is None and now < self._calm_at else 0
        self._kind = kind
        self._since = since
        self._message = _short(failure.message)
        self._forget()
        self._schedule(now)

    def _probe_failed(self, now: float, idx: int, failure: Failure) -> bool:
        self._probes[idx] = self._probes.get(idx, 0) + 1
        return self._probe_again(now, failure)

    def _probe_again(self, now: float, failure: Failure) -> bool:
        self._step += 1
        self._message = _short(failure.message)
        self._schedule(now)
        return True

    def _schedule(self, now: float) -> None:
        assert self._kind is not None
        first, longest = PROBES[self._kind]
        delay = min(longest, first * 2.0 ** min(self._step, 30))
        self._probe_at = now + delay * (1.0 + JITTER * self._rng.random())
        gives_up = self._gives_up_at()
        if gives_up is not None and now < gives_up - first:
            self._probe_at = min(self._probe_at, gives_up - LAST)

    # -- giving up, and words

    def _gives_up_at(self) -> float | None:
        if self._kind is None:
            return None
        if self._max_outage is not None:
            return self._since + self._max_outage
        met = self._succeeded if self._kind == "quota" else self._answered
        return None if met else self._since + FIRST_CONTACT

    def _trouble(self) -> str:
        what = "the account's quota is used up" if self._kind == "quota" else "the provider is down"
        return f"{what} ({self._message})"


def _may_be_the_items(failure: Failure) -> bool:
    """A server can answer 500 to one input alone, or be lost in one that is too long."""
    return failure.error_type not in _SERVERS_OWN


def _short(message: str) -> str:
    return message if len(message) <= 160 else message[:159] + "…"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"
