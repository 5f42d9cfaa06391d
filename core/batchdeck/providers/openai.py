"""The OpenAI chat completions protocol: how a request is said, with each provider's quirks."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from batchdeck.errors import UsageError
from batchdeck.model import Answer, Failure, Rendered, RunConfig
from batchdeck.providers.chat import ChatDecoder
from batchdeck.providers.failures import failure
from batchdeck.providers.presets import Endpoint, Preset, preset
from batchdeck.providers.pricing import Prices
from batchdeck.providers.redact import Redaction
from batchdeck.version import __version__

PATH = "/chat/completions"
MAX_TOKENS_NAMES = ("max_tokens", "max_completion_tokens")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name (RFC 9110, section 5.6.2)."""
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FRAMING = ("content-length", "transfer-encoding", "connection", "te", "upgrade", "expect")

_encode = msgspec.json.Encoder().encode


class OpenAIChat:
    """A ``providers.base.Provider`` for every server that speaks ``/chat/completions``."""

    def __init__(
        self, of: Endpoint | Preset, *, redact: tuple[str, ...] = (), environ: Mapping[str, str] | None = None
    ) -> None:
        """of: the provider whose quirks count.

        redact: secret values that a server might echo; they are struck out of every message and of the live text.
        environ: fills ``${NAME}`` in headers, the process's own by default.
        """
        quirks = preset(of.name) if isinstance(of, Endpoint) else of
        self.name = quirks.name
        self._quirks = quirks
        self._redaction = Redaction(redact)
        self._environ = os.environ if environ is None else environ
        self._prices = Prices(quirks)

    def path(self, rendered: Rendered) -> str:
        """Of a batch line its own, where the base URL already holds the ``/v1``."""
        path = rendered.path or PATH
        return path.removeprefix("/v1") if path.startswith("/v1/") else path

    def body(self, rendered: Rendered, config: RunConfig) -> bytes:
        """The run's settings fill what a batch line leaves open; only how the answer comes is the run's to say."""
        body: dict[str, Any] = dict(rendered.body) if rendered.body is not None else {}
        if rendered.messages is not None:
            body.setdefault("messages", rendered.messages)
        if config.model:
            body.setdefault("model", config.model)
        if config.max_tokens is not None and not any(name in body for name in MAX_TOKENS_NAMES):
            body[self._quirks.max_tokens_name] = config.max_tokens
        for name, value in config.params.items():
            if name in MAX_TOKENS_NAMES and rendered.body is None:
                # a name that the user wrote out is the one that the server wants
                for other in MAX_TOKENS_NAMES:
                    body.pop(other, None)
            body.setdefault(name, value)
        body.pop("stream", None)
        options = body.pop("stream_options", None)
        if config.stream:
            body["stream"] = True
            if self._quirks.stream_options:
                body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        return _encode(body)

    def headers(self, config: RunConfig, key: str | None, secrets: dict[str, str]) -> tuple[tuple[str, str], ...]:
        """Names in lower case; later sources win: ours, the run's, the secret ones. Raises ``UsageError``.

        secrets: header values as they are to be sent; only the run's own may name variables of the environment.
        """
        headers = {
            "accept": "text/event-stream, application/json" if config.stream else "application/json",
            "content-type": "application/json",
            "user-agent": f"batchdeck/{__version__}",
        }
        if key:
            headers["authorization"] = f"Bearer {key}"
        given = {checked_name(name): value for name, value in secrets.items()}
        for name, value in config.headers.items():
            if checked_name(name) not in given:
                headers[checked_name(name)] = self._filled(name, value)
        headers.update(given)
        for name, value in headers.items():
            if not _VALUE.fullmatch(value):
                raise UsageError(f"the header '{name}' holds a line break or a character that no header can carry")
        return tuple(headers.items())

    def decoder(self, content_type: str, stream: bool) -> ChatDecoder:
        """Neither argument decides: servers mislabel, and the first byte tells."""
        return ChatDecoder(redact=self._redaction, total_holds_reasoning=self._quirks.total_holds_reasoning)

    def failure(self, status: int, headers: tuple[tuple[str, str], ...], body: bytes, now_at: float) -> Failure:
        return failure(status, headers, body, now_at, self._redaction.hidden)

    def cost(self, answer: Answer, config: RunConfig) -> float | None:
        return self._prices.cost(answer, config)

    def warm(self) -> None:
        """Load what is slow to import (prices, 0.3 s), so that the first answer need not wait. Safe in a thread."""
        self._prices.warm()

    def _filled(self, name: str, value: str) -> str:
        def variable(match: re.Match[str]) -> str:
            found = self._environ.get(match[1])
            if found is None:
                raise UsageError(f"the header '{name}' asks for the environment variable {match[1]}, which is not set")
            return found

        return _VARIABLE.sub(variable, value).strip()


def checked_name(name: str) -> str:
    """A header's name in lower case. Raises ``UsageError`` for what is none, and for those that frame the body."""
    lower = name.strip().lower()
    if not _TOKEN.fullmatch(lower):
        raise UsageError(f"{name[:60]!r} is not the name of a header")
    if lower in _FRAMING:
        raise UsageError(f"the header '{lower}' belongs to the connection and cannot be set")
    return lower


def for_run(config: RunConfig, *, redact: tuple[str, ...] = (), environ: Mapping[str, str] | None = None) -> OpenAIChat:
    """The provider that a run was made for. Raises ``UsageError`` for a name that is not known."""
    return OpenAIChat(preset(config.provider), redact=redact, environ=environ)
