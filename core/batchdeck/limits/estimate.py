"""How many tokens a request will use: its prompt by its bytes, its answer by those before. Learned as it goes."""

from __future__ import annotations

import msgspec

FIRST_BYTES = 4.0
"""Bytes of a request for one token, before any answer told better: the usual figure for English."""
FIRST_ANSWER = 256.0
"""Tokens of an answer before one was seen."""
LONGEST_ANSWER = 1_000_000
"""Tokens of one answer that are believed."""
MEMORY = 32
"""Answers that count in the averages, older ones fade."""
MOST_DOUBLINGS = 3
"""How often the reckoned answer of a refused request is doubled."""


class Need(msgspec.Struct, frozen=True):
    """What one request uses of the account, in requests and tokens."""

    tokens_in: float
    tokens_out: float
    requests: float = 1.0


class Estimate:
    """Averages over the answers of this session."""

    def __init__(self, max_tokens: int | None = None) -> None:
        self._most = float(max_tokens) if max_tokens is not None else None
        self._bytes = FIRST_BYTES
        self._answer = FIRST_ANSWER if self._most is None else min(FIRST_ANSWER, self._most)
        self._seen = 0

    def __repr__(self) -> str:
        return f"<Estimate {self._bytes:.1f} bytes a token, {self._answer:.0f} tokens an answer>"

    def need(self, size: int, refusals: int = 0) -> Need:
        """What a request whose body has ``size`` bytes is likely to use.

        refusals: how often it was answered 429. Where tokens are the limit, what is refused is a large one more often
        than not, so with each refusal a longer answer is reckoned with.
        """
        longer = self._answer * 2.0 ** min(refusals, MOST_DOUBLINGS)
        return Need(
            tokens_in=max(1.0, size / self._bytes),
            tokens_out=longer if self._most is None else min(longer, max(self._answer, self._most)),
        )

    def learn(self, size: int, tokens_in: int | None, tokens_out: int | None) -> None:
        """An answer told what its request of ``size`` bytes used."""
        weight = 1 / min(MEMORY, self._seen + 1)
        if tokens_in:
            self._bytes += weight * (max(0.25, size / tokens_in) - self._bytes)
        if tokens_out is not None:
            self._answer += weight * (min(tokens_out, LONGEST_ANSWER) - self._answer)
        if tokens_in or tokens_out is not None:
            self._seen += 1
