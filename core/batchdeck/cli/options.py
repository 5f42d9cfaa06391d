"""From options to a ``RunConfig``: what ``run`` and ``demo`` share."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from batchdeck import config as places
from batchdeck.errors import UsageError

SAFE_HEADERS = {
    "accept", "accept-language", "anthropic-version", "content-language", "http-referer", "openai-organization",
    "openai-project", "referer", "user-agent", "x-title",
}  # fmt: skip
"""Headers whose values may be kept in the run file."""
_REFERENCES = re.compile(r"((bearer|basic|token|key|apikey|api-key)\s+)?(\$\{\w+\}\s*)+", re.IGNORECASE)
"""References to the environment and nothing else but the word that says how a key is meant."""


class Seconds(click.FloatRange):
    """A time above 0 that has an end: ``nan`` and ``inf`` are floats to Python, and no time to wait."""

    def __init__(self) -> None:
        super().__init__(0, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return seconds


def checked_text(given: Mapping[str, Any]) -> None:
    """Refuse options that are not text in UTF-8: nothing that speaks JSON could carry them. Raises ``UsageError``."""
    for name, value in given.items():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and _is_broken(text):
                option = "INPUT" if name == "input" else f"--{name.replace('_', '-')}"
                raise UsageError(f"{option}: '{_shown(text)}' is not UTF-8; give it another name or spelling")


def whole_path(path: Path | str) -> str:
    """A path as an engine process is told it. Raises ``UsageError`` for one that is not UTF-8."""
    whole = os.path.abspath(path)
    if _is_broken(whole):
        raise UsageError(f"the path '{_shown(whole)}' is not UTF-8; rename the file or its folder")
    return whole


def _is_broken(text: str) -> bool:
    """Whether it holds bytes that are no UTF-8, which Python keeps as halves of surrogate pairs."""
    return any("\ud800" <= char <= "\udfff" for char in text)


def _shown(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def is_reference(value: str) -> bool:
    """Whether a header's value names variables and holds nothing that could be a secret by itself."""
    return _REFERENCES.fullmatch(value) is not None


def split_headers(given: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """``--header`` options as (what the run file keeps, what must not be kept).

    A value that might be a secret is kept as an empty string: the name says what a resume needs again. A reference
    ``${NAME}`` to the environment is kept as it is, where nothing but a scheme (``Bearer``) stands beside it.
    """
    kept: dict[str, str] = {}
    secrets: dict[str, str] = {}
    for header in given:
        name, colon, value = header.partition(":")
        name, value = name.strip(), value.strip()
        if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not value or not value.isprintable():
            raise UsageError("--header takes 'Name: value'")
        if name.lower() in SAFE_HEADERS or is_reference(value):
            kept[name] = value
            secrets.pop(name, None)
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
