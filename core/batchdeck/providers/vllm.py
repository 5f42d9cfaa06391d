"""What a vLLM server says of itself at ``/metrics``: how many requests it works on, how many queue, how full it is.

Names: https://docs.vllm.ai/en/stable/usage/metrics/. The share of the KV cache is ``vllm:gpu_cache_usage_perc`` in V0
and ``vllm:kv_cache_usage_perc`` in V1, which for some versions said both; 1 is all of it, whatever ``perc`` may mean.
Format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
import re
from urllib.parse import urlsplit, urlunsplit

from batchdeck.model import ServerLoad

_RUNNING, _WAITING = b"num_requests_running", b"num_requests_waiting"
_CACHE = (b"kv_cache_usage_perc", b"gpu_cache_usage_perc")
_SAMPLE = re.compile(
    rb"^vllm:(num_requests_running|num_requests_waiting|kv_cache_usage_perc|gpu_cache_usage_perc)"
    # nothing is tried twice, however long a line is
    rb'(?:\{(?:[^"}\n]++|"(?:[^"\\\n]++|\\.)*+")*+\})?+[ \t]++([^ \t\r\n]{1,40})(?:[ \t]++-?\d++)?+[ \t]*+\r?$',
    re.MULTILINE,
)
_MOST = 1e9
"""A count beyond this is none."""


def parse_load(text: bytes, at: float) -> ServerLoad | None:
    """The load that an exposition tells of, None when it is not vLLM's.

    A server of several engines or models has one sample for each: their requests are added up, of their caches the
    fullest counts. at: wall time, kept with it.
    """
    counts: dict[bytes, float] = {}
    cache: float | None = None
    for name, written in _SAMPLE.findall(text):
        value = _number(written)
        if name in _CACHE:
            if 0.0 <= value <= 1.0:
                cache = value if cache is None else max(cache, value)
        elif 0.0 <= value <= _MOST:
            counts[name] = counts.get(name, 0.0) + value
    if _RUNNING not in counts or _WAITING not in counts:
        return None
    return ServerLoad(running=round(counts[_RUNNING]), waiting=round(counts[_WAITING]), cache=cache, at=at)


def metrics_url(base_url: str) -> str:
    """Where the server of a base URL tells of itself: beside ``/v1``, on the same host."""
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/").removesuffix("/v1") + "/metrics"))


def _number(written: bytes) -> float:
    try:
        return float(written)
    except ValueError:
        return math.nan
