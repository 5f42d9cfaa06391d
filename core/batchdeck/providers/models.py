"""Which models an endpoint offers: what it tells at ``/models`` beside ``/chat/completions``.

Form: https://platform.openai.com/docs/api-reference/models/list; Together answers with the bare list.
"""

from __future__ import annotations

import msgspec

from batchdeck.errors import BatchdeckError, PageRefused, TransportError
from batchdeck.providers.connect import Connection
from batchdeck.providers.redact import Redaction
from batchdeck.transport.page import Page

MOST = 5_000
"""Models that are listed; a router has some hundreds."""
LONGEST = 200
"""Characters of a name that can be a model's."""


async def list_models(connection: Connection, key_env: str | None, seconds: float) -> tuple[str, ...]:
    """The names, in the order of the alphabet. Raises ``BatchdeckError`` in one line that holds no secret.

    key_env: the variable that the key is from, for that line. seconds: for the whole answer.
    """
    url = f"{connection.base_url}/models"
    hidden = Redaction(connection.secrets)
    try:
        page = Page(url, connection.headers, seconds)
        try:
            body = await page.get()
        finally:
            await page.close()
    except PageRefused as error:
        has_key = any(name == "authorization" for name, _ in connection.headers)
        raise BatchdeckError(_refused(url, error.status, key_env, has_key=has_key)) from error
    except TransportError as error:
        raise BatchdeckError(hidden.text(str(error))) from error
    return tuple(hidden.text(name) for name in read_models(body, url))


def read_models(body: bytes, url: str) -> tuple[str, ...]:
    """The names in an answer, each once. url: where it is from, for the ``BatchdeckError`` when it is no such list."""
    try:
        said = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        said = None
    models = said.get("data") if isinstance(said, dict) else said
    if not isinstance(models, list):
        raise BatchdeckError(f"{url} does not answer with a list of models")
    names = (model.get("id") for model in models if isinstance(model, dict))
    return tuple(sorted({name for name in names if isinstance(name, str) and 0 < len(name) <= LONGEST})[:MOST])


def _refused(url: str, status: int, key_env: str | None, *, has_key: bool) -> str:
    if status in (401, 403):
        if has_key:
            return f"{url} refuses the key in {key_env or 'the headers'} ({status})"
        return f"{url} wants a key ({status})" + (f": set {key_env}" if key_env else "")
    if status in (404, 405):
        return f"{url} answers {status}: this endpoint lists no models, or its base URL lacks the /v1"
    return f"{url} answers {status}"
