"""From a run's settings to something that can be asked: provider, base URL, headers with the key in them.

The key and every header that is not known to be harmless live in memory only, and are struck out of whatever a server
sends back before it is kept.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Mapping

import msgspec

from batchdeck.errors import UsageError
from batchdeck.model import RunConfig, Settled
from batchdeck.providers.base import Provider
from batchdeck.providers.managed import Managed, managed_argv
from batchdeck.providers.openai import OpenAIChat
from batchdeck.providers.presets import endpoint_of, key, preset

REDACTED = "[redacted]"
_REFERENCE = re.compile(r"\$\{(\w+)\}")


class Connection(msgspec.Struct, frozen=True):
    """How a run's requests are addressed. ``secrets``: strings that must never be kept or shown."""

    provider: Provider
    base_url: str
    headers: tuple[tuple[str, str], ...]
    secrets: tuple[str, ...]

    def redact(self, settled: Settled) -> Settled:
        """The same with every secret struck out of what the server said."""
        for secret in self.secrets:
            settled = _strike(settled, secret)
        return settled


def _strike(settled: Settled, secret: str) -> Settled:
    raw, answer, failure = settled.raw, settled.answer, settled.failure
    if secret.encode() in raw:
        settled = msgspec.structs.replace(settled, raw=raw.replace(secret.encode(), REDACTED.encode()))
    if answer is not None and secret in answer.text:
        answer = msgspec.structs.replace(answer, text=answer.text.replace(secret, REDACTED))
        settled = msgspec.structs.replace(settled, answer=answer)
    if failure is not None and secret in failure.message:
        failure = msgspec.structs.replace(failure, message=failure.message.replace(secret, REDACTED))
        settled = msgspec.structs.replace(settled, failure=failure)
    if any(secret in value for _, value in settled.headers):
        headers = tuple((name, value.replace(secret, REDACTED)) for name, value in settled.headers)
        settled = msgspec.structs.replace(settled, headers=headers)
    return settled


def fill_headers(
    config: RunConfig, secrets: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """The run's own headers with references to the environment filled in, and the values to keep secret.

    Raises ``UsageError`` for a header whose value is not known here.
    """
    headers: dict[str, str] = {}
    hidden: list[str] = []
    for name, value in {**config.headers, **secrets}.items():
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
    hidden.extend(secrets.values())
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
    hidden = [value for value in hidden if len(value) >= 4]
    provider = OpenAIChat(preset(endpoint.name), redact=tuple(hidden), environ=environ)
    argv = managed_argv(config)
    async with contextlib.AsyncExitStack() as stack:
        base_url = endpoint.base_url
        if argv is not None:
            base_url = await stack.enter_async_context(Managed(argv))
        yield Connection(
            provider=provider,
            base_url=base_url,
            headers=provider.headers(config, secret, own),
            secrets=tuple(hidden),
        )
