"""Finds the concurrency that pays, by turning it and looking what comes of that. Pure: told what lands, says turns.

Up from few, doubling for as long as that pays (as TCP's slow start does, RFC 5681). Where it no longer does, the fewest
that still give nearly all of the best throughput are looked for between the levels that were measured. There it stays,
looks again at each generation of answers, and now and then tries a few more, or a few fewer.

Two things say that it is too many. A 429, where the cap was what held the run: back at once, and not so high again for
a while, for longer each time (additive increase, multiplicative decrease: Chiu and Jain, "Analysis of the increase and
decrease algorithms for congestion avoidance", 1989). And, since servers that queue never say 429, a throughput that
does not grow while latency does (a gradient, as in Netflix' concurrency-limits), latency being taken for an answer of
average length (``stay``). A run that is held by anything else than its cap tells nothing of it: then nothing is turned.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from batchdeck.tune.stay import Crowd, Landed, Stay

FIRST = 4
"""Where a run begins."""
GROWTH = 2.0
PAYS = 0.4
"""Throughput grows as the concurrency to the power of one where nothing is in the way, of zero where it is full: more
is tried at once for as long as the power is more than this."""
APART = 1.6
"""Levels that far from each other show it."""
ENOUGH = 0.96
"""Share of the best throughput seen with which it is content."""
NEARLY, DEAR = 0.91, 1.6
"""Somewhat less will do where the rest would cost so many times the latency."""
AIM = 0.98
"""Share of it that a guess between two levels aims at."""
FEW, SOME, MANY = 12, 24, 60
"""Answers of a level: to see that nothing became slower, to be told from half as many, and from one that is near."""
FINE = 1.25
"""Levels nearer to each other than by this factor are not worth telling apart."""
HISTORY = 240
"""Answers at a level that count, at most."""
BOUND = 0.85
"""Share of the cap that is in flight when it is the cap that holds the run."""
OTHER, MUCH, SLOW = 0.2, 0.4, 0.7
"""Change of latency (in logarithms) from which a server is another one than it was, from which all is measured anew,
and from which that is seen after few answers already."""
FASTER = 1.3
"""So many times the throughput with fewer tells of another server."""
PROBE_UP, PROBE_DOWN = 1.3, 0.8
REST, MOST_REST, PATIENCE = 20.0, 120.0, 2.0
"""Seconds from one probe to the next, at first and at most: it doubles with each that found nothing. And so many times
as long as a level takes to measure."""
STALE = 20.0
"""So many times as long, and a lower level that was measured is worth another look: fewer cost throughput."""
PENALTY, MOST_PENALTY = 60.0, 240.0
"""Seconds for which a level that met 429s is not tried again, at first and at most."""
BACK = 0.7
"""Of the cap is left where 429s come and no lower level is known to be good."""
REFUSALS, REFUSED = 3, 0.02
"""429s at a level, in number and as a share, from which it is too high."""
QUEUED, ALONE = 0.1, 1.2
"""Share of the cap that waits at the server from which it is too many; and how many times as many as are in flight here
a server may have that nobody else uses."""
TRIES, LOOKS = 3, 2
"""Guesses between two levels, and second looks at one that may be as good as a higher one."""

Phase = Literal["climbing", "measuring", "settled", "probing", "backing off", "resting"]


class Turn(NamedTuple):
    """A new cap, and why, to a person. ``crowded``: the provider refuses by how many are in flight, not by a rate."""

    cap: int
    why: str
    crowded: bool = False


class Autotune:
    """One run's cap. All times are the loop's. Memory does not grow with the run."""

    def __init__(self, cap: int, least: int, most: int, now: float, in_flight: int = 0) -> None:
        self.least, self.most = least, most
        self.cap = cap
        self.phase: Phase = "climbing"
        self.sentence = "looking how many pay"
        self._tokens = 0.0
        self._answers = 0
        self._known: dict[int, Stay] = {}
        """What was measured of each level, since the server was last found to be another."""
        self._home: Stay | None = None
        """Where it has settled, as it was then."""
        self._tries = self._looks = 0
        self._odd = 0
        self._queues = 0
        """How often in a row the server said that requests wait in it."""
        self._is_falling = False
        """Whether the server became slower, and fewer are tried for as long as that costs nothing."""
        self._rest = REST
        self._probe_at = math.inf
        self._probed_up = False
        self._limit = float(most + 1)
        """A cap at which 429s came."""
        self._limit_until = 0.0
        self._penalty = PENALTY
        self._crowd = Crowd()
        self._stay = Stay(cap, now, in_flight)
        self._before = self._stay
        """What lands after a turn and was sent before it."""
        self._full_at: float | None = None
        self._moved(cap, now, in_flight)

    def __repr__(self) -> str:
        return f"<Autotune {self.phase} at {self.cap}, {self.least}..{self.most}, knows {sorted(self._known)}>"

    # -- what happens

    def flew(self, now: float, in_flight: int) -> None:
        """The number of requests in flight changed."""
        self._in_flight = in_flight
        self._stay.flew(now, in_flight)
        if self._full_at is None and in_flight <= self.cap:
            # After a turn down the excess has flowed out.
            self._full_at = now

    def landed(self, now: float, landed: Landed) -> Turn | None:
        """A request came back. Returns the turn that follows, if any."""
        if landed.ok:
            self._answers += 1
            if landed.tokens is not None:
                self._tokens += landed.tokens
        if self._full_at is None or landed.started < self._full_at:
            # It was sent before the last turn.
            self._before.add(landed)
            return self._alarm(now, self._before) if landed.ok else None
        self._stay.add(landed)
        self._crowd.add(landed)
        if landed.refused:
            return self._refused(now)
        if not self._generation and self._stay.landed >= max(self.cap, FEW):
            return self._first_generation(now)
        if self._generation and self._stay.answers >= self._wanted:
            return self._measured(now)
        return self._alarm(now, self._stay) if landed.ok else None

    def turned(self, now: float, least: int, cap: int) -> None:
        """A person turned the cap, and wants no more than that, nor fewer than ``least``."""
        self.least, self.most = least, cap
        self._home, self._known = None, {n: stay for n, stay in self._known.items() if least <= n <= cap}
        self.phase, self.sentence = "measuring", f"{cap} by hand, and no more by itself"
        self._moved(cap, now, self._in_flight)

    def queueing(self, now: float, running: int, waiting: int) -> Turn | None:
        """The server itself says how many requests it works on and how many wait in it, asked now and then: vLLM does.
        Where they do so twice, there is no need to measure how much slower it became. With others' requests among them
        it tells nothing: there it is latency that does."""
        is_ours = running + waiting <= ALONE * self._in_flight + 1
        self._queues = self._queues + 1 if is_ours and waiting >= max(1.0, QUEUED * self.cap) else 0
        if self._queues < 2 or self.phase != "climbing" or self._is_falling or self.cap <= self.least:
            return None
        wanted = max(self.least, self.cap - waiting, self.cap // 2, *(n for n in self._known if n < self.cap))
        if wanted >= self.cap:
            return None
        return self._turn(now, wanted, "measuring", f"{waiting} of {self.cap} wait at the server: trying {wanted}")

    def rested(self, now: float) -> None:
        """A pause is over: nothing of it is anybody's latency, and its emptiness is nobody's limit."""
        self._again(now)
        # All that may go goes at once now, as after a turn: the first wave is no throughput.
        self._generation = False

    # -- decisions

    def _first_generation(self, now: float) -> Turn | None:
        """As many answers have come as fit at once: the level has settled. Where nothing has become slower since the
        level below, it is not even measured."""
        if self._is_falling and self._known and self._stay.answers >= FEW and self._costs_nothing:
            self._known[self.cap] = self._stay
            return self._fall(now)
        below = self._below()
        is_climbing = self.phase == "climbing" and not self._is_falling and self._is_bound
        if is_climbing and below is not None and self._stay.answers >= FEW:
            ratio = self._latency(self._stay) / self._latency(below)
            if ratio < 1.0 + 0.5 * (1.0 - PAYS):
                self._known[self.cap] = self._stay
                return self._up(now, below)
        self._generation = True
        self._stay = Stay(self.cap, now, self._in_flight)
        return None

    def _measured(self, now: float) -> Turn | None:
        """Enough answers have come to judge the level."""
        stay = self._stay
        if not self._is_bound:
            return self._rest_here(now)
        if self.phase == "resting":
            # Where it had settled before, that still holds; else it looks for more.
            self.phase = "climbing" if self._home is None else "settled"
        if self.phase == "settled":
            return self._watched(now, stay)
        if self.phase == "probing":
            return self._probed(now, stay)
        self._learn(stay)
        if self._is_falling:
            return self._fall(now)
        below = self._below()
        if self.phase == "climbing" and (below is None or self._power(below, stay) > PAYS):
            return self._up(now, below)
        return self._choose(now)

    def _rest_here(self, now: float) -> Turn | None:
        """Something else than the cap holds the run: what is measured tells nothing of it."""
        if self.phase == "resting":
            self._again(now)
            return None
        cap = self._home.cap if self._home is not None else self.cap
        why = f"something else than the cap of {self.cap} holds the run: {cap} stays"
        return self._turn(now, cap, "resting", why)

    def _up(self, now: float, below: Stay | None) -> Turn | None:
        wanted = min(self._ceiling(now), math.ceil(self.cap * GROWTH))
        if wanted <= self.cap:
            return self._choose(now)
        said = f"{self.cap} is measured"
        if below is not None:
            said = f"{self.cap} gives {self._gain(below, self._stay):+.0%} over {below.cap}"
        return self._turn(now, wanted, "climbing", f"{said}: trying {wanted}")

    @property
    def _costs_nothing(self) -> bool:
        """Whether so few give as much as more did."""
        return self._throughput(self._stay) >= ENOUGH * self._throughput(self._top())

    def _fall(self, now: float) -> Turn | None:
        """The server became slower: half as many, for as long as that costs nothing."""
        if self.cap > self.least and self._costs_nothing:
            wanted = max(self.least, self.cap // 2)
            return self._turn(now, wanted, "climbing", f"{self.cap} are still too many: trying {wanted}")
        return self._choose(now)

    def _choose(self, now: float) -> Turn | None:
        """The fewest that give nearly all: measured, or to be tried between two that were."""
        self._is_falling = False
        good = self._good()
        maybe = self._good(doubt=1.0)
        if maybe < good and self._looks < LOOKS:
            self._looks += 1
            return self._turn(now, maybe, "measuring", f"{maybe} may be as good as {good}: another look")
        below = max((cap for cap in self._known if cap < good), default=None)
        if below is None and good > self.least and self._tries == 0:
            self._is_falling, self._tries = True, 1
            return self._turn(now, max(self.least, good // 2), "climbing", f"{good} may be too many: trying fewer")
        if below is not None and self._tries < TRIES and good > below + 1 and good > FINE * below:
            self._tries += 1
            reach = AIM * self._throughput(self._top()) / self._throughput(self._known[below])
            wanted = math.ceil(below * (reach if self._tries == 1 else math.sqrt(good / below)))
            wanted = max(below + 1, min(good - 1, wanted))
            return self._turn(now, wanted, "measuring", f"between {below} and {good}: trying {wanted}")
        return self._settle(now, good)

    def _good(self, doubt: float = 0.0) -> int:
        """The fewest of those measured that give nearly all. doubt: standard errors that are held for them."""
        top = max(self._surely(stay, -0.5) for stay in self._known.values())
        good, nearly = (
            min(cap for cap, stay in self._known.items() if self._surely(stay, doubt) >= share * top)
            for share in (ENOUGH, NEARLY)
        )
        dear = self._latency(self._known[good]) > DEAR * self._latency(self._known[nearly])
        return nearly if dear else good

    def _settle(self, now: float, cap: int) -> Turn | None:
        self._tries = self._looks = 0
        self._home = self._known[cap]
        more = min((n for n in self._known if n > cap), default=None)
        why = f"{cap} is enough"
        if more is not None:
            slower = self._latency(self._known[more]) / self._latency(self._home) - 1.0
            why += f": {more} gives {self._gain(self._home, self._known[more]):+.0%} at {slower:+.0%} of latency"
        elif cap >= self._ceiling(now):
            why = f"{cap} is as many as it may"
        elif (fewer := max((n for n in self._known if n < cap), default=None)) is not None:
            why += f": {fewer} gives {self._gain(self._home, self._known[fewer]):+.0%}"
        self._probe_at = now + max(self._rest, PATIENCE * self._stay.seconds)
        self._odd = 0
        return self._turn(now, cap, "settled", why)

    def _watched(self, now: float, stay: Stay) -> Turn | None:
        """Another generation where it has settled: is the server still the same? Is it time for a probe?"""
        assert self._home is not None
        change, error = self._change(stay)
        if self._home.answers < MANY:
            # Gone past in the climb, on few answers, and those that come first are short ones.
            self._known[self.cap] = self._home = stay
            if self._good() != self.cap:
                return self._choose(now)
        elif abs(change) > max(OTHER, 3.0 * error):
            self._odd += 1
            if self._odd >= 2 and abs(change) > MUCH:
                return self._other(now, change)
            if self._odd >= 2:
                self._adopt(now, stay)
        else:
            self._odd = 0
            self._learn(stay)
            self._home = self._known[self.cap]
            better = self._good(doubt=1.0)
            if better > self.cap and now >= self._probe_at - self._rest / 2:
                self._probed_up = True
                return self._turn(now, better, "probing", f"{better} may give more: another look")
        if now >= self._probe_at:
            return self._probe(now)
        self._again(now)
        return None

    def _adopt(self, now: float, stay: Stay) -> None:
        """What is measured here now is what holds; what was known of other levels was another server."""
        self._known = {self.cap: stay}
        self._home, self._odd, self._rest = stay, 0, REST
        self._probe_at = min(self._probe_at, now + max(REST, PATIENCE * stay.seconds))

    def _alarm(self, now: float, stay: Stay) -> Turn | None:
        """Answers take so much longer than they can by what was turned that it is not waited for more of them."""
        if self._home is None or stay.answers < FEW:
            return None
        change, error = self._change(stay)
        return self._other(now, change) if change > max(SLOW, 4.0 * error) else None

    def _change(self, stay: Stay) -> tuple[float, float]:
        """Of the latency since it was settled, in logarithms, beyond what the cap explains; and its standard error."""
        assert self._home is not None
        now, error = stay.latency(self._mean_tokens)
        expected = self._latency(self._home) * max(1.0, stay.cap / self._home.cap)
        return math.log(now / expected), error / now

    def _other(self, now: float, change: float) -> Turn | None:
        """The server is not the one that was measured: all is measured anew. Where it became slower there may be as
        many too many as it is slower; from too few it is soon up again."""
        self._known = {}
        self._home, self._odd, self._rest, self._tries, self._looks = None, 0, REST, 0, 0
        times = math.exp(change)
        self._is_falling = change > 0
        wanted = max(self.least, round(self.cap / times)) if change > 0 else self.cap
        why = f"answers take {times:.1f} times as long: measuring anew"
        return self._turn(now, wanted, "climbing", why)

    def _probe(self, now: float) -> Turn | None:
        """A few more, or fewer, in turns."""
        up = min(self._ceiling(now), max(self.cap + 1, math.ceil(self.cap * PROBE_UP)))
        down = max(self.least, min(self.cap - 1, math.floor(self.cap * PROBE_DOWN)))
        maybe = self._good(doubt=1.0) if self._known else self.cap
        if maybe < self.cap:
            down = maybe
        elif not self._is_open(now, down):
            down = self.cap
        ways = [cap for cap in ((down, up) if self._probed_up else (up, down)) if cap != self.cap]
        if not ways:
            self._probe_at = now + max(self._rest, PATIENCE * self._stay.seconds)
            self._again(now)
            return None
        self._probed_up = ways[0] > self.cap
        return self._turn(now, ways[0], "probing", f"trying {ways[0]}")

    def _is_open(self, now: float, cap: int) -> bool:
        """Whether it is not known that so few are too few."""
        stale = now - STALE * self._stay.seconds
        return cap < self.cap and not any(cap <= n < self.cap and one.ended > stale for n, one in self._known.items())

    def _probed(self, now: float, stay: Stay) -> Turn | None:
        home = self._home
        assert home is not None
        if self.cap < home.cap and self._throughput(stay) > FASTER * self._throughput(home):
            return self._other(now, math.log(self._latency(stay) / self._latency(home)))
        self._learn(stay)
        if self.cap > home.cap and self._power(home, stay, doubt=1.0) > PAYS:
            # What was measured above was another server, or it would have been gone to.
            self._rest = REST
            self._known = {n: one for n, one in self._known.items() if n <= self.cap}
            return self._up(now, home)
        good = self._good()
        self._rest = REST if good != home.cap else min(MOST_REST, 2.0 * self._rest)
        return self._settle(now, good)

    def _refused(self, now: float) -> Turn | None:
        stay = self._stay
        if self.cap <= self.least:
            return None
        fits = self._crowd.most()
        if fits is not None and fits < self.cap:
            return self._back(now, max(self.least, fits), f"{fits} are let in at a time, more are refused", True)
        if stay.refused < REFUSALS or stay.refused < REFUSED * stay.landed or not self._is_bound:
            return None
        good = max((n for n in self._known if n < self.cap), default=0)
        wanted = good if good >= BACK * self.cap else math.floor(BACK * self.cap)
        wanted = max(self.least, min(wanted, self.cap - 1))
        return self._back(now, wanted, f"429s at {self.cap}: back to {wanted}", False)

    def _back(self, now: float, cap: int, why: str, crowded: bool) -> Turn | None:
        """Fewer, and not so many again for a while."""
        limit = cap + 1 if crowded else self.cap
        again = abs(limit - self._limit) <= 0.15 * limit
        self._penalty = min(MOST_PENALTY, 2.0 * self._penalty) if again else PENALTY
        self._limit, self._limit_until = limit, now + self._penalty
        self._known = {n: one for n, one in self._known.items() if n < limit}
        self._tries, self._looks, self._home, self._is_falling = 0, 0, None, False
        turn = self._turn(now, cap, "backing off", why)
        return turn._replace(crowded=crowded) if turn is not None else None

    # -- what is known

    def _learn(self, stay: Stay) -> None:
        """What is known of a level, more exactly with each look at it."""
        older = self._known.get(stay.cap)
        if older is not None:
            mean, error = stay.latency(self._mean_tokens)
            if abs(math.log(mean / self._latency(older))) > max(OTHER, 3.0 * error / mean):
                # It is another server than it was then: what is older than that is not of this one either.
                self._known = {n: one for n, one in self._known.items() if one.ended > older.ended}
            else:
                stay.merge(older, HISTORY)
        self._known[stay.cap] = stay

    def _below(self) -> Stay | None:
        """A lower level that was measured, low enough to be told from this one."""
        lower = max((n for n in self._known if n * APART <= self.cap), default=None)
        return None if lower is None else self._known[lower]

    def _top(self) -> Stay:
        return max(self._known.values(), key=self._throughput)

    def _power(self, low: Stay, high: Stay, doubt: float = 0.0) -> float:
        """Of the concurrency, as which the throughput grew between two levels. doubt: standard errors less."""
        tokens = self._mean_tokens
        error = math.hypot(*(one.latency(tokens).error / one.latency(tokens).mean for one in (low, high)))
        grown = math.log(self._throughput(high) / self._throughput(low))
        return (grown - doubt * error) / math.log(high.cap / low.cap)

    def _gain(self, low: Stay, high: Stay) -> float:
        return self._throughput(high) / self._throughput(low) - 1.0

    def _throughput(self, stay: Stay) -> float:
        return stay.throughput(self._mean_tokens)

    def _surely(self, stay: Stay, doubt: float) -> float:
        """A throughput so many standard errors up: the best of several is mostly one that was lucky."""
        mean, error = stay.latency(self._mean_tokens)
        return stay.cap / (mean - min(doubt * error, 0.5 * mean))

    def _latency(self, stay: Stay) -> float:
        return stay.latency(self._mean_tokens).mean

    @property
    def _mean_tokens(self) -> float:
        return self._tokens / self._answers if self._tokens else 1.0

    @property
    def _is_bound(self) -> bool:
        """Whether the cap is what holds the run."""
        return self._stay.flying >= BOUND * self.cap

    def _ceiling(self, now: float) -> int:
        """No higher than that now."""
        most = self.most if now >= self._limit_until else min(self.most, int(self._limit) - 1)
        return max(self.least, most)

    # -- turning

    def _turn(self, now: float, cap: int, phase: Phase, why: str) -> Turn | None:
        """Go there; None where it stands there already."""
        self.phase, self.sentence = phase, why
        if cap == self.cap:
            self._again(now)
            return None
        self._moved(cap, now, self._in_flight)
        return Turn(cap, why)

    def _moved(self, cap: int, now: float, in_flight: int) -> None:
        self._generation = False
        self._before = Stay(self.cap, now, in_flight)
        self._in_flight = in_flight
        self._full_at = now if in_flight <= cap else None
        # A few more that pay are seen soon; that a few fewer do not cost is harder to see.
        is_clear = self.phase == "climbing" or (self.phase == "probing" and cap > self.cap)
        self._wanted = max(SOME if is_clear else MANY, cap)
        self.cap = cap
        self._queues = 0
        self._crowd = Crowd()
        self._stay = Stay(cap, now, in_flight)

    def _again(self, now: float) -> None:
        """The next generation at the same level."""
        self._generation = True
        self._stay = Stay(self.cap, now, self._in_flight)
