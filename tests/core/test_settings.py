"""What can be changed while a run goes, as people write it: read, checked, shown, and read back."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck import settings
from batchdeck.errors import UsageError
from batchdeck.model import Budget, Quotas, RunConfig
from batchdeck.settings import SETTINGS, check, parse, show

NOW = datetime(2026, 3, 4, 16, 0).astimezone().timestamp()
CONFIG = RunConfig(name="run", input="prompts.txt", input_format="text", model="sim", provider="sim")


def at(*moment: int) -> float:
    return datetime(*moment).astimezone().timestamp()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rpm", "500", 500),
        ("rpm", " 1,500 ", 1_500),
        ("tpm", "90k", 90_000),
        ("tpm", "1.5M", 1_500_000),
        ("tpm", "2_000_000", 2_000_000),
        ("tpd", "1.001k", 1_001),
        ("rpm", "off", None),
        ("max_cost", "None", None),
        ("concurrency", "32", 32),
        ("max_cost", "2.50", 2.5),
        ("max_cost", "$1,250", 1_250),
        ("max_cost", "0.000001", 0.000_001),
        ("max_tokens_total", "2m", 2_000_000),
        ("max_errors", "50", 50),
        ("max_errors", "5%", 0.05),
        ("max_errors", "12.5 %", 0.125),
        ("max_errors", "0", 0),
        ("max_errors", "0%", 0),
        ("max_errors", "0.5%", 0.005),
        ("max_outage", "15m", 900),
        ("max_outage", "90", 90),
        ("max_outage", "0", 0),
        ("max_outage", "1h 30m 15s", 5_415),
        ("deadline", "2h30m", NOW + 9_000),
        ("deadline", "1d", NOW + 86_400),
        ("deadline", "900", NOW + 900),
        ("deadline", "1730s", NOW + 1_730),
        ("deadline", "17:30", at(2026, 3, 4, 17, 30)),
        ("deadline", "9:05", at(2026, 3, 5, 9, 5)),
        ("deadline", "2026-03-09T06:00", at(2026, 3, 9, 6)),
        ("deadline", "2026-03-09 06:00:30+00:00", 1_773_036_030),
        ("hedge", "on", 0.05),
        ("hedge", "2%", 0.02),
        ("hedge", "0.5 %", 0.005),
        ("hedge", "off", None),
        ("priority", "100", 100),
    ],
)
def test_what_a_person_writes_is_understood(name: str, text: str, value: float | None) -> None:
    assert parse(name, text, NOW) == value


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("rpm", "", "--rpm: '' is not a number such as"),
        ("rpm", "fast", "--rpm: 'fast' is not a number"),
        ("rpm", "-1", "--rpm: '-1' is not a number"),
        ("rpm", "1e3", "is not a number"),
        ("rpm", "nan", "is not a number"),
        ("rpm", "0", "--rpm is 0; it must be 1 to 1,000,000,000,000"),
        ("rpm", "٥٠٠", "is not a number"),
        ("tpm", "999999999999999m", "it must be 1 to"),
        ("concurrency", "0", "--concurrency is 0; it must be 1 to 10,000"),
        ("concurrency", "10.5", "--concurrency is 10.5; it is a whole number"),
        ("concurrency", "off", "--concurrency: .off. is not a number such as 40, or auto"),
        ("priority", "off", "--priority cannot be taken off"),
        # two per cent, or two of them?
        ("hedge", "2", "--hedge: '2' is not a share such as 2%, or on"),
        ("hedge", "0.02", "is not a share such as 2%"),
        ("hedge", "0%", "--hedge is 0%; it must be 0.1% to 50%"),
        ("hedge", "80%", "--hedge is 80%; it must be 0.1% to 50%"),
        ("priority", "101", "it must be 1 to 100"),
        # a comma where others write a point: 250 dollars were not meant
        ("max_cost", "2,50", "--max-cost: '2,50' is not an amount such as 2.50"),
        ("max_cost", "€3", "is not an amount"),
        ("max_errors", "100%", "is not a number such as 50, or a share"),
        ("max_errors", "2.5", "--max-errors is 2.5; it is a whole number, or a share such as 5%"),
        ("max_errors", "0.5", "--max-errors: '0.5' is no number of items; for a share write 50%$"),
        ("max_errors", "0.015", "for a share write 1.5%$"),
        ("max_tokens_total", "1.5", "--max-tokens-total is 1.5; it is a whole number"),
        ("rpd", "99.5", "--rpd is 99.5; it is a whole number"),
        ("tpd", "1.0005k", "--tpd is 1000.5; it is a whole number"),
        ("max_outage", "soon", "is not a time such as 90s"),
        ("max_outage", "1h30", "is not a time such as 90s"),
        ("deadline", "0", "--deadline: 0 is over already"),
        ("deadline", "2026-03-04T15:59", "is over already"),
        ("deadline", "25:00", "--deadline: '25:00' is not a time such as 2h30m"),
        ("deadline", "0001-01-01", "is not a time|is over already"),
        # half past five or half an hour? a day or 234 days?
        ("deadline", "1730", "--deadline: '1730' can be read in two ways; write 17:30 or 2h30m"),
        ("deadline", "20260309", "--deadline: '20260309' can be read in two ways"),
        ("deadline", "9" * 400, r"--deadline: it must be a time up to 8307-\d\d-\d\d$"),
        ("deadline", "9998-01-01", r"--deadline: it must be a time up to 8307-\d\d-\d\d$"),
        ("burst", "5", "there is no setting 'burst'; there are concurrency, min_concurrency, "),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_that_names_the_option(name: str, text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        parse(name, text, NOW)
    assert "\n" not in str(refused.value)


@given(st.sampled_from(list(SETTINGS)), st.text(max_size=40))
def test_any_text_is_a_value_or_a_usage_error(name: str, text: str) -> None:
    try:
        value = parse(name, text, NOW)
    except UsageError:
        return
    assert check(name, value) == value


def values(name: str) -> st.SearchStrategy[float]:
    setting = SETTINGS[name]
    if setting.required or setting.whole or setting.kind == "moment":
        # a moment is shown to the second
        least = int(NOW) + 1 if setting.kind == "moment" else int(setting.least)
        return st.integers(least, int(min(setting.most, NOW + 1e8))).map(float)
    if setting.kind == "errors":
        return st.integers(0, 10**9).map(float) | st.floats(0, 1, exclude_max=True)
    return st.floats(setting.least, setting.most)


@given(st.data(), st.sampled_from(list(SETTINGS)))
def test_what_is_shown_can_be_given_again(data: st.DataObject, name: str) -> None:
    value = check(name, data.draw(values(name)))
    assert value is not None
    if name == "deadline":
        local = datetime.fromtimestamp(value).astimezone()
        if (local - timedelta(hours=1)).utcoffset() != local.utcoffset():
            return  # the hour that comes twice has one name for two moments
    assert parse(name, show(name, value), NOW) == value


@given(st.sampled_from([name for name, setting in SETTINGS.items() if not setting.required]))
def test_no_limit_is_off_and_no_concurrency_is_auto(name: str) -> None:
    word = "auto" if name == "concurrency" else "off"
    assert show(name, None) == word
    assert parse(name, word, NOW) is None


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("concurrency", 32, "32"),
        ("tpm", 1_234_567.5, "1,234,567.5"),
        ("max_cost", 2.5, "$2.50"),
        ("max_cost", 0.125, "$0.125"),
        ("max_errors", 0.05, "5%"),
        ("max_errors", 1_000, "1,000"),
        ("hedge", 0.05, "5%"),
        ("hedge", 0.005, "0.5%"),
        ("max_outage", 5_400, "1h30m"),
        ("max_outage", 0, "0s"),
        ("max_outage", 90.5, "1m30.5s"),
        ("deadline", NOW, "2026-03-04 16:00:00"),
    ],
)
def test_a_setting_is_shown_as_people_write_it(name: str, value: float, text: str) -> None:
    assert show(name, value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
@pytest.mark.parametrize("name", list(SETTINGS))
def test_no_number_from_the_control_api_gets_past_the_check(name: str, value: float) -> None:
    with pytest.raises(UsageError, match="it must be"):
        check(name, value)


def test_changes_reach_the_config_and_are_read_back() -> None:
    changes = {"concurrency": 32.0, "rpm": 500.0, "max_tokens_total": 1e6, "deadline": NOW, "priority": 3.0}
    config = settings.apply(CONFIG, changes)
    assert config.concurrency == 32
    assert isinstance(config.concurrency, int), "the run file holds it as it always did"
    assert config.quotas == Quotas(rpm=500.0)
    assert config.budget == Budget(max_tokens=1e6, deadline_at=NOW)
    assert settings.read(config) == {name: changes.get(name) for name in SETTINGS}
    assert settings.apply(config, {"rpm": None}).quotas == Quotas()


def test_one_bad_change_changes_nothing() -> None:
    with pytest.raises(UsageError, match="--concurrency is 0"):
        settings.apply(CONFIG, {"rpm": 5.0, "concurrency": 0.0})
    with pytest.raises(UsageError, match="there is no setting 'rpms'"):
        settings.apply(CONFIG, {"rpms": 5.0})
    assert settings.read(CONFIG)["rpm"] is None


def test_every_setting_has_a_place_in_the_config_of_its_own() -> None:
    fields = [setting.field for setting in SETTINGS.values()]
    assert len(set(fields)) == len(fields)
    given = {name: float(number) for number, name in enumerate(SETTINGS, 2)} | {"hedge": 0.25}
    assert settings.read(settings.apply(CONFIG, given)) == given
