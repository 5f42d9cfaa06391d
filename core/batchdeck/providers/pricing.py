"""What an answer costs, by the price that the run was given, else by those that genai-prices ships; none is looked up
online.

genai-prices takes 80 µs an answer; its rates of a model, read once, give the same sum in 1 µs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from batchdeck.model import Answer, RunConfig
from batchdeck.providers.presets import Preset

FREE = ("local",)
"""Providers whose every answer costs nothing. A server of one's own has its price, which nobody here knows."""

MILLION = 1e6


class Rate(msgspec.Struct, frozen=True):
    """US dollars for a million tokens. ``tiers``: above so many input tokens, another price (descending)."""

    base: float
    tiers: tuple[tuple[int, float], ...] = ()

    def at(self, tokens_in: int) -> float:
        for start, price in self.tiers:
            if tokens_in > start:
                return price
        return self.base


class Rates(msgspec.Struct, frozen=True):
    """The three prices of a model that count here."""

    tokens_in: Rate
    cached: Rate
    tokens_out: Rate

    def cost(self, tokens_in: int, tokens_out: int, cached: int) -> float:
        """Cached tokens are part of ``tokens_in``; which tier counts is decided by all of the input."""
        cached = min(cached, tokens_in)
        dollars = (tokens_in - cached) * self.tokens_in.at(tokens_in)
        dollars += cached * self.cached.at(tokens_in)
        dollars += tokens_out * self.tokens_out.at(tokens_in)
        return dollars / MILLION


class Prices:
    """Prices of one provider's models."""

    def __init__(self, quirks: Preset) -> None:
        self._name = quirks.name
        self._provider = quirks.prices
        self._fixed: dict[tuple[str, str], Rates | None] = {}
        self._by_time: dict[tuple[str, str], Any] = {}

    def warm(self) -> None:
        """Import the price list, unless this provider needs none."""
        if self._name not in ("sim", *FREE):
            self._rates("", "")

    def known(self, config: RunConfig) -> bool:
        """Whether answers of ``config.model`` are likely to have a price. What is answered may be another model.

        A run without a model of its own (each batch line names one) is taken for known where there is a price list.
        """
        if config.price is not None or self._name in FREE:
            return True
        if self._name == "sim":
            return False
        if not config.model:
            return self._provider is not None
        return self._rates(config.model, config.base_url) is not None

    def cost(self, answer: Answer, config: RunConfig) -> float | None:
        """US dollars, None when unknown. A price that the run was given wins over every list."""
        if config.price is not None:
            return given_cost(config.price, answer)
        if self._name in FREE:
            return 0.0
        if self._name == "sim" or answer.tokens_in is None or answer.tokens_out is None:
            return None
        for model in models_to_price(config.model, answer.model):
            rates = self._rates(model, config.base_url)
            if rates is not None:
                return rates.cost(answer.tokens_in, answer.tokens_out, answer.tokens_cached or 0)
        return None

    def per_million(self, config: RunConfig) -> tuple[float, float] | None:
        """US dollars for a million input and output tokens of short requests, None when unknown."""
        if config.price is not None:
            return config.price
        if self._name in FREE:
            return 0.0, 0.0
        rates = None if self._name == "sim" else self._rates(config.model, config.base_url)
        return None if rates is None else (rates.tokens_in.base, rates.tokens_out.base)

    def _rates(self, model: str, base_url: str) -> Rates | None:
        key = (model, base_url)
        if key in self._fixed:
            return self._fixed[key]
        if key not in self._by_time:
            found = self._find(model, base_url)
            if found is None or not isinstance(found.prices, list):
                self._fixed[key] = None if found is None else read_rates(found.prices, found.id)
                return self._fixed[key]
            self._by_time[key] = found
        # some models have another price at another time of day
        found = self._by_time[key]
        return read_rates(found.get_prices(datetime.now(UTC)), found.id)

    def _find(self, model: str, base_url: str) -> Any:
        """genai-prices' model, None when it knows none. A server without a preset of its own is known by its URL."""
        from genai_prices.data_snapshot import get_snapshot

        snapshot = get_snapshot()
        if not model or not (self._provider or base_url):
            return None
        try:
            _, found = snapshot.find_provider_model(model, None, self._provider, None if self._provider else base_url)
        except LookupError:
            return None
        return found


def given_cost(price: tuple[float, float], answer: Answer) -> float | None:
    """By dollars for a million input and output tokens; cached ones cost as much as the others."""
    if answer.tokens_in is None or answer.tokens_out is None:
        return None
    return (answer.tokens_in * price[0] + answer.tokens_out * price[1]) / MILLION


def models_to_price(asked: str, answered: str | None) -> tuple[str, ...]:
    """The names to look a price up by, best first.

    What answered is what is billed (a batch line or a router may have chosen it), unless it is the asked name made
    longer (a date) or shorter (``:free`` left out).
    """
    if not answered:
        return (asked,)
    if answered.startswith(asked) or asked.startswith(answered):
        return (asked, answered) if asked else (answered,)
    return (answered, asked) if asked else (answered,)


def read_rates(prices: Any, model: str) -> Rates | None:
    """Rates from genai-prices' ``ModelPrice``; None for a model that is not billed by tokens."""
    tokens_in, tokens_out = prices.input_mtok, prices.output_mtok
    if tokens_in is None and tokens_out is None:
        return Rates(Rate(0.0), Rate(0.0), Rate(0.0)) if model.endswith(":free") else None
    cached = prices.cache_read_mtok
    return Rates(_rate(tokens_in), _rate(tokens_in if cached is None else cached), _rate(tokens_out))


def _rate(price: Any) -> Rate:
    if price is None:
        return Rate(0.0)
    if hasattr(price, "tiers"):
        tiers = tuple((tier.start, float(tier.price)) for tier in reversed(price.tiers))
        return Rate(float(price.base), tiers)
    return Rate(float(price))
