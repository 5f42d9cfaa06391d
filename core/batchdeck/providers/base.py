"""What a provider must know: how to say a request and how to read a reply. No I/O happens here."""

from __future__ import annotations

from typing import Protocol

from batchdeck.model import Answer, Failure, Rendered, RunConfig


class Decoder(Protocol):
    """Reads one 2xx body piece by piece."""

    tokens: int
    """Pieces of text seen so far: the live token count until the server says its own."""

    @property
    def is_complete(self) -> bool:
        """The end mark was seen: nothing that may follow belongs to the answer."""

    def feed(self, chunk: bytes) -> str:
        """Take bytes, return the new text in them (often empty). Raises ``errors.DecodeError``."""

    def finish(self) -> Answer:
        """The whole answer, once the body is complete. Raises ``errors.DecodeError``."""

    def partial(self) -> Answer:
        """What can be said of an answer that broke off. Never raises."""


class Provider(Protocol):
    """A wire protocol with one provider's quirks. Stateless: one serves all slots."""

    name: str

    def path(self, rendered: Rendered) -> str:
        """Where to POST, below the base URL, e.g. ``/chat/completions``."""

    def body(self, rendered: Rendered, config: RunConfig) -> bytes:
        """The request as JSON."""

    def headers(self, config: RunConfig, key: str | None, secrets: dict[str, str]) -> tuple[tuple[str, str], ...]:
        """All headers of a request, the key's among them."""

    def decoder(self, content_type: str, stream: bool) -> Decoder:
        """A reader for a 2xx body; ``stream``: what was asked for, servers differ in what they send."""

    def failure(self, status: int, headers: tuple[tuple[str, str], ...], body: bytes, now_at: float) -> Failure:
        """What a non-2xx answer means. ``now_at``: wall time, to read HTTP dates."""

    def cost(self, answer: Answer, config: RunConfig) -> float | None:
        """US dollars for one answer, None when the price or the token counts are unknown."""

    def warm(self) -> None:
        """Load what is slow to load, before the first answer needs it. May be called in a thread."""
