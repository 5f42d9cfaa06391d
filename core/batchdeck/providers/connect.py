"""From a run's settings to something that can be asked: provider, base URL, headers with the key in them.

The key and every header that is not known to be harmless live in memory only, and are struck out of whatever a server
sends back before it is kept.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import AsyncIterator, Mapping

import msgspec

from batchdeck.errors import UsageError
from batchdeck.model import RunConfig, Settled
from batchdeck.providers.base import Provider
from batchdeck.providers.managed import Managed, managed_argv
from batchdeck.providers.openai import OpenAIChat
from batchdeck.providers.presets import endpoint_of, key, preset
from batchdeck.providers.redact import SHORTEST_WORD, Redaction, hidden_strings

_REFERENCE = re.compile(r"\$\{(\w+)\}")


class Connection(msgspec.Struct, frozen=True):
    """How a run's requests are addressed. ``secrets``: strings that must never be kept or shown."""

    provider: Provider
    base_url: str
    headers: tuple[tuple[str, str], ...]
    secrets: tuple[str, ...]

    def redact(self, settled: Settled) -> Settled:
        """The same with every secret struck out of what the server said."""
        return struck(settled, _redaction(self.secrets)) if self.secrets else settled


_redaction = functools.lru_cache(maxsize=8)(Redaction)
"""Made once for a run's secrets, not once for each of its answers."""


def struck(settled: Settled, redaction: Redaction) -> Settled:
    """A settled request without the secrets, wherever a server may have put them."""
    text = redaction.text
    answer, failure = settled.answer, settled.failure
    if answer is not None:
        answer = msgspec.structs.replace(
            answer,
            text=text(answer.text),
            finish_reason=answer.finish_reason and text(answer.finish_reason),
            model=answer.model and text(answer.model),
        )
    if failure is not None:
        failure = msgspec.structs.replace(failure, error_type=text(failure.error_type), message=text(failure.message))
    return msgspec.structs.replace(
        settled,
        raw=redaction.raw(settled.raw),
        answer=answer,
        failure=failure,
        headers=tuple((text(name), text(value)) for name, value in settled.headers),
    )


def fill_headers(
    config: RunConfig, secrets: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """The run's own headers with references to the environment filled in, and the values to keep secret.

    Raises ``UsageError`` for a header whose value is not known here.
    """
    headers: dict[str, str] = {}
    hidden: list[str] = []
    given = {name.lower(): value for name, value in secrets.items()}
    known = {name: given.pop(name.lower(), value) for name, value in config.headers.items()}
    for name, value in {**known, **given}.items():
        if not value:
            raise UsageError(
                f"this run needs the header {name}, whose value is not kept: give --header '{name}: …' again"
                f" (or launch with '{name}: ${{VARIABLE}}')"
            )
        for variable in _REFERENCE.findall(value):
            if variable not in environ:
                raise UsageError(f"the header {name} needs the environment variable {variable}, which is not set")
            hidden.append(environ[variable])
        headers[name] = _REFERENCE.sub(lambda match: environ[match[1]], value)
    for value in secrets.values():
        hidden.append(_REFERENCE.sub(lambda match: environ[match[1]], value))
        # where a reference stands in a secret, what is written out around it is one by itself
        hidden.extend(part for part in _REFERENCE.sub(" ", value).split() if len(part) >= SHORTEST_WORD)
    return headers, hidden


@contextlib.asynccontextmanager
async def connect(
    config: RunConfig, secrets: Mapping[str, str], environ: Mapping[str, str]
) -> AsyncIterator[Connection]:
    """Ready to ask; a provider that batchdeck brings runs for as long as this is open.

    Raises ``UsageError`` for a missing key or header, ``BatchdeckError`` when a managed provider does not start.
    """
    own, hidden = fill_headers(config, secrets, environ)
    endpoint = endpoint_of(config)
    secret = key(endpoint, environ)
    if secret:
        hidden.append(secret)
    never_kept = hidden_strings(hidden)
    provider = OpenAIChat(preset(endpoint.name), redact=never_kept, environ=environ)
    argv = managed_argv(config)
    async with contextlib.AsyncExitStack() as stack:
        base_url = endpoint.base_url
        if argv is not None:
            base_url = await stack.enter_async_context(Managed(argv))
        yield Connection(
            provider=provider,
            base_url=base_url,
            headers=provider.headers(config, secret, own),
            secrets=never_kept,
        )
