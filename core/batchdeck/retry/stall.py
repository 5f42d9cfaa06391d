"""When a stream that fell silent is said to be stalled: a pure rule.

A server decodes a token a step, so the gaps of one stream are much alike. Even if they came wholly by chance
(exponential), only one in e^20, 5e8, would be twenty times their mean: what is silent for longer has another cause.
Their mean is the stream's own, and where the run knows it that of its slower answers (p99), since a stream that has
just begun knows little of itself. Five seconds at least, because a proxy that buffers, or a garbage collection, is
silent for a second or two and goes on; half of the idle timeout at most, because a stall is to be seen before that
ends it. Any byte ends a silence, as it does for the idle timeout: some servers send comments while a model thinks.
"""

from __future__ import annotations

LEAST = 5.0
"""Seconds of silence that are no stall, however fast the stream was."""
GAPS = 20.0
"""How many of its usual gaps a silence may last."""
OWN_FROM = 8
"""Tokens from which the mean of a stream's own gaps means something."""


def first_look(idle: float) -> float:
    """Seconds of silence below which none can be a stall. idle: the idle timeout."""
    return min(LEAST, idle / 2)


def patience(tokens: int, streamed: float, usual: float | None, idle: float) -> float:
    """Seconds that a stream may be silent.

    tokens: that came so far, within ``streamed`` seconds from the first to the last. usual: p99 of the mean gaps of the
    run's answers, None while it knows none.
    """
    own = streamed / (tokens - 1) if tokens >= OWN_FROM else 0.0
    return min(max(LEAST, GAPS * max(own, usual or 0.0)), idle / 2)
