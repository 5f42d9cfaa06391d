"""The account quota of a simulated provider: a window a meter, and a request must fit all of them.

A request is counted when it arrives, with all its tokens; a refused one takes nothing. Somebody else may use the
account too, and it may shrink; both happen, in order of time, when somebody asks.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from batchdeck.model import Meter
from batchdeck.sim.headers import EPOCH, Headers, say_limits
from batchdeck.sim.options import SimOptions
from batchdeck.sim.stranger import Stranger
from batchdeck.sim.windows import DAY, Bucket, Fixed, Sliding, Window, spare

_COUNTED: tuple[Meter, ...] = ("requests", "requests_day")
"""Of these one request takes one, which is never too large."""


class Verdict(NamedTuple):
    """``wait``: 0, it was let in; else seconds until it would be, and the meter that takes longest to let it in.

    ``wait`` is infinite for what is more than the whole limit, ``amount`` being what was asked for.
    """

    wait: float
    meter: Meter | None = None
    limit: float = 0.0
    amount: float = 0.0


ADMITTED = Verdict(0.0)


class Quota:
    """Times are seconds of any clock that does not go back.

    ``accepted_requests`` and ``accepted_tokens`` (in and out) count what was let in, without the stranger's. ``style``:
    of the headers.
    """

    def __init__(
        self,
        rpm: float | None = None,
        tpm: float | None = None,
        burst: float = 0.1,
        now: float = 0.0,
        *,
        others: SimOptions | None = None,
        start: float | None = None,
        epoch: float = EPOCH,
    ) -> None:
        """others: the options that are no parameters here. start: when the provider began, None: now. epoch: the wall
        time at 0.
        """
        options = others or SimOptions()
        start = now if start is None else start
        minutes: dict[Meter, float | None] = {
            "requests": rpm,
            "tokens": tpm,
            "input_tokens": options.input_tpm,
            "output_tokens": options.output_tpm,
        }
        days: dict[Meter, float | None] = {"requests_day": options.rpd, "tokens_day": options.tpd}
        self.windows: dict[Meter, Window] = {
            **{meter: _minute(options, limit, burst, start) for meter, limit in minutes.items() if limit is not None},
            **{meter: Fixed(limit, start, DAY) for meter, limit in days.items() if limit is not None},
        }
        self.stranger: Stranger | None = None
        self.accepted_requests = 0
        self.accepted_tokens = 0
        self.style = options.headers
        self._epoch = epoch
        self._shrink_at = math.inf if options.shrink_at is None else start + options.shrink_at
        self._shrink_to = options.shrink_to
        self._advance(now)
        if options.stranger:
            limits = {meter: window.limit for meter, window in self.windows.items()}
            self.stranger = Stranger(options.stranger, limits, options.seed, now)

    @classmethod
    def of(cls, options: SimOptions, now: float, start: float, epoch: float) -> Quota:
        """The quota that options describe."""
        return cls(options.rpm, options.tpm, options.burst, now, others=options, start=start, epoch=epoch)

    def __repr__(self) -> str:
        shown = " ".join(f"{meter}={window}" for meter, window in self.windows.items())
        return f"<Quota {shown or 'none'}{f' {self.stranger}' if self.stranger else ''}>"

    def admit(self, tokens_in: float, now: float, tokens_out: float = 0) -> Verdict:
        """Take one request of so many tokens, if it fits."""
        self._advance(now)
        tokens = tokens_in + tokens_out
        verdict = self._ask(
            {
                "requests": 1.0,
                "tokens": tokens,
                "input_tokens": tokens_in,
                "output_tokens": tokens_out,
                "requests_day": 1.0,
                "tokens_day": tokens,
            }
        )
        if verdict.wait == 0:
            self.accepted_requests += 1
            self.accepted_tokens += int(tokens)
        return verdict

    def headers(self, now: float) -> Headers:
        """What a response sent now says of the limits; empty without any."""
        self._advance(now)
        return say_limits(self.style, self.windows, self._epoch + now)

    def share_left(self, start: float, end: float) -> tuple[float | None, float | None]:
        """Requests and tokens that a client could have been let in between two times, ``end`` being no later than now.

        That is what the minute limits allow to who uses them evenly (nothing for a burst), without what the stranger
        took; None: any number. A limit a day is left out of it.
        """
        self._advance(end)
        taken = self.stranger.taken(start, end) if self.stranger is not None else (0, 0.0)
        requests, tokens = self.windows.get("requests"), self.windows.get("tokens")
        return (
            None if requests is None else max(0.0, spare(requests.paces, start, end) - taken[0]),
            None if tokens is None else max(0.0, spare(tokens.paces, start, end) - taken[1]),
        )

    def _ask(self, need: dict[Meter, float]) -> Verdict:
        """Take what is needed from all windows, or nothing."""
        worst = ADMITTED
        for meter, window in self.windows.items():
            amount = need.get(meter, 0.0)
            too_large = meter not in _COUNTED and amount > window.limit
            wait = math.inf if too_large else window.wait(amount)
            if wait > worst.wait:
                worst = Verdict(wait, meter, window.limit, amount)
        if worst.wait == 0:
            for meter, window in self.windows.items():
                window.take(need.get(meter, 0.0))
        return worst

    def _advance(self, now: float) -> None:
        """Let happen what happens by itself up to now."""
        while True:
            stranger_at = self.stranger.next_at if self.stranger is not None else math.inf
            at = min(stranger_at, self._shrink_at)
            if at > now:
                break
            for window in self.windows.values():
                window.advance(at)
            if at == self._shrink_at:
                self._shrink(at)
            elif self.stranger is not None:
                if self._ask(self.stranger.need).wait == 0:
                    self.stranger.take()
                self.stranger.wait()
        for window in self.windows.values():
            window.advance(now)

    def _shrink(self, at: float) -> None:
        self._shrink_at = math.inf
        for window in self.windows.values():
            window.shrink(self._shrink_to)
        if self.stranger is not None:
            self.stranger.slow(self._shrink_to, at)


def _minute(options: SimOptions, limit: float, burst: float, start: float) -> Window:
    if options.shape == "sliding":
        return Sliding(limit, start)
    if options.shape == "fixed":
        return Fixed(limit, start, offset=options.window_offset)
    return Bucket(limit, burst, start)
