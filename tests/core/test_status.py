"""What ``ctl status`` tells a person: why it waits, what the account allows, how much of each budget is left."""

from __future__ import annotations

from typing import get_args

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.cli.status import METERS, REASONS, budgets, live_lines, setting_lines
from batchdeck.model import Counts, Meter, Reason, ServerLoad, Waiting
from batchdeck.settings import SETTINGS
from tests.core.test_prometheus import NOW


def test_a_rate_limited_run_is_told_in_full() -> None:
    sentence = "held by TPM: 92 % of the time in the last minute; more concurrency will not help"
    held = msgspec.structs.replace(NOW, waiting=msgspec.structs.replace(NOW.waiting, sentence=sentence))
    assert (
        "\n".join(live_lines(held))
        == f"""\
translate  running
  {sentence}
  items     1,000, 61.0% settled
  outcomes  600 done, 7 failed, 3 skipped
  in flight 24 of 24
  rate      10.0/s, 200/s tokens out, eta 39s
  cost      ≥ $1.25
  mode      rate-limited: cap 24, 12 hits, average queue depth 212.4
  account   shared by 2 runs of this machine
  budget    ≥ $1.25 of $2.50

WAITING    ITEMS  LAST MINUTE
tpm          360          92%  for tokens a minute
backoff        6               to be tried again
streaming     24               streaming

QUOTA               LIMIT  REMAINING  FOR THIS RUN
requests a minute     500          —           250  as set
tokens a minute    90,000      1,200        45,000  said by the provider"""
    )


def test_a_server_that_tells_how_busy_it_is_has_a_line() -> None:
    busy = msgspec.structs.replace(NOW, server=ServerLoad(running=16, waiting=1_204, cache=0.8331, at=1.0))
    assert "  server    16 running, 1,204 waiting, cache 83%" in list(live_lines(busy))
    no_cache = msgspec.structs.replace(NOW, server=ServerLoad(running=0, waiting=0, cache=None, at=1.0))
    assert "  server    0 running, 0 waiting" in list(live_lines(no_cache))


def test_a_run_that_simply_runs_has_no_tables() -> None:
    free = msgspec.structs.replace(NOW, waiting=Waiting(), quotas=(), settings={}, shared_by=1)
    text = "\n".join(live_lines(free))
    assert not {"WAITING", "QUOTA", "budget", "account"} & set(text.split())


@given(st.text(), st.text(), st.text())
def test_nothing_from_outside_steers_the_terminal(run: str, message: str, sentence: str) -> None:
    hostile = msgspec.structs.replace(NOW, run=run, message=message, waiting=Waiting(sentence=sentence))
    lines = list(live_lines(hostile))
    assert len(lines) == len("\n".join(lines).splitlines())
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for line in lines for char in line)


def test_each_budget_says_how_much_of_it_is_used() -> None:
    counts = Counts(items=1_000, done=380, failed=25, bad_lines=5, tokens_in=9_000, tokens_out=3_000, cost=0.1234)
    given = {"max_cost": 2.5, "max_tokens_total": 1e6, "max_errors": 50.0, "max_outage": 900.0, "rpm": 5.0}
    assert list(budgets(given, counts)) == [
        "$0.12 of $2.50", "12,000 of 1,000,000 tokens", "20 of 50 failed items", "15m of outage at most",
    ]  # fmt: skip
    of_those_sent = msgspec.structs.replace(counts, skipped=400)
    assert list(budgets({"max_errors": 0.1, "max_outage": 0.0}, of_those_sent)) == [
        "5.0% of items failed, 10% at most", "no outage is waited for",
    ]  # fmt: skip
    assert list(budgets(dict.fromkeys(SETTINGS), counts)) == []


def test_every_reason_meter_and_setting_has_words() -> None:
    assert set(REASONS) == set(get_args(Reason))
    assert set(METERS) == set(get_args(Meter))
    lines = setting_lines({"rpm": 500.0})
    assert [line.split()[0].replace("-", "_") for line in lines[1:]] == list(SETTINGS)
    assert [line.split()[1] for line in lines[1:] if line.startswith(("rpm", "tpm"))] == ["500", "off"]
