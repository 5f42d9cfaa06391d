"""A snapshot as Prometheus reads it: the text exposition format, version 0.0.4.

Names are those of the OpenTelemetry semantic conventions for generative AI (open-telemetry/semantic-conventions-genai,
gen-ai-metrics) where they name what is measured here, with dots as underscores and the unit behind; all others are
``batchdeck_``. Every line carries the run's name, so that several runs can be kept side by side. Written by hand:
prometheus_client keeps its figures in a registry of the process, and ours all stand in one frozen value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, get_args

from batchdeck.metrics.histogram import Histogram
from batchdeck.model import Counts, Reason, RunState, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = tuple(0.01 * 2**power for power in range(17))
"""The conventions' buckets, and three more: a request may take ten minutes here."""
TOKENS = tuple(4.0**power for power in range(14))
"""The conventions' buckets."""
_PROVIDERS = {"gemini": "gcp.gemini", "mistral": "mistral_ai", "xai": "x_ai"}
"""Where the conventions call a provider otherwise than we do."""

Kind = Literal["gauge", "counter", "histogram"]
Lines = Iterator[str]
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def exposition(
    now: Snapshot, *, provider: str, model: str, seconds: Mapping[str, Histogram], tokens: Mapping[str, Histogram]
) -> bytes:
    """All that a scrape gets.

    seconds: of this engine's attempts that gave an answer, by ``duration`` and ``time_to_first_chunk``. tokens: of its
    answers, by ``input`` and ``output``. What is unknown is left out, never zero.
    """
    run = {"run": now.run}
    asked = {**run, "gen_ai_operation_name": "chat"}
    asked |= {"gen_ai_provider_name": _PROVIDERS.get(provider, provider), "gen_ai_request_model": model}
    lines = [
        *_run(now, run, provider, model),
        *_items(now, run),
        *_counters(now.counts, run),
        *_errors(now, run),
        *_limits(now, run),
        *_seconds(asked, seconds),
        *_tokens(asked, tokens),
    ]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _run(now: Snapshot, run: Mapping[str, str], provider: str, model: str) -> Lines:
    yield from _family("batchdeck_run_info", "gauge", "What the run is.")
    yield _sample("batchdeck_run_info", {**run, "provider": provider, "model": model}, 1)
    yield from _by("batchdeck_run_state", "gauge", "1 for the state that the run is in.", run, "state",
                   ((state, int(state == now.state)) for state in get_args(RunState)))  # fmt: skip
    yield from _gauge("batchdeck_in_flight", "Requests that are open.", run, now.in_flight)
    yield from _gauge("batchdeck_concurrency", "Requests that may be open at once.", run, now.concurrency)
    yield from _gauge("batchdeck_hedging", "Second requests among those that are open.", run, now.hedging)
    yield from _gauge("batchdeck_stalled", "Streams that began and are silent now.", run, now.stalled)
    yield from _gauge("batchdeck_uncommitted", "Answers received that the disk does not hold yet.", run,
                      now.uncommitted)  # fmt: skip
    yield from _gauge("batchdeck_queue_depth", "Items neither settled nor in flight.", run, now.queued)
    yield from _gauge("batchdeck_queue_depth_average", "The same, on average over the whole run.", run,
                      now.queue_depth)  # fmt: skip
    yield from _gauge("batchdeck_eta_seconds", "Until everything is settled, at the rate of the last 10 s.", run,
                      now.eta)  # fmt: skip
    yield from _gauge("batchdeck_rate_limited", "1 when a 429 came, or limits held it in the last minute.", run,
                      int(now.mode == "rate-limited"))  # fmt: skip
    yield from _gauge("batchdeck_account_runs", "Runs of this machine on the same account.", run, now.shared_by)
    yield from _gauge("batchdeck_cooldown_seconds", "Until a 429 lets the account go on; 0: none holds it.", run,
                      now.cooldown)  # fmt: skip
    server = now.server
    if server is not None:
        yield from _gauge("batchdeck_server_running", "Requests that the server says it works on, whoever's.", run,
                          server.running)  # fmt: skip
        yield from _gauge("batchdeck_server_waiting", "Requests that the server says wait in it.", run, server.waiting)
        yield from _gauge("batchdeck_server_cache_ratio", "Share of the server's KV cache that is taken.", run,
                          server.cache)  # fmt: skip


def _items(now: Snapshot, run: Mapping[str, str]) -> Lines:
    counts = now.counts
    flying = now.in_flight - now.hedging
    states = {
        "queued": max(0, counts.unfinished - flying),
        "in_flight": flying,
        "done": counts.done,
        "failed": counts.failed,
        "skipped": counts.skipped,
    }
    yield from _by("batchdeck_items", "gauge", "Items by state.", run, "state", states.items())
    yield from _gauge("batchdeck_items_expected", "Items that the whole input gives, perhaps an estimate.", run,
                      now.items_expected)  # fmt: skip
    reasons: tuple[Reason, ...] = get_args(Reason)
    waiting = now.waiting
    yield from _by("batchdeck_waiting_items", "gauge", "Unfinished items, each under the one reason why it waits.",
                   run, "reason", ((reason, waiting.counts.get(reason, 0)) for reason in reasons))  # fmt: skip
    yield from _by("batchdeck_held_ratio", "gauge", "Share of the last minute that a reason held the run.", run,
                   "reason", ((reason, waiting.shares.get(reason, 0.0)) for reason in reasons))  # fmt: skip


def _counters(counts: Counts, run: Mapping[str, str]) -> Lines:
    """Over all sessions of the run, as committed."""
    for name, does, value in (
        ("attempts", "Attempts that ended.", counts.attempts),
        ("sends", "Requests sent.", counts.sends),
        ("retries", "Attempts after an item's first.", counts.retries),
        ("rate_limit_hits", "Attempts answered 429.", counts.rate_limit_hits),
        ("stalls", "Streams that began and fell silent for long.", counts.stalls),
        ("hedges", "Second requests sent for stragglers.", counts.hedges),
        ("hedge_wins", "Those of them that answered first.", counts.hedge_wins),
        ("hedge_tokens", "Tokens of requests whose item another one settled, at least.", counts.hedge_tokens),
        ("hedge_cost_usd", "US dollars of those, as far as told or guessed.", counts.hedge_cost),
        ("cost_usd", "US dollars, of answers with a known price.", counts.cost),
        ("unpriced_answers", "Answers whose cost is unknown.", counts.unpriced),
    ):
        yield from _family(f"batchdeck_{name}_total", "counter", does)
        yield _sample(f"batchdeck_{name}_total", run, value)
    kinds = {"input": counts.tokens_in, "output": counts.tokens_out, "cached": counts.tokens_cached}
    yield from _by("batchdeck_tokens_total", "counter", "Tokens used; the cached ones are input, too.", run, "type",
                   kinds.items())  # fmt: skip


def _errors(now: Snapshot, run: Mapping[str, str]) -> Lines:
    yield from _by("batchdeck_errors_total", "counter", "Attempts that ended in an error, by its class.", run,
                   "error_type", ((error.error_type, error.attempts) for error in now.errors))  # fmt: skip
    yield from _by("batchdeck_error_items", "gauge", "Items that failed of an error, by its class.", run,
                   "error_type", ((error.error_type, error.items) for error in now.errors))  # fmt: skip


def _limits(now: Snapshot, run: Mapping[str, str]) -> Lines:
    yield from _family("batchdeck_quota_limit", "gauge", "The account's limit, a minute or a day.")
    for quota in now.quotas:
        yield _sample("batchdeck_quota_limit", {**run, "meter": quota.meter, "source": quota.source}, quota.limit)
    known = ((quota.meter, quota.remaining) for quota in now.quotas if quota.remaining is not None)
    yield from _by("batchdeck_quota_remaining", "gauge", "What the provider would still take now.", run, "meter", known)
    yield from _family("batchdeck_quota_rate", "gauge", "What this run may use of the limit, a minute or a day.")
    for quota in now.quotas:
        # A known limit and a learned pace may both be of requests.
        yield _sample("batchdeck_quota_rate", {**run, "meter": quota.meter, "source": quota.source}, quota.rate)
    given = ((name, value) for name, value in now.settings.items() if value is not None)
    yield from _by("batchdeck_setting", "gauge", "Limits and budgets as they are set.", run, "setting", given)


def _seconds(asked: Mapping[str, str], seconds: Mapping[str, Histogram]) -> Lines:
    for name, does in (
        ("duration", "Seconds from request to last token."),
        ("time_to_first_chunk", "Seconds from request to first token."),
    ):
        full = f"gen_ai_client_operation_{name}_seconds"
        yield from _family(full, "histogram", does)
        yield from _buckets(full, asked, seconds[name], SECONDS)


def _tokens(asked: Mapping[str, str], tokens: Mapping[str, Histogram]) -> Lines:
    yield from _family("gen_ai_client_token_usage", "histogram", "Tokens of an answer.")
    for kind, histogram in tokens.items():
        yield from _buckets("gen_ai_client_token_usage", {**asked, "gen_ai_token_type": kind}, histogram, TOKENS)


def _buckets(name: str, labels: Mapping[str, str], histogram: Histogram, bounds: tuple[float, ...]) -> Lines:
    for bound, count in zip((*bounds, math.inf), (*histogram.cumulative(bounds), histogram.total), strict=True):
        yield _sample(f"{name}_bucket", {**labels, "le": _number(bound)}, count)
    yield _sample(f"{name}_sum", labels, histogram.sum)
    yield _sample(f"{name}_count", labels, histogram.total)


def _gauge(name: str, does: str, labels: Mapping[str, str], value: float | None) -> Lines:
    if value is not None:
        yield from _family(name, "gauge", does)
        yield _sample(name, labels, value)


def _by(
    name: str, kind: Kind, does: str, labels: Mapping[str, str], label: str, values: Iterable[tuple[str, float]]
) -> Lines:
    yield from _family(name, kind, does)
    for key, value in values:
        yield _sample(name, {**labels, label: key}, value)


def _family(name: str, kind: Kind, does: str) -> Lines:
    yield f"# HELP {name} {does}"
    yield f"# TYPE {name} {kind}"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    pairs = ",".join(f'{label}="{text.translate(_ESCAPED)}"' for label, text in labels.items())
    return f"{name}{{{pairs}}} {_number(value)}"


def _number(value: float) -> str:
    """As Go reads a float; whole numbers without a point."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.12g}"
