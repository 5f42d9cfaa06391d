"""What Prometheus scrapes is in its text format, true to the snapshot, and safe whatever a run is called."""

from __future__ import annotations

import re
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.control.prometheus import SECONDS, TOKENS, exposition
from batchdeck.metrics.histogram import Histogram
from batchdeck.model import Counts, ErrorClass, QuotaState, Reason, ServerLoad, Snapshot, Waiting

LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (\S+)', re.ASCII)
LABEL = re.compile(r'(\w+)="((?:[^"\\\n]|\\[\\"n])*)"', re.ASCII)

Key = tuple[str, frozenset[tuple[str, str]]]
NOW = Snapshot(
    run="translate",
    path="/runs/translate.db",
    state="running",
    message="",
    counts=Counts(
        items=1_000, done=600, failed=7, skipped=3, attempts=640, sends=645, retries=30, rate_limit_hits=12,
        tokens_in=64_000, tokens_out=12_800, tokens_cached=512, cost=1.25, unpriced=2, seconds=60.0,
    ),
    ingest_complete=True,
    items_expected=1_000,
    in_flight=24,
    backoff=6,
    queued=366,
    concurrency=24,
    uncommitted=1,
    rate=10.0,
    tokens_rate=200.0,
    eta=39.0,
    cooldown=1.5,
    ttft=None,
    e2e=None,
    errors=(ErrorClass(error_type="http_500", attempts=18, items=7, example="boom", example_idx=3),),
    seq=9,
    samples=60,
    at=1.0,
    waiting=Waiting(counts={"tpm": 360, "backoff": 6, "streaming": 24}, held="tpm", shares={"tpm": 0.92}),
    quotas=(
        QuotaState(meter="requests", limit=500, source="flag", remaining=None, rate=250),
        QuotaState(meter="tokens", limit=90_000, source="header", remaining=1_200, rate=45_000),
    ),
    settings={"concurrency": 24.0, "rpm": 500.0, "tpm": None, "max_cost": 2.5},
    queue_depth=212.4,
    mode="rate-limited",
    shared_by=2,
)  # fmt: skip


def filled(*values: float) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


def scrape(
    now: Snapshot = NOW, provider: str = "mistral", model: str = "small", **histograms: Histogram
) -> dict[Key, float]:
    """The samples by name and labels, read by the grammar of the format; every rule of it is checked on the way."""
    text = exposition(
        now,
        provider=provider,
        model=model,
        seconds={name: histograms.get(name, Histogram()) for name in ("duration", "time_to_first_chunk")},
        tokens={name: histograms.get(name, Histogram()) for name in ("input", "output")},
    ).decode("utf-8")
    assert text.endswith("\n")
    found: dict[Key, float] = {}
    kinds: dict[str, str] = {}
    family = ""
    for line in text[:-1].split("\n"):
        if line.startswith("#"):
            _, word, name, rest = line.split(" ", 3)
            if word == "TYPE":
                assert name not in kinds, "a family is one group"
                assert name == family, "HELP goes before"
                kinds[name] = rest
            family = name
            continue
        match = LINE.fullmatch(line)
        assert match is not None, line
        labels = LABEL.findall(match[2])
        assert len({name for name, _ in labels}) == len(labels)
        suffix = match[1].removeprefix(family)
        assert suffix in ({"_bucket", "_sum", "_count"} if kinds[family] == "histogram" else {""}), line
        assert (kinds[family] == "counter") == family.endswith("_total")
        key = (match[1], frozenset(labels))
        assert key not in found, "each line is there once"
        found[key] = float(match[3])
    return found


def one(found: dict[Key, float], name: str, **labels: str) -> float:
    """The one sample of this name with these labels among its own."""
    values = [value for (known, own), value in found.items() if known == name and set(labels.items()) <= own]
    assert len(values) == 1, (name, labels, values)
    return values[0]


def test_a_scrape_says_what_the_snapshot_says() -> None:
    found = scrape()
    assert one(found, "batchdeck_run_info", run="translate", provider="mistral", model="small") == 1
    assert one(found, "batchdeck_run_state", state="running") == 1
    assert one(found, "batchdeck_run_state", state="paused") == 0
    assert one(found, "batchdeck_items", state="done") == 600
    assert sum(value for (name, _), value in found.items() if name == "batchdeck_items") == NOW.counts.items
    for name, value in {
        "in_flight": 24, "concurrency": 24, "uncommitted": 1, "queue_depth": 366, "queue_depth_average": 212.4,
        "cooldown_seconds": 1.5, "eta_seconds": 39, "rate_limited": 1, "account_runs": 2, "attempts_total": 640,
        "sends_total": 645, "retries_total": 30, "rate_limit_hits_total": 12, "cost_usd_total": 1.25,
        "unpriced_answers_total": 2,
    }.items():  # fmt: skip
        assert one(found, f"batchdeck_{name}") == value, name
    assert one(found, "batchdeck_tokens_total", type="input") == 64_000
    assert one(found, "batchdeck_errors_total", error_type="http_500") == 18
    assert one(found, "batchdeck_error_items", error_type="http_500") == 7
    assert one(found, "batchdeck_quota_limit", meter="requests", source="flag") == 500
    assert one(found, "batchdeck_quota_rate", meter="tokens") == 45_000
    assert one(found, "batchdeck_setting", setting="max_cost") == 2.5


def test_every_reason_is_there_and_they_add_up() -> None:
    found = scrape()
    waiting = {
        dict(labels)["reason"]: value for (name, labels), value in found.items() if name == "batchdeck_waiting_items"
    }
    assert sorted(waiting) == sorted(get_args(Reason))
    assert sum(waiting.values()) == NOW.counts.unfinished
    assert waiting["tpm"] == 360
    assert waiting["cap"] == 0
    assert one(found, "batchdeck_held_ratio", reason="tpm") == 0.92
    assert one(found, "batchdeck_held_ratio", reason="cap") == 0


def test_what_is_unknown_is_left_out_and_never_zero() -> None:
    found = scrape(msgspec.structs.replace(NOW, eta=None, items_expected=None))
    names = {name for name, _ in found}
    assert not names & {"batchdeck_eta_seconds", "batchdeck_items_expected"}
    assert {dict(labels)["meter"] for name, labels in found if name == "batchdeck_quota_remaining"} == {"tokens"}
    assert {dict(labels)["setting"] for name, labels in found if name == "batchdeck_setting"} == {
        "concurrency", "rpm", "max_cost",
    }  # fmt: skip


def test_what_the_server_tells_of_itself_is_passed_on() -> None:
    run = frozenset({("run", "translate")})
    found = scrape(msgspec.structs.replace(NOW, server=ServerLoad(running=16, waiting=4, cache=0.83, at=1.0)))
    figures = {"running": 16, "waiting": 4, "cache_ratio": 0.83}
    assert {name: found[f"batchdeck_server_{name}", run] for name in figures} == figures
    assert not any(name.startswith("batchdeck_server") for name, _ in scrape())


def test_latencies_and_tokens_go_by_their_opentelemetry_names() -> None:
    asked = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "mistral_ai", "gen_ai_request_model": "small"}
    found = scrape(duration=filled(0.5, 1.28, 3.0, 900.0), time_to_first_chunk=filled(0.02), output=filled(1, 64, 65))
    duration = "gen_ai_client_operation_duration_seconds"
    counts = {bound: one(found, f"{duration}_bucket", le=bound, **asked) for bound in ("0.32", "0.64", "1.28", "5.12")}
    assert counts == {"0.32": 0, "0.64": 1, "1.28": 2, "5.12": 3}
    assert one(found, f"{duration}_bucket", le="655.36", **asked) == 3
    assert one(found, f"{duration}_bucket", le="+Inf", **asked) == 4
    assert one(found, f"{duration}_count", **asked) == 4
    assert one(found, f"{duration}_sum", **asked) == pytest.approx(904.78)
    assert one(found, "gen_ai_client_operation_time_to_first_chunk_seconds_count", **asked) == 1
    usage = {"gen_ai_token_type": "output", **asked}
    assert one(found, "gen_ai_client_token_usage_bucket", le="1", **usage) == 1
    assert one(found, "gen_ai_client_token_usage_sum", **usage) == 130
    assert one(found, "gen_ai_client_token_usage_count", gen_ai_token_type="input", **asked) == 0


@given(st.text(), st.text(), st.text(min_size=1))
def test_a_hostile_name_stays_inside_its_label(run: str, model: str, error_type: str) -> None:
    error = ErrorClass(error_type=error_type, attempts=1, items=0, example="", example_idx=0)
    found = scrape(msgspec.structs.replace(NOW, run=run, errors=(error,)), model=model)
    shown = {dict(labels)["error_type"] for name, labels in found if name == "batchdeck_errors_total"}
    unescaped = {re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text) for text in shown}
    assert unescaped == {error_type.encode("utf-8", "replace").decode()}


def test_half_a_surrogate_pair_is_no_text_and_breaks_no_scrape() -> None:
    assert one(scrape(model="\ud800"), "batchdeck_run_info", model="?") == 1


@given(st.lists(st.floats(1e-4, 1e4) | st.integers(0, 100_000).map(float), max_size=100))
def test_buckets_grow_and_lose_nothing(values: list[float]) -> None:
    """A value is counted at every bound that it does not pass; the bucket it shares may let in 2 % more."""
    for bounds in (SECONDS, TOKENS):
        counts = filled(*values).cumulative(bounds)
        for bound, count in zip(bounds, counts, strict=True):
            assert sum(value <= bound for value in values) <= count <= sum(value <= bound * 1.021 for value in values)
        assert counts == sorted(counts)
    assert filled(*values).sum == pytest.approx(sum(values))
