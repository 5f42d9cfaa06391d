"""A run's state in lines for a person: where it stands, why it waits, what limits and budgets it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from batchdeck import settings
from batchdeck.cli import sweeps
from batchdeck.format import UNKNOWN, cells, count, duration, hedges, percent, rate, some, spent, table
from batchdeck.inert import inert
from batchdeck.model import Counts, QuotaState, Reason, RunMeta, ServerLoad, Snapshot, Waiting

REASONS: dict[Reason, str] = {
    "cap": "behind the concurrency",
    "rpm": "for requests a minute",
    "tpm": "for tokens a minute",
    "daily": "for the daily limit",
    "cooldown": "held by a 429",
    "backoff": "to be tried again",
    "breaker": "for the provider to come back",
    "budget": "what is in flight may use the budget up",
    "store": "for the disk",
    "machine": "this machine is behind",
    "input": "for the input to be read",
    "sweep": "for a measured level to end",
    "paused": "paused",
    "stopping": "the run is ending",
    "connecting": "connecting",
    "first_token": "for the first token",
    "streaming": "streaming",
}
METERS = {
    "requests": "requests a minute",
    "tokens": "tokens a minute",
    "input_tokens": "input tokens a minute",
    "output_tokens": "output tokens a minute",
    "requests_day": "requests a day",
    "tokens_day": "tokens a day",
}
SOURCES = {
    "flag": "as set",
    "header": "said by the provider",
    "learned": "learned from 429s",
    "shared": "by another run",
}
_BUDGETS = ("max_cost", "max_tokens_total", "max_errors", "deadline", "max_outage")


def live_lines(now: Snapshot) -> Iterator[str]:
    """A run that an engine works on."""
    counts = now.counts
    settled = counts.done + counts.failed + counts.skipped
    about = "" if now.ingest_complete or now.items_expected is None else "about "
    yield f"{inert(now.run)}  {now.state}" + (f"  {inert(now.message)}" if now.message else "")
    sentence = now.waiting.sentence
    if sentence and sentence != now.message:
        yield f"  {inert(sentence)}"
    yield line("items", f"{about}{count(now.items_expected)}, {percent(settled, now.items_expected)} settled")
    yield line("outcomes", outcomes(counts))
    yield line("in flight", f"{count(now.in_flight)} of {count(now.concurrency)}{stalled(now)}")
    left = f", eta {duration(now.eta)}" if now.eta is not None else ""
    yield line("rate", f"{rate(now.rate)}, {rate(now.tokens_rate)} tokens out{left}")
    yield line("cost", spent(counts.cost, counts.unpriced))
    if counts.hedges:
        yield line("hedges", hedges(counts))
    yield line("mode", mode(now.mode, now.concurrency, counts.rate_limit_hits, now.queue_depth))
    if now.shared_by > 1:
        yield line("account", f"shared by {now.shared_by} runs of this machine")
    if now.server is not None:
        yield line("server", server(now.server))
    for budget in budgets(now.settings, counts):
        yield line("budget", budget)
    yield from waiting_lines(now.waiting)
    yield from quota_lines(now.quotas)
    yield from sweeps.live_lines(now.sweep)


def file_lines(meta: RunMeta) -> Iterator[str]:
    """A run that no engine works on, from its file."""
    counts = meta.counts
    settled = counts.done + counts.failed + counts.skipped
    yield f"{inert(meta.run)}  {meta.state}" + (f"  {inert(meta.message)}" if meta.message else "")
    yield line("items", f"{count(meta.items_expected)}, {percent(settled, meta.items_expected)} settled")
    yield line("outcomes", outcomes(counts))
    yield line("cost", spent(counts.cost, counts.unpriced))
    if counts.hedges:
        yield line("hedges", hedges(counts))
    for budget in budgets(settings.read(meta.config), counts):
        yield line("budget", budget)


def stalled(now: Snapshot) -> str:
    """``, 2 stalled (5 so far)``: streams that are silent now, and those that have ended so far."""
    so_far = f" ({count(now.counts.stalls)} so far)" if now.counts.stalls else ""
    return f", {count(now.stalled)} stalled{so_far}" if now.stalled or so_far else ""


def outcomes(counts: Counts) -> str:
    return f"{count(counts.done)} done, {count(counts.failed)} failed, {count(counts.skipped)} skipped"


def mode(name: str, cap: int, hits: int, depth: float) -> str:
    """``rate-limited: cap 24, 29 hits, average queue depth 212.4``"""
    return f"{name}: cap {count(cap)}, {some(hits, 'hit')}, average queue depth {depth:,.1f}"


def server(load: ServerLoad) -> str:
    """``16 running, 4 waiting, cache 83%``"""
    cache = "" if load.cache is None else f", cache {100 * load.cache:.0f}%"
    return f"{count(load.running)} running, {count(load.waiting)} waiting{cache}"


def budgets(given: Mapping[str, float | None], counts: Counts) -> Iterator[str]:
    """How much of each budget is used up: ``$0.12 of $2.50``. Those that are off are left out."""
    errors = counts.failed - counts.bad_lines
    for name in _BUDGETS:
        value = given.get(name)
        if value is None:
            continue
        shown = settings.show(name, value)
        match name:
            case "max_cost":
                yield f"{spent(counts.cost, counts.unpriced)} of {shown}"
            case "max_tokens_total":
                yield f"{count(counts.tokens_in + counts.tokens_out)} of {shown} tokens"
            case "max_errors" if 0 < value < 1:
                yield f"{percent(errors, counts.done + errors)} of items failed, {shown} at most"
            case "max_errors":
                yield f"{count(errors)} of {shown} failed items"
            case "max_outage":
                yield f"{shown} of outage at most" if value else "no outage is waited for"
            case "deadline":
                yield f"until {shown}"


def waiting_lines(waiting: Waiting) -> Iterator[str]:
    """The unfinished items by their reason, and how much of the last minute each held the run."""
    shown = [name for name in get_args(Reason) if waiting.counts.get(name) or waiting.shares.get(name)]
    if not shown:
        return
    rows = [
        (
            name,
            count(waiting.counts.get(name, 0)),
            f"{100 * waiting.shares[name]:.0f}%" if waiting.shares.get(name) else "",
            REASONS[name],
        )
        for name in shown
    ]
    yield ""
    yield from table(("WAITING", "ITEMS", "LAST MINUTE", ""), rows, (1, 2))


def quota_lines(quotas: tuple[QuotaState, ...]) -> Iterator[str]:
    """What the account may send, as far as that is known."""
    if not quotas:
        return
    rows = [
        (
            METERS[quota.meter],
            f"{quota.limit:,.0f}",
            UNKNOWN if quota.remaining is None else f"{quota.remaining:,.0f}",
            f"{quota.rate:,.0f}",
            SOURCES[quota.source],
        )
        for quota in quotas
    ]
    yield ""
    yield from table(("QUOTA", "LIMIT", "REMAINING", "FOR THIS RUN", ""), rows, (1, 2, 3))


def setting_lines(given: Mapping[str, float | None]) -> list[str]:
    """All settings, as ``ctl config`` takes them."""
    rows = [
        (name.replace("_", "-"), settings.show(name, given.get(name)), setting.does)
        for name, setting in settings.SETTINGS.items()
    ]
    return table(("SETTING", "VALUE", ""), rows, (1,))


def line(name: str, text: str) -> str:
    return f"  {name}{' ' * max(1, 10 - cells(name))}{text}"
