"""What a vLLM server's exposition tells of its load, whatever version wrote it and whatever else stands in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.model import ServerLoad
from batchdeck.providers.vllm import metrics_url, parse_load

V1 = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="Qwen/Qwen3-8B"} 16.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="Qwen/Qwen3-8B"} 4.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="Qwen/Qwen3-8B"} 0.8331
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 4.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="Qwen/Qwen3-8B"} 900.0
python_info{implementation="CPython"} 1.0
"""


def load(running: int, waiting: int, cache: float | None) -> ServerLoad:
    return ServerLoad(running=running, waiting=waiting, cache=cache, at=7.0)


def test_a_server_of_today_is_read() -> None:
    assert parse_load(V1, 7.0) == load(16, 4, 0.8331)


def test_the_older_name_of_the_cache_is_known_and_both_may_stand_side_by_side() -> None:
    old = V1.replace(b"kv_cache_usage_perc", b"gpu_cache_usage_perc")
    assert parse_load(old, 7.0) == load(16, 4, 0.8331)
    assert parse_load(old + b'vllm:kv_cache_usage_perc{engine="0"} 0.9\n', 7.0) == load(16, 4, 0.9)
    assert parse_load(V1.replace(b"kv_cache", b"cpu_cache"), 7.0) == load(16, 4, None)


def test_of_several_engines_and_models_requests_are_added_up_and_the_fullest_cache_counts() -> None:
    text = b"""\
vllm:num_requests_running{engine="0",model_name="a"} 3.0
vllm:num_requests_running{engine="1",model_name="a"} 5.0
vllm:num_requests_running{engine="0",model_name="b \\"} } 9\\""} 1.0
vllm:num_requests_waiting{engine="0",model_name="a"} 0.0
vllm:num_requests_waiting{engine="1",model_name="a"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="a"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="a"} 0.75
"""
    assert parse_load(text, 7.0) == load(9, 2, 0.75)


@pytest.mark.parametrize(
    "text",
    [
        b"vllm:num_requests_running 2\nvllm:num_requests_waiting 1\n",
        b"vllm:num_requests_running 2 1717171717000\r\nvllm:num_requests_waiting\t1e0 -5\r\n",
        b"vllm:num_requests_running{} 2\nvllm:num_requests_waiting{} 1",
    ],
)
def test_labels_timestamps_and_the_last_newline_are_optional(text: bytes) -> None:
    assert parse_load(text, 7.0) == load(2, 1, None)


@pytest.mark.parametrize(
    "line",
    [
        b'vllm:num_requests_waiting{engine="0"} NaN',
        b"vllm:num_requests_waiting +Inf",
        b"vllm:num_requests_waiting 1e300",
        b"vllm:num_requests_waiting -3",
        b"vllm:num_requests_waiting twelve",
        b"vllm:num_requests_waiting",
        b'vllm:num_requests_waiting{model="never closed 3',
        b"  vllm:num_requests_waiting_total 3",
        b"# vllm:num_requests_waiting 3",
    ],
)
def test_what_is_no_count_is_not_taken_for_one(line: bytes) -> None:
    assert parse_load(b"vllm:num_requests_running 2\n" + line + b"\n", 7.0) is None
    whole = b"vllm:num_requests_running 2\nvllm:num_requests_waiting 1\n"
    assert parse_load(whole + line + b"\n", 7.0) == load(2, 1, None)


def test_a_share_beyond_the_whole_is_unknown() -> None:
    whole = b"vllm:num_requests_running 2\nvllm:num_requests_waiting 1\nvllm:kv_cache_usage_perc "
    assert [parse_load(whole + said, 7.0) for said in (b"83", b"-1", b"NaN")] == [load(2, 1, None)] * 3


@pytest.mark.parametrize(
    "text", [b"", b"<html>not found</html>", b"\x00\xff\xfe" * 9, b"llamacpp:requests_processing 3"]
)
def test_another_server_tells_nothing(text: bytes) -> None:
    assert parse_load(text, 7.0) is None


@pytest.mark.parametrize("filling", [b'vllm:num_requests_running{a="', b"vllm:num_requests_running{", b'",', b"\\"])
def test_megabytes_meant_to_take_long_do_not(filling: bytes) -> None:
    # a pattern that tries every way through this would take hours
    assert parse_load(V1 + filling * (2_000_000 // len(filling)), 7.0) == load(16, 4, 0.8331)


@given(st.binary(max_size=300))
def test_nothing_that_a_server_sends_breaks_it(text: bytes) -> None:
    assert parse_load(V1 + b"\n" + text, 7.0) is not None
    parse_load(b"vllm:num_requests_running{" + text + b"} 3\nvllm:num_requests_waiting 1", 7.0)


def test_the_metrics_stand_beside_the_api() -> None:
    assert metrics_url("http://127.0.0.1:8000/v1") == "http://127.0.0.1:8000/metrics"
    assert metrics_url("https://gpu.example/llm/v1/") == "https://gpu.example/llm/metrics"
    assert metrics_url("http://vllm:8000") == "http://vllm:8000/metrics"
    assert metrics_url("http://[::1]:8000/v1") == "http://[::1]:8000/metrics"
