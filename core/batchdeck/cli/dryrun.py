"""``batchdeck run --dry-run``: what a launch would send and to where, and what is known of its cost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from batchdeck.errors import InputError, UsageError
from batchdeck.model import RunConfig

if TYPE_CHECKING:
    from batchdeck.inputs.check import Checked


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What is known before anything is sent. US dollars, None: unknown.

    ``tokens_in``: guessed from the bytes that are asked. ``tokens_out_most``: where the answers have a limit, so many
    at most. ``price``: of a million input and output tokens.
    """

    tokens_in: int
    tokens_out_most: int | None
    price: tuple[float, float] | None
    cost_in: float | None
    cost_most: float | None


def dry_run(config: RunConfig, *, show: bool, as_json: bool, strict: bool) -> None:
    """Read the whole input as the launch would. Raises ``InputError`` for a bad line under ``--strict``."""
    from batchdeck.export import inert_json
    from batchdeck.inputs.check import check
    from batchdeck.inputs.open import open_input
    from batchdeck.prompts import Prompts

    if config.input == "-" and not show:
        raise UsageError("--strict reads the input twice, which standard input does not allow; save it to a file")
    source = open_input(config.input, config.input_format)
    checked = check(source, Prompts(config.prompt, config.system, source.columns), config.limit)
    if show:
        forecast = forecast_of(checked, config)
        if as_json:
            print(inert_json(_said(checked, config, forecast)).decode())
        else:
            print("\n".join(_lines(checked, config, forecast)))
    if strict and checked.bad_count:
        raise InputError(f"{checked.bad_count} bad lines, and --strict is given; the first: {checked.bad[0][1]}")


def forecast_of(checked: Checked, config: RunConfig) -> Forecast:
    """Tokens and dollars, as far as they are known."""
    from batchdeck.limits.estimate import FIRST_BYTES
    from batchdeck.providers.presets import preset
    from batchdeck.providers.pricing import MILLION, Prices

    tokens_in = round(checked.size / FIRST_BYTES)
    most = config.max_tokens
    tokens_out_most = None if most is None else most * (checked.rows - checked.bad_count)
    price = Prices(preset(config.provider)).per_million(config)
    cost_in = None if price is None else tokens_in * price[0] / MILLION
    cost_most = None
    if price is not None and cost_in is not None and tokens_out_most is not None:
        cost_most = cost_in + tokens_out_most * price[1] / MILLION
    return Forecast(
        tokens_in=tokens_in, tokens_out_most=tokens_out_most, price=price, cost_in=cost_in, cost_most=cost_most
    )


def _first(checked: Checked, config: RunConfig) -> tuple[str | None, Any]:
    """Where the first request goes, and its body."""
    from batchdeck.providers.openai import OpenAIChat
    from batchdeck.providers.presets import preset

    if checked.first is None:
        return None, None
    provider = OpenAIChat(preset(config.provider))
    body = msgspec.json.decode(provider.body(checked.first, config))
    return config.base_url + provider.path(checked.first), body


def _said(checked: Checked, config: RunConfig, forecast: Forecast) -> dict[str, Any]:
    url, request = _first(checked, config)
    return {
        "items": checked.rows,
        "bad": checked.bad_count,
        "bad_lines": [{"line": line, "error": error} for line, error in checked.bad],
        "columns": checked.columns,
        "sample": checked.sample,
        "key": _key(config),
        "estimate": forecast,
        "url": url,
        "request": request,
    }


def _key(config: RunConfig) -> dict[str, Any]:
    """The variable of the key, whether it is set and whether one is needed. Never the key."""
    from batchdeck.providers.presets import endpoint_of

    endpoint = endpoint_of(config)
    is_set = bool(endpoint.key_env and os.environ.get(endpoint.key_env))
    return {"name": endpoint.key_env, "set": is_set, "needed": endpoint.key_required}


def _lines(checked: Checked, config: RunConfig, forecast: Forecast) -> Iterator[str]:
    from batchdeck.format import count, money
    from batchdeck.inert import inert, inert_lines

    columns = inert(", ".join(checked.columns))
    yield f"{checked.rows} items, {checked.bad_count} bad lines; columns: {columns}"
    for _, error in checked.bad:
        yield f"  {inert(error)}"
    known = forecast.price
    if known is None:
        dollars = "no price is known"
    else:
        dollars = f"{money(known[0])} a million in, {money(known[1])} out: {money(forecast.cost_in)} for what is sent"
    answers = "how long the answers are is not known"
    if forecast.tokens_out_most is not None:
        answers = f"at most {count(forecast.tokens_out_most)} tokens of answers"
        answers += "" if forecast.cost_most is None else f", {money(forecast.cost_most)} in all"
    yield f"about {count(forecast.tokens_in)} tokens to send ({dollars}); {answers}"
    url, request = _first(checked, config)
    if request is not None:
        body = msgspec.json.format(msgspec.json.encode(request), indent=2).decode()
        yield f"The first request (nothing was sent):\nPOST {inert(url or '')}\n{inert_lines(body)}"
