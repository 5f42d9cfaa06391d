"""What answers cost, against genai-prices' own sums."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.model import Answer, RunConfig
from batchdeck.providers.presets import PRESETS
from batchdeck.providers.pricing import Prices, models_to_price, read_rates

COUNTS = st.integers(0, 2_000_000)


def config(model: str, base_url: str = "", price: tuple[float, float] | None = None) -> RunConfig:
    return RunConfig(
        name="r", input="-", input_format="jsonl", model=model, provider="custom", base_url=base_url, price=price
    )


def answer(tokens_in: int | None = 1000, tokens_out: int | None = 500, **more: object) -> Answer:
    return Answer(text="", tokens_in=tokens_in, tokens_out=tokens_out, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-mini"),
        ("openai", "gpt-5"),
        ("groq", "llama-3.3-70b-versatile"),
        ("mistral", "mistral-small-latest"),
        ("xai", "grok-4"),
        ("gemini", "gemini-2.5-pro"),
        ("openrouter", "openai/gpt-4o-mini"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
    ],
)
@given(tokens_in=COUNTS, tokens_out=COUNTS, share=st.floats(0, 1))
def test_the_sum_is_that_of_the_price_list(
    provider: str, model: str, tokens_in: int, tokens_out: int, share: float
) -> None:
    """Tiers that begin at a number of input tokens among them (gemini-2.5-pro)."""
    cached = int(tokens_in * share)
    usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out, cache_read_tokens=cached)
    expected = calc_price(usage, model, provider_id=PRESETS[provider].prices).total_price
    found = PRICES[provider].cost(answer(tokens_in, tokens_out, tokens_cached=cached), config(model))
    assert found == pytest.approx(float(expected), rel=1e-9, abs=1e-12)


PRICES = {name: Prices(quirks) for name, quirks in PRESETS.items()}


@pytest.mark.parametrize("provider", [quirks.prices for quirks in PRESETS.values() if quirks.prices])
def test_every_token_price_of_every_preset_is_read_as_the_price_list_reads_it(provider: str) -> None:
    listed = next(found for found in get_snapshot().providers if found.id == provider)
    now = datetime.now(UTC)
    compared = 0
    for model in listed.models:
        rates = read_rates(model.get_prices(now), model.id)
        if rates is None:
            continue
        usage = Usage(input_tokens=300_000, output_tokens=1_000, cache_read_tokens=100_000)
        expected = model.calc_price(usage, listed, genai_request_timestamp=now).total_price
        assert rates.cost(300_000, 1_000, 100_000) == pytest.approx(float(expected), rel=1e-9), model.id
        compared += 1
    assert compared > 5


def test_what_is_not_known_is_none_and_not_zero() -> None:
    openai = PRICES["openai"]
    assert openai.cost(answer(), config("no-such-model")) is None
    assert openai.cost(answer(tokens_in=None), config("gpt-4o-mini")) is None
    assert openai.cost(answer(tokens_out=None), config("gpt-4o-mini")) is None
    assert PRICES["vllm"].cost(answer(), config("gpt-4o-mini", "http://127.0.0.1:8000/v1")) is None
    assert PRICES["sim"].cost(answer(), config("gpt-4o-mini")) is None


def test_a_model_on_this_machine_costs_nothing() -> None:
    assert PRICES["local"].cost(answer(), config("smollm2")) == 0.0


def test_a_known_host_has_its_prices_without_a_preset() -> None:
    assert PRICES["custom"].cost(answer(), config("gpt-4o-mini", "https://api.openai.com/v1")) == pytest.approx(0.00045)


@pytest.mark.parametrize("provider", ["openai", "vllm", "custom", "sim", "local"])
def test_the_price_that_the_run_was_given_wins_over_every_list(provider: str) -> None:
    given = config("gpt-4o-mini", price=(3.0, 15.0))
    assert PRICES[provider].cost(answer(1_000_000, 100_000), given) == pytest.approx(4.5)
    assert PRICES[provider].cost(answer(1_000_000, 100_000, tokens_cached=900_000), given) == pytest.approx(4.5)
    assert PRICES[provider].cost(answer(), config("gpt-4o-mini", price=(0.0, 0.0))) == 0.0
    assert PRICES[provider].cost(answer(tokens_out=None), given) is None, "what was used is not known"
    assert PRICES[provider].known(given)


@pytest.mark.parametrize(
    ("provider", "model", "base_url", "known"),
    [
        ("openai", "gpt-4o-mini", "", True),
        ("openai", "no-such-model", "", False),
        ("openai", "", "", True),
        ("vllm", "gpt-4o-mini", "http://127.0.0.1:8000/v1", False),
        ("vllm", "", "http://127.0.0.1:8000/v1", False),
        ("custom", "gpt-4o-mini", "https://api.openai.com/v1", True),
        ("sim", "gpt-4o-mini", "", False),
        ("local", "smollm2", "", True),
    ],
)
def test_before_a_run_it_is_known_whether_answers_will_have_a_price(
    provider: str, model: str, base_url: str, known: bool
) -> None:
    assert PRICES[provider].known(config(model, base_url)) is known
    if model:
        assert (PRICES[provider].cost(answer(), config(model, base_url)) is not None) is known


def test_cached_tokens_are_cheaper() -> None:
    full = PRICES["openai"].cost(answer(), config("gpt-4o-mini"))
    cached = PRICES["openai"].cost(answer(tokens_cached=1000), config("gpt-4o-mini"))
    assert full is not None
    assert cached is not None
    assert cached < full


@pytest.mark.parametrize(
    ("asked", "answered", "names"),
    [
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", ("gpt-4o-mini", "gpt-4o-mini-2024-07-18")),
        ("llama:free", "llama", ("llama:free", "llama")),
        ("router/auto", "openai/gpt-5", ("openai/gpt-5", "router/auto")),
        ("", "gpt-5", ("gpt-5",)),
        ("gpt-5", None, ("gpt-5",)),
    ],
)
def test_the_model_that_is_billed(asked: str, answered: str | None, names: tuple[str, ...]) -> None:
    assert models_to_price(asked, answered) == names
