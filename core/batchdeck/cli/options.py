"""From options to a ``RunConfig``: what the verbs that launch and steer a run share."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from batchdeck import config as places
from batchdeck import settings
from batchdeck.errors import UsageError
from batchdeck.model import RunConfig

F = TypeVar("F", bound=Callable[..., Any])

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


class Given(msgspec.Struct, frozen=True):
    """The value of a setting that was given: None is *off*, which is not the same as not given."""

    value: float | None


class SettingValue(click.ParamType["Given"]):
    """A value as ``settings.parse`` takes it. Raises ``UsageError``, whose one line names the option."""

    name = "value"

    def __init__(self, setting: str) -> None:
        self._setting = setting

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, Given):
            return value
        return Given(settings.parse(self._setting, value, datetime.now(tz=UTC).timestamp()))


_METAVARS = {
    "cap": "N|auto",
    "count": "N",
    "money": "DOLLARS",
    "errors": "N|SHARE%",
    "moment": "WHEN",
    "seconds": "TIME",
    "share": "on|SHARE%",
}
_HELP = {
    "concurrency": "Requests in flight at once, or 'auto': as many as pay. + and - change it while it runs.",
    "min_concurrency": "With auto: never fewer.",
    "max_concurrency": "With auto: never more.",
    "rpm": "Requests a minute at most, e.g. 500. Without it: learned from the provider's answers, as all these are.",
    "tpm": "Tokens a minute at most, in and out, e.g. 90k.",
    "input_tpm": "Input tokens a minute at most.",
    "output_tpm": "Output tokens a minute at most.",
    "rpd": "Requests in 24 hours at most.",
    "tpd": "Tokens in 24 hours at most.",
    "max_cost": "Stop before the run costs more US dollars, e.g. 2.50.",
    "max_tokens_total": "Stop before the run uses more tokens, in and out, e.g. 2m.",
    "max_errors": "Stop at so many failed items, or at their share of those settled, e.g. 50 or 5%.",
    "deadline": "Stop then: a time from now, a time of day or a date, e.g. 2h30m, 17:30, 2030-01-31T06:00.",
    "max_outage": "Stop when the provider is down for longer, e.g. 15m; 0: items fail instead of waiting.",
    "hedge": "Ask again where an answer takes unusually long, take the first, cancel the other: for at most this share"
    " of the requests, e.g. 2%; on: 5%. Off by default.",
    "priority": "Weight among the runs that share the account, 1 to 100.",
}
LIMITS = tuple(name for name in settings.SETTINGS if name != "concurrency")
"""Of the settings, those that hold a run back."""


def setting_options(*names: str, default: Mapping[str, str] | None = None) -> Callable[[F], F]:
    """An option for each of these settings; ``changes`` reads them."""

    def add(function: F) -> F:
        for name in reversed(names):
            setting, preset = settings.SETTINGS[name], (default or {}).get(name)
            flags = [f"--{name.replace('_', '-')}", *(["-c"] if name == "concurrency" else [])]
            function = click.option(
                *flags,
                name,
                type=SettingValue(name),
                metavar=_METAVARS[setting.kind],
                default=preset,
                show_default=preset is not None,
                help=_HELP[name],
            )(function)
        return function

    return add


def changes(given: Mapping[str, Any]) -> dict[str, float | None]:
    """The settings among a command's options, those that were given."""
    return {name: given[name].value for name in settings.SETTINGS if isinstance(given.get(name), Given)}


class Price(click.ParamType[tuple[float, float]]):
    """``IN/OUT``: US dollars for a million input and output tokens."""

    name = "price"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"\$?(\d{1,6}(?:\.\d{1,9})?)/\$?(\d{1,6}(?:\.\d{1,9})?)", value.replace(" ", ""), re.ASCII)
        if not found:
            self.fail(f"'{_shown(value)[:40]}' is not IN/OUT in US dollars, e.g. 0.15/0.60.", param, ctx)
        return float(found[1]), float(found[2])


def check_price(config: RunConfig) -> None:
    """Refuse a limit in dollars where nobody knows what an answer costs. Raises ``UsageError``."""
    if config.budget.max_cost is None:
        return
    from batchdeck.model import Answer
    from batchdeck.providers.presets import preset
    from batchdeck.providers.pricing import Prices

    one = Answer(text="", tokens_in=1, tokens_out=1)
    if Prices(preset(config.provider)).cost(one, config) is None:
        raise UsageError(
            f"--max-cost needs a price, and none is known for '{config.model[:80]}' at {config.provider}:"
            " launch with --price IN/OUT (US dollars for a million tokens), or limit it with --max-tokens-total"
        )


class Sectioned(click.Command):
    """A command with many options: its ``--help`` shows them in sections."""

    def __init__(self, *args: Any, sections: Mapping[str, Iterable[str]], **kwargs: Any) -> None:
        """sections: by title, the options' names. What is in none comes first, under *Options*."""
        super().__init__(*args, **kwargs)
        self._sections = {name: title for title, names in sections.items() for name in names}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        sections |= {title: [] for title in self._sections.values()}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections[self._sections.get(parameter.name or "", "Options")].append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


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
            why = f": the value of {name} is not kept, give it again" if colon and not value else ""
            raise UsageError(f"--header takes 'Name: value'{why}")
        if name.lower() in SAFE_HEADERS or is_reference(value):
            kept[name] = value
            secrets.pop(name, None)
        else:
            kept[name] = ""
            secrets[name] = value
    return kept, secrets


def split_params(given: tuple[str, ...], option: str = "--param") -> dict[str, Any]:
    """``--param k=v`` options, or another's of that form; a value that is JSON is taken as such, others as text."""
    params: dict[str, Any] = {}
    for param in given:
        name, equals, value = param.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{option} takes name=value, not '{param}'")
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
