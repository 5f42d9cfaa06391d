"""From options to a ``RunConfig``: what ``run`` and ``demo`` share."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from batchdeck import config as places
from batchdeck.errors import UsageError

SAFE_HEADERS = {
    "accept", "accept-language", "anthropic-version", "content-language", "http-referer", "openai-organization",
    "openai-project", "referer", "user-agent", "x-title",
}  # fmt: skip
"""Headers whose values may be kept in the run file."""
_REFERENCE = re.compile(r"\$\{\w+\}")


def split_headers(given: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """``--header`` options as (what the run file keeps, what must not be kept).

    A value that might be a secret is kept as an empty string: the name says what a resume needs again. A reference
    ``${NAME}`` to the environment is kept as it is.
    """
    kept: dict[str, str] = {}
    secrets: dict[str, str] = {}
    for header in given:
        name, colon, value = header.partition(":")
        name, value = name.strip(), value.strip()
        if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not value or not value.isprintable():
            raise UsageError("--header takes 'Name: value'")
        if name.lower() in SAFE_HEADERS or _REFERENCE.search(value):
            kept[name] = value
        else:
            kept[name] = ""
            secrets[name] = value
    return kept, secrets


def split_params(given: tuple[str, ...]) -> dict[str, Any]:
    """``--param k=v`` options; a value that is JSON is taken as such, anything else as text."""
    params: dict[str, Any] = {}
    for param in given:
        name, equals, value = param.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--param takes name=value, not '{param}'")
        try:
            params[name.strip()] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            params[name.strip()] = value
    return params


def new_run_path(name: str | None, source: str, now: datetime) -> Path:
    """Where a new run goes that was given no ``--db``: named for its input and the time, never an existing file."""
    stem = name or re.sub(r"[^\w.-]+", "-", Path(source).stem if source != "-" else "stdin").strip("-.") or "run"
    if not re.fullmatch(r"[\w.-]{1,100}", stem) or stem.startswith("."):
        raise UsageError(f"--name takes letters, digits, '.', '_' and '-', not '{stem}'")
    base = stem if name else f"{stem}-{now:%m%d-%H%M%S}"
    folder = places.runs_folder()
    path = folder / f"{base}.db"
    number = 2
    while path.exists():
        if name:
            raise UsageError(f"there is a run called '{name}' already; 'batchdeck resume {name}' goes on with it")
        path = folder / f"{base}-{number}.db"
        number += 1
    return path
