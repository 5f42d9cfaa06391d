"""What the provider would still take, mirrored from what its answers say remains.

An answer tells what remained when its request was decided on; meanwhile more was sent, and something came back. Two
forecasts run side by side. ``steady``: so much a second comes back, as in a bucket (or nothing, as in a fixed minute
before it turns). ``sliding``: what was sent comes back when it is a minute old, and a stranger on the account makes
some difference a second. Each is an observer as control engineering has them (Luenberger, 1964): it runs on by itself,
and every answer corrects its level at once and its rate by and by. Whichever erred less of late is believed, and how
far it errs, from a request's sending to its answer, is the margin that is left to it.

In its first minute nothing shows whether a window slides. What remains is then spread over the rest of that minute
(``glide``): a sliding window that is used up after half of it lets nothing in for the other half, and again so in the
minutes after.
"""

from __future__ import annotations

import math

import msgspec

from batchdeck.limits.trail import MINUTE, Trail

SETTLE = 8.0
"""Seconds over which the rate of a forecast follows what answers tell; at least twice the age of what they tell."""
FADE = 10.0
"""Seconds in which a difference that a stranger makes fades."""
MEMORY = 48
"""Errors that count in their mean square, older ones fade."""
DEVIATIONS, FEWEST, MOST = 2.0, 0.25, 6.0
"""Root mean square errors that are left as a margin: at first, and at least and at most."""
FREE = 2.5
"""The least of them where the steady forecast is the better one."""
MORE, REFUSED, REFUSED_FREE = 0.45, 0.0145, 0.003
"""Deviations that a refusal adds. Each request that was let in at the margin takes some away, so that this share of
them is refused in the long run (Robbins and Monro, "A Stochastic Approximation Method", 1951); the smaller one where a
margin costs nothing."""
DEAR = 0.016
"""A margin of this share of what there can be costs so much that the whole of ``REFUSED`` is taken instead."""
MARGIN_AT_MOST = 0.5
"""Share of what there can be at most."""
PROBE = 0.05
"""Where nothing seems to come back, the mirror opens at this share of the limit's rate: it may be wrong."""
QUIET = 10.0
"""Seconds without an answer after which one request may go that only the forecast believes in that is not the best."""
WIDE = 0.6
"""Where less than this share of a minute's limit remains at most, it is a bucket: what it refills need not last."""
GLIDE = 0.6
"""Share of the limit's rate that may be used in the first minute at least."""
TURN = 0.25
"""Share of the most there can be that comes back at once when a window turns."""
SAME, STABLE = 1.5, 5.0
"""A reset that was said to within so many seconds for so long is the end of a window."""
STALE = 2.0
"""Windows after which an answer tells nothing any more."""
LONGEST_STALE = 600.0


class Note(msgspec.Struct):
    """What a request's answer is compared with. ``steady``, ``sliding``: forecast when it was sent, without it."""

    amount: float
    mark: float
    steady: float | None = None
    sliding: float | None = None
    corrected: tuple[float, float] = (0.0, 0.0)
    is_close: bool = False
    """Whether it went as soon as the margin let it."""
    is_told: bool = False


class Forecast:
    """One way to reckon what is left; ``trail``: what was sent, where that is what comes back."""

    def __init__(self, rate: float, trail: Trail | None) -> None:
        self.rate = rate
        self.level: float | None = None
        self.most = 0.0
        self.drift = rate if trail is None else 0.0
        self.corrected = 0.0
        """All corrections so far: those since a request was sent are not to be made again for its answer."""
        self.square = 0.0
        """Of its errors."""
        self.excess = 0.0
        """Of what it promised too much, as if it erred as much the other way: only that leads to refusals."""
        self._trail = trail
        self._seen = 0
        self._at = 0.0
        self._span: tuple[float, float] | None = None
        self._missed = 0.0

    def __repr__(self) -> str:
        return f"<Forecast {self.level}, drift {self.drift:.2f}/s, ±{math.sqrt(self.square):.1f}>"

    def begin(self, now: float, level: float, most: float) -> None:
        self.level, self.most, self._at = level, most, now

    def at(self, now: float) -> float:
        """What is left now."""
        assert self.level is not None
        if now > self._at:
            back = 0.0 if self._trail is None else self._trail.between(self._at - MINUTE, now - MINUTE)
            passed, self._at = now - self._at, now
            self.level = min(self.most, self.level + back + self.drift * passed)
            if self._trail is not None:
                # What a stranger takes of a sliding window comes back as well: no such difference lasts.
                self.drift *= math.exp(-passed / FADE)
        return self.level

    def take(self, amount: float) -> None:
        if self.level is not None:
            self.level -= amount

    def give(self, amount: float) -> None:
        """It was not taken after all; what was forecast meanwhile was as much too low."""
        if self.level is not None:
            self.level = min(self.most, self.level + amount)
            self.corrected += amount

    def count(self, error: float) -> None:
        self._seen += 1
        weight = 1 / min(MEMORY, self._seen + 4)
        self.square += weight * (error * error - self.square)
        self.excess += weight * ((2 * error * error if error < 0 else 0.0) - self.excess)

    def correct(self, error: float, corrected: float, sent_at: float, age: float, *, learn: bool, is_out: bool) -> None:
        """An answer told how much more there was at ``sent_at`` than was forecast. corrected: all corrections by then.

        is_out: it said that nothing remains, which may be more than the truth. learn: whether it tells of the rate.
        """
        assert self.level is not None
        news = error - (self.corrected - corrected)
        if is_out:
            news = min(news, 0.0)
        self.level = min(self.most, self.level + news)
        self.corrected += news
        if not learn or error > max(TURN * self.most, 4.0 * math.sqrt(self.square)):
            # A window has turned: nothing to be learned of the time before.
            self._span = None
            return
        self.count(error)
        if self._span is None:
            self._span, self._missed = (sent_at, sent_at), 0.0
            return
        began = self._span[0]
        self._missed += news
        if sent_at - began >= 1.0:
            weight = min(1.0, (sent_at - began) / max(SETTLE, 2.0 * age))
            self.drift += weight * self._missed / (sent_at - began)
            self.drift = max(-self.rate, min(self.rate, self.drift))
            self._span, self._missed = (sent_at, sent_at), 0.0

    def wait(self, now: float, missing: float) -> float:
        """Seconds until ``missing`` more has come back."""
        drift = max(self.drift, PROBE * self.rate)
        longest = missing / drift
        if self._trail is not None:
            for sent_at, amount in self._trail.after(now - MINUTE):
                seconds = sent_at + MINUTE - now
                if seconds >= longest:
                    break
                missing -= amount
                if missing - self.drift * seconds <= 0:
                    return seconds
        return longest


class Mirror:
    """One meter of the account. Amounts sent are cumulative: ``mark`` is their sum up to and with a request."""

    def __init__(self, rate: float, trail: Trail, window: float = MINUTE) -> None:
        """rate: of the limit, a second. window: of the limit, seconds."""
        self.rate = rate
        self._stale = min(STALE * window, LONGEST_STALE)
        self._steady = Forecast(rate, None)
        self._sliding = Forecast(rate, trail)
        self._most = 0.0
        self._told_at = -math.inf
        self._heard_at = -math.inf
        self._changed_at = -math.inf
        self._age = 0.0
        self._began = -math.inf
        self._sent_at = -math.inf
        self._resets: list[tuple[float, float]] = []
        """Moments at which all is there again, and since when they were said: from sending on, and from hearing."""
        self._probed: float | None = None
        self._deviations = DEVIATIONS
        self._refused_at = -math.inf

    def __repr__(self) -> str:
        return f"<Mirror {self._best} told at {self._told_at:.2f}>"

    @property
    def _best(self) -> Forecast:
        return self._sliding if self._sliding.square < self._steady.square else self._steady

    @property
    def _other(self) -> Forecast:
        return self._steady if self._best is self._sliding else self._sliding

    @property
    def _turns_at(self) -> float | None:
        """The moment that was said often enough to be the end of a window."""
        return min((moment for moment, since in self._resets if self._heard_at - since >= STABLE), default=None)

    @property
    def _refusals_wanted(self) -> float:
        """Share of the requests at the margin: least where a margin costs nothing, most where it costs much."""
        if self._best is self._steady:
            return REFUSED_FREE
        if self._most <= 0:
            return REFUSED
        return REFUSED * min(1.0, max(0.5, self.margin / (DEAR * self._most)))

    @property
    def margin(self) -> float:
        # What is left in a bucket comes back all the same: there a margin costs nothing.
        deviations = max(self._deviations, FREE) if self._best is self._steady else self._deviations
        return min(deviations * math.sqrt(self._best.excess), MARGIN_AT_MOST * self._most)

    def note(self, now: float, amount: float, mark: float) -> Note:
        """A request goes; its answer will be compared with this."""
        self._sent_at = now
        forecasts = (self._steady, self._sliding)
        steady, sliding = (None if each.level is None else each.at(now) for each in forecasts)
        best = self._best
        is_close = best.level is not None and best.level < self.margin + 2 * amount + math.sqrt(best.excess)
        for each in forecasts:
            each.take(amount)
        return Note(amount, mark, steady, sliding, (self._steady.corrected, self._sliding.corrected), is_close)

    def told(self, remaining: float, reset: float | None, note: Note, sent_at: float, now: float, mark: float) -> None:
        """An answer said what remained. reset: seconds from now until all is there. mark: all that was sent by now."""
        if sent_at <= self._told_at:
            return  # an older request: what it tells is out of date
        self._told_at, self._heard_at = sent_at, now
        if self._began == -math.inf:
            self._began = now
        self._age += 0.2 * (now - sent_at - self._age)
        self._most = max(self._most, remaining)
        self._probed = None
        if reset is not None:
            # A duration counts from when the request was decided on, a point in time does not.
            moments = (sent_at + reset, now + reset)
            self._resets = [
                old if old is not None and abs(moment - old[0]) <= SAME else (moment, now)
                for moment, old in zip(moments, self._resets or (None, None), strict=True)
            ]
        before = remaining + note.amount
        note.is_told = True
        if note.is_close:
            self._deviations = max(FEWEST, self._deviations - MORE * self._refusals_wanted)
        for each, forecast, corrected in zip(
            (self._steady, self._sliding), (note.steady, note.sliding), note.corrected, strict=True
        ):
            if each.level is None:
                each.begin(sent_at, remaining - (mark - note.mark), self._most)
                each.at(now)
            elif forecast is None:
                # Sent before anything was known, its answer tells more than a guess at all that was in flight.
                each.most = self._most
                each.give(remaining - (mark - note.mark) - each.at(now))
            else:
                each.most = self._most
                each.at(now)
                learn = sent_at > self._changed_at
                each.correct(before - forecast, corrected, sent_at, self._age, learn=learn, is_out=remaining <= 0)

    def refused(self, note: Note, sent_at: float, now: float) -> None:
        """A request that was let go was refused: it took nothing."""
        if sent_at > self._refused_at and note.is_close:
            self._deviations = min(MOST, self._deviations + MORE)
            self._refused_at = now
        for each in (self._steady, self._sliding):
            if note.is_told:
                # Its answer told the level without it: what was forecast was too high by its amount more.
                each.count(note.amount)
            else:
                each.give(note.amount)

    def resize(self, rate: float, now: float) -> None:
        """Another limit. What was forecast before tells nothing of how well it will be forecast from now on."""
        if rate != self.rate:
            self._changed_at = now
            self._most *= min(1.0, rate / self.rate)
            # What a minute has used stays used, whatever may be used from now on.
            self._sliding.give(min(0.0, rate - self.rate) * MINUTE)
            for each in (self._steady, self._sliding):
                each.drift *= min(1.0, rate / self.rate)
                each.rate, each.most = rate, self._most
                each.give(min(0.0, each.most - (each.level or 0.0)))
            self.rate = rate

    def level(self, now: float) -> float | None:
        """What would be taken now; None: unknown."""
        if self._best.level is None or now - self._heard_at > self._stale:
            return None
        return self._best.at(now)

    def glide(self, now: float, amount: float) -> float:
        """Seconds until ``amount`` may be sent of what is to last for the first minute; 0 when that is over."""
        left = self._began + MINUTE - now
        level = self.level(now)
        if left <= 0 or level is None or self._most < WIDE * MINUTE * self.rate:
            return 0.0
        rate = max(GLIDE * self.rate, level / max(left, SETTLE) + self._sliding.drift)
        return max(0.0, min(left, self._sent_at + amount / rate - now))

    def wait(self, now: float, mark: float, amount: float) -> float:
        """Seconds until ``amount`` more may be sent, as far as is known; 0: now. mark: all that was sent by now."""
        level = self.level(now)
        if level is None:
            return 0.0
        best = self._best
        margin = self.margin
        quiet = max(0.0, now - max(self._heard_at, self._told_at))
        if self._turns_at is None or now >= self._turns_at:
            level += max(0.0, PROBE * self.rate - best.drift) * quiet
        missing = min(amount, self._most - margin) + margin - level
        if missing <= 1e-9:
            return 0.0
        seconds = best.wait(now, missing)
        if self._turns_at is not None:
            if now < self._turns_at:
                return max(0.01, min(seconds, self._turns_at - now))
            # A window has turned, or something old has come back: one request will tell.
            if self._may_probe(mark):
                return 0.0
        elif quiet >= QUIET and self._other.level is not None and self._other.at(now) >= level + missing:  # noqa: SIM102
            # The forecasts differ, and no answer has told for long which of them is right.
            if self._may_probe(mark):
                return 0.0
        return max(seconds, 0.01)

    def _may_probe(self, mark: float) -> bool:
        """Whether the one request that will tell has not been sent yet."""
        if self._probed is None:
            self._probed = mark
        return mark <= self._probed
