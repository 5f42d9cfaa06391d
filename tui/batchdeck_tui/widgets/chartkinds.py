"""What each chart of a run shows, and the words in its title: now, of a run that ended, and at the cursor. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batchdeck.model import Percentiles, Sample
from batchdeck_tui.format import UNKNOWN, brief, count, duration, money, rate, short
from batchdeck_tui.widgets.history import History, span

Here = Callable[[str], tuple[float, float] | None]
"""The least and the greatest value of a series where the cursor stands; None where nothing is known."""
Words = tuple[str, ...]
"""The same from the widest wording to the shortest."""


@dataclass(frozen=True)
class Kind:
    """What one chart shows. ``inks``: its series; the first is filled, what follows is a line over it.

    ``figures``: the newest value; ``summary``: the same for a run that has ended; ``here``: where the cursor stands.
    ``say``: labels of the y axis, ``floor``: its least top. ``empty``: what stands there while no point does.
    """

    name: str
    titles: tuple[str, str]
    inks: tuple[str, ...]
    figures: Callable[[Sample, History], Words]
    summary: Callable[[Sample, History], Words]
    here: Callable[[Here, History], Words]
    stems: bool = False
    floor: float = 1.0
    say: Callable[[float], str] = brief
    empty: str = ""


def between(found: tuple[float, float] | None, say: Callable[[float], str]) -> str:
    """``12``, or ``12–48`` where a column holds several values."""
    if found is None:
        return UNKNOWN
    low, high = say(found[0]), say(found[1])
    return low if low == high else f"{low}–{high}"


def at_most(found: tuple[float, float] | None, say: Callable[[float], str]) -> str:
    """The greatest value alone; what has no room must be the rest."""
    return UNKNOWN if found is None else say(found[1])


def _throughput(sample: Sample, _: History) -> Words:
    dt = span(sample)
    items, tokens = short((sample.done + sample.failed) / dt), short(sample.tokens_out / dt)
    return f"{items} items/s · {tokens} tok/s", f"{items}/s · {tokens} tok/s", f"{items}/s"


def _average(_: Sample, history: History) -> Words:
    seconds = history.seconds or 1.0
    items, tokens = rate(history.settled / seconds), short(history.tokens / seconds)
    return f"{items} · {tokens} tok/s on average", f"{items} on average", f"ø {items}", items


def _throughput_here(here: Here, _: History) -> Words:
    items = between(here("throughput"), short)
    return (
        f"{items} items/s · {between(here('tokens'), short)} tok/s",
        f"{items} items/s",
        f"{items}/s",
        f"{at_most(here('throughput'), short)}/s",
    )


def _items(sample: Sample, _: History) -> Words:
    items = short((sample.done + sample.failed) / span(sample))
    return f"{items} items/s", f"{items}/s"


def _average_items(_: Sample, history: History) -> Words:
    items = rate(history.settled / (history.seconds or 1.0))
    return f"{items} on average", f"ø {items}", items


def _items_here(here: Here, history: History) -> Words:
    return _throughput_here(here, history)[1:]


def _tokens(sample: Sample, _: History) -> Words:
    tokens = short(sample.tokens_out / span(sample))
    return f"{tokens} tok/s", tokens


def _average_tokens(_: Sample, history: History) -> Words:
    tokens = short(history.tokens / (history.seconds or 1.0))
    return (
        f"{tokens}/s · {short(history.tokens)} in all",
        f"{tokens}/s on average",
        f"ø {tokens}/s",
        f"{tokens}/s",
    )


def _tokens_here(here: Here, _: History) -> Words:
    found = here("tokens")
    return f"{between(found, short)} tok/s", f"{between(found, short)}/s", f"{at_most(found, short)}/s"


def _in_flight(sample: Sample, _: History) -> Words:
    flying = short(round(sample.in_flight))
    return f"{flying} of {sample.concurrency}", f"{flying}/{short(sample.concurrency)}"


def _most_in_flight(_: Sample, history: History) -> Words:
    most = short(history.most["in_flight"])
    return f"{most} at most", f"max {most}"


def _in_flight_here(here: Here, _: History) -> Words:
    flying, cap = between(here("in_flight"), _whole), between(here("cap"), _whole)
    return f"{flying} of {cap}", f"{flying}/{cap}", f"{at_most(here('in_flight'), _whole)}"


def _whole(value: float) -> str:
    return short(round(value))


def _queue(sample: Sample, _: History) -> Words:
    plain = f"{count(sample.queued)} waiting"
    return f"{plain} · {count(sample.backoff)} in backoff", plain, short(sample.queued)


def _deepest_queue(sample: Sample, history: History) -> Words:
    most = count(history.most["queue"])
    return f"{most} at most · {count(sample.queued)} left", f"{most} at most", f"max {short(history.most['queue'])}"


def _queue_here(here: Here, _: History) -> Words:
    found = here("queue")
    waiting = between(found, lambda value: count(round(value)))
    return f"{waiting} waiting", between(found, _whole), at_most(found, _whole)


def _hits(sample: Sample, history: History) -> Words:
    hits = count(history.hits)
    return f"{hits} in all · {sample.rate_limit_hits} now", f"{hits} in all", hits, short(history.hits)


def _all_hits(_: Sample, history: History) -> Words:
    hits = count(history.hits)
    return f"{hits} in all", hits, short(history.hits)


def _hits_here(here: Here, _: History) -> Words:
    found = here("hits")
    return f"{between(found, _whole)} here", between(found, _whole), at_most(found, _whole)


def _latency(p50: str, p95: str) -> Words:
    return f"p50 {p50} · p95 {p95}", f"{p50} · {p95}", p95


def _newest(name: str) -> Callable[[Sample, History], Words]:
    def figures(_: Sample, history: History) -> Words:
        now = history.timed
        return _latency(*(between(history.within(f"{name}_{p}", now, now), duration) for p in ("p50", "p95")))

    return figures


def _overall(number: int) -> Callable[[Sample, History], Words]:
    def summary(_: Sample, history: History) -> Words:
        found: Percentiles | None = history.recent.overall[number]
        words = _latency(*((duration(found.p50), duration(found.p95)) if found is not None else (UNKNOWN, UNKNOWN)))
        return (f"{words[0]} of all", *words)

    return summary


def _latency_here(name: str) -> Callable[[Here, History], Words]:
    def here_(here: Here, _: History) -> Words:
        p50, p95 = here(f"{name}_p50"), here(f"{name}_p95")
        return (
            *_latency(between(p50, duration), between(p95, duration))[:2],
            *_latency(at_most(p50, duration), at_most(p95, duration)),
        )

    return here_


def _spent(history: History) -> Callable[[float], str]:
    """Nothing at all is no price that is known; with answers that have none, the sum is a lower bound."""
    return lambda value: money(value or None, at_least=bool(history.unpriced))


def _cost(_: Sample, history: History) -> Words:
    spent = _spent(history)
    hourly = 3600 * history.cost / history.seconds if history.seconds else 0.0
    return f"{spent(history.cost)} · {spent(hourly)} an hour", spent(history.cost)


def _whole_cost(_: Sample, history: History) -> Words:
    spent = _spent(history)
    return f"{spent(history.cost)} in all", spent(history.cost)


def _cost_here(here: Here, history: History) -> Words:
    spent = at_most(here("cost"), _spent(history))
    return f"{spent} by then", spent


def _dollars(value: float) -> str:
    """``$12``, ``$0.6``, ``$0.012``: a round value, so its digits are few."""
    return f"${brief(value)}" if value >= 1 else f"${value:.4f}".rstrip("0") if value >= 0.0001 else "<0.1m$"


THROUGHPUT = Kind(
    "throughput", ("throughput", "items"), ("throughput",), _throughput, _average, _throughput_here
)  # fmt: skip
IN_FLIGHT = Kind(
    "in_flight", ("in flight", "flight"), ("in_flight", "cap"), _in_flight, _most_in_flight, _in_flight_here
)
QUEUE = Kind("queue", ("queue depth", "queue"), ("queue",), _queue, _deepest_queue, _queue_here)
HITS = Kind("hits", ("rate-limit hits", "429s"), ("hits",), _hits, _all_hits, _hits_here, stems=True)

FEW = (THROUGHPUT, IN_FLIGHT, QUEUE, HITS)
"""Beside a run's table."""
ALL = (
    Kind("throughput", ("throughput", "items"), ("throughput",), _items, _average_items, _items_here),
    Kind("tokens", ("tokens out", "tokens"), ("tokens",), _tokens, _average_tokens, _tokens_here),
    IN_FLIGHT,
    QUEUE,
    HITS,
    Kind(
        "ttft", ("TTFT", "TTFT"), ("ttft_p50", "ttft_p95"), _newest("ttft"), _overall(0), _latency_here("ttft"),
        floor=0.001, say=duration, empty="no first token yet",
    ),
    Kind(
        "e2e", ("E2E latency", "E2E"), ("e2e_p50", "e2e_p95"), _newest("e2e"), _overall(1), _latency_here("e2e"),
        floor=0.001, say=duration, empty="no answer yet",
    ),
    Kind(
        "cost", ("cost", "cost"), ("cost",), _cost, _whole_cost, _cost_here, floor=0.0001, say=_dollars,
    ),
)  # fmt: skip
"""On the charts' own screen, in order of reading."""
