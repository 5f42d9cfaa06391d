"""Why items wait: what holds the next request back and for how much of the time, each item under one reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import get_args

from batchdeck.engine.attempt import Flight
from batchdeck.engine.queue import Work
from batchdeck.metrics.window import RateWindow
from batchdeck.model import Reason

REASONS: tuple[Reason, ...] = get_args(Reason)
MINUTE = 60.0
BEHIND = 0.05
"""Seconds that the loop may be late before this machine is the reason."""
STEADY = 0.5
"""Share of the last minute from which a reason is what holds the run, whatever holds it at this moment."""
_PHASES: dict[str, Reason] = {
    "connecting": "connecting",
    "waiting": "first_token",
    "streaming": "streaming",
    "store": "store",
}
_NAMES: dict[Reason, str] = {"rpm": "RPM", "tpm": "TPM", "daily": "the daily limit", "store": "the disk",
                             "machine": "this machine", "cooldown": "429s", "cap": "the cap"}  # fmt: skip
_ADVICE: dict[Reason, str] = {
    "cap": "more concurrency may help",
    "rpm": "more concurrency will not help",
    "tpm": "more concurrency will not help; shorter prompts or answers would",
    "daily": "it goes on when the day's quota is there again",
    "cooldown": "more concurrency will not help",
    "store": "answers come faster than they can be written",
    "machine": "this process is as fast as it gets; more concurrency will not help",
}


class Waits:
    """What held the next request, and since when. All times are the loop's."""

    def __init__(self, now: float) -> None:
        self.held: Reason | None = None
        self.until: float | None = None
        self._since = now
        self._minute: dict[Reason, RateWindow] = {}
        self._sample: dict[str, float] = {}
        self._recent: dict[Reason, float] = {}
        """What was put down since ``late`` was last called: some of it may turn out to be this machine's."""
        self._began = now
        self._late_until = now

    def __repr__(self) -> str:
        return f"<Waits {self.held} since {self._since:.2f}>"

    def hold(self, now: float, reason: Reason | None, until: float | None = None) -> None:
        """From now on this is what keeps the next request from starting; None: nothing does."""
        if reason != self.held:
            self._pass(now)
            self.held = reason
        self.until = until

    def late(self, now: float, seconds: float) -> None:
        """The loop came so much too late since this was last called: for that time it was this machine.

        What held the run meanwhile may have been put down already, by whatever ran first after the delay.
        """
        self._pass(now)
        recent, self._recent = self._recent, {}
        if seconds <= BEHIND:
            return
        self._late_until = now + 1.0
        for reason in sorted(recent, key=lambda reason: -recent[reason]):
            moved = min(recent[reason], seconds)
            seconds -= moved
            # A sample may have been taken since: it stays as it is.
            in_sample = min(moved, self._sample.get(reason, 0.0))
            self._put_down(now, reason, -moved, -in_sample)
            self._put_down(now, "machine", moved, in_sample)

    def is_late(self, now: float) -> bool:
        """Whether the loop was late within the last second."""
        return now < self._late_until

    def shares(self, now: float) -> dict[Reason, float]:
        """The share of the last minute (or of the session, while it is younger) that each reason held the run."""
        self._pass(now)
        shares = {reason: min(1.0, window.rate(now)) for reason, window in self._minute.items()}
        return {reason: shares[reason] for reason in REASONS if shares.get(reason, 0.0) >= 0.005}

    def span(self, now: float) -> float:
        """Seconds that ``shares`` are of."""
        return min(MINUTE, now - self._began)

    def take(self, now: float) -> dict[str, float]:
        """Seconds by reason since the last call: what a sample keeps."""
        self._pass(now)
        taken, self._sample = self._sample, {}
        return {reason: seconds for reason, seconds in taken.items() if seconds > 0}

    def _pass(self, now: float) -> None:
        passed, self._since = now - self._since, now
        if self.held is not None and passed > 0:
            self._put_down(now, self.held, passed, passed)
            self._recent[self.held] = self._recent.get(self.held, 0.0) + passed

    def _put_down(self, now: float, reason: Reason, seconds: float, in_sample: float) -> None:
        if reason not in self._minute:
            self._minute[reason] = RateWindow(MINUTE, 1.0)
            self._minute[reason].start(self._began)
        self._minute[reason].add(now, seconds)
        self._sample[reason] = self._sample.get(reason, 0.0) + in_sample


def tally(
    flights: Mapping[int, Flight], waiting: Iterable[Work], unfinished: int, held: Reason, now: float,
    cooldown_until: float,
) -> dict[Reason, int]:  # fmt: skip
    """Each unfinished item under one reason. They add up to ``unfinished``.

    flights: by item. waiting: those to be tried again; an attempt that is not committed yet is still a flight, and its
    item counts there. held: what holds all that could start now.
    """
    counts = dict.fromkeys(REASONS, 0)
    left = unfinished
    for flight in flights.values():
        counts[_PHASES[flight.phase]] += 1
        left -= 1
    for work in waiting:
        if work.due > now and work.item.idx not in flights:
            limited = work.limited_since is not None and now < cooldown_until
            counts["cooldown" if limited else "backoff"] += 1
            left -= 1
    counts[held] += left
    return {reason: count for reason, count in counts.items() if count}


def sentence(
    held: Reason | None,
    shares: dict[Reason, float],
    seconds: float | None,
    cap: int,
    span: float = MINUTE,
    tuned: str = "",
) -> str:
    """What holds the run, in plain words; empty when nothing does.

    span: seconds that the shares are of. tuned: why the cap is what it is, where the engine turns it.
    """
    advice = _ADVICE | ({"cap": tuned} if tuned else {})
    main = max(shares, key=lambda reason: shares[reason], default=None)
    if held in ("cooldown", "backoff", "daily") and seconds is not None and seconds >= 1.0:
        return _for_now(held, seconds)
    if main is not None and main in _ADVICE and shares[main] >= STEADY:
        name = f"the cap of {cap}" if main == "cap" else _NAMES[main]
        time = "in the last minute" if span >= MINUTE else "so far"
        return f"held by {name}: {100 * shares[main]:.0f} % of the time {time}; {advice[main]}"
    if held in _ADVICE:
        name = f"the cap of {cap}" if held == "cap" else _NAMES[held]
        return f"held by {name}; {advice[held]}"
    if held == "budget":
        return "what is in flight may use up the rest of the budget; more starts when some of it is back"
    return "items that failed wait to be tried again" if held == "backoff" else ""


def _for_now(held: Reason, seconds: float) -> str:
    if held == "cooldown":
        return f"held by the provider's rate limit for {_long(seconds)} more"
    if held == "daily":
        return f"held by the daily limit for {_long(seconds)} more, as far as is known"
    return f"items that failed wait to be tried again, the first of them in {_long(seconds)}"


def _long(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"
