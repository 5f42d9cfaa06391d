"""What the list of runs is made of, without a screen: its order, its sparklines, its looks at the files."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click
import pytest

from batchdeck import labels
from batchdeck.cli import root
from batchdeck.cli.options import split_params
from batchdeck.config import labels_path, lock_path
from batchdeck.labels import Label
from batchdeck.model import Limits, RunConfig
from batchdeck.settings import apply
from batchdeck.store.reader import RunReader
from batchdeck_tui.duplicate import plan_of
from batchdeck_tui.listing import PACES, Listing
from batchdeck_tui.plan import CUSTOM
from batchdeck_tui.runorder import COLUMNS, arranged
from batchdeck_tui.widgets.sparkline import sparkline
from tests.core.test_lock import HOLD, child
from tests.tui.runfile import make_run, make_samples


def test_a_sparkline_is_as_wide_as_it_may_be_and_full_where_the_most_is() -> None:
    assert sparkline([0, 1, 2, 4, 8], 10) == "▁▂▃▅█"
    assert sparkline([8, 8, 0, 0, 4, 4], 3) == "█▁▅"
    assert sparkline([0, 0, 0], 3) == "▁▁▁"
    assert sparkline([], 8) == sparkline([1.0], 0) == ""


def test_the_pace_of_a_run_has_each_part_of_its_time(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run.db", 3, samples=make_samples(400)[0])
    with RunReader(run) as reader:
        whole, coarse = reader.pace(400), reader.pace(40)
    assert whole == [sample.done for sample in make_samples(400)[0]]
    assert coarse == pytest.approx([sum(whole[ten : ten + 10]) / 10 for ten in range(0, 400, 10)])
    with RunReader(make_run(tmp_path / "empty.db", 3)) as reader:
        assert reader.pace(40) == []


def test_what_broke_off_stands_on_top_and_each_column_orders_both_ways(home: Path) -> None:
    folder = home / "runs"
    folder.mkdir(parents=True)
    make_run(folder / "b.db", 40, ending="done")
    make_run(folder / "a.db", 30, failed=(1, 2), ending="drained")
    make_run(folder / "broken.db", 20, settled=4)
    (folder / "notes.db").write_bytes(b"no database at all " * 80)
    lines = Listing().look()
    order = lambda *by: [line.path.stem for line in arranged(lines, *by)]  # noqa: E731
    assert order()[0] == "broken"
    assert order("run") == ["a", "b", "broken", "notes"]
    assert order("failed", True)[0] == "a"
    for column in COLUMNS:
        assert order(column)[3] == order(column, True)[3] == "notes", "what does not read comes last"


def test_a_label_is_seen_at_the_next_look_and_found_by_its_words(home: Path) -> None:
    folder = home / "runs"
    folder.mkdir(parents=True)
    run = make_run(folder / "prompts-1120.db", 4, ending="done")
    listing = Listing()
    assert listing.look()[0].name == "prompts-1120"
    labels.change(labels_path(), run, lambda _: Label("German reviews", ("nightly",)))
    (line,) = listing.look(whole=False)
    assert (line.name, line.title) == ("German reviews", "German reviews #nightly")
    assert all(line.contains(words) for words in ("german", "#night", "prompts-11", "gpt-5"))


def test_a_long_list_is_there_before_its_paces_and_a_look_leaves_out_what_has_ended(home: Path) -> None:
    folder = home / "runs"
    folder.mkdir(parents=True)
    first = make_run(folder / "run-0.db", 2, samples=make_samples(20)[0], ending="done")
    for number in range(1, 2 * PACES):
        (folder / f"run-{number}.db").write_bytes(first.read_bytes())
    listing = Listing()
    assert sum(line.pace is not None for line in listing.look()) == PACES
    lines = listing.look(whole=False)
    assert not listing.is_behind
    first.unlink()
    assert listing.look(whole=False) == lines
    assert len(listing.look()) == len(lines) - 1


def test_an_engine_that_takes_an_ended_run_up_again_is_seen(home: Path) -> None:
    folder = home / "runs"
    folder.mkdir(parents=True)
    run = make_run(folder / "run.db", 4, settled=2)
    listing = Listing()
    states = lambda: [line.meta.state for line in listing.look() if line.meta]  # noqa: E731
    assert states() == ["interrupted"]
    with child(HOLD, str(run), "who"):
        assert states() == ["running"]
    assert states() == ["interrupted"]
    assert lock_path(run).stat().st_size == 0


def test_a_run_is_duplicated_with_all_that_it_was_told() -> None:
    config = RunConfig(
        name="reviews", input="/data/reviews.csv", input_format="csv", model="qwen", provider="vllm",
        base_url="http://10.0.0.5:8000/v1", prompt="@{{ name }} says", system="Be brief.", limit=50, max_tokens=300,
        max_retries=2, limits=Limits(idle=7.5), price=(0.15, 0.6), params={"temperature": 0, "stop": ["a b"]},
        headers={"X-Title": "my run"}, stream=False,
    )  # fmt: skip
    config = apply(config, {"concurrency": 32, "rpm": 90_000, "max_cost": 2.5, "max_errors": 0.05, "hedge": 0.02})
    plan = plan_of(config)
    assert os.path.isabs(plan.file)
    assert plan.prompt == "@@{{ name }} says"
    name, command, rest = root.resolve_command(click.Context(root), plan.arguments())
    assert command is not None
    got = command.make_context(name, rest).params
    assert (got["provider"], got["base_url"]) == ("vllm", "http://10.0.0.5:8000/v1")
    assert (got["prompt"], got["system"], got["limit"]) == ("@{{ name }} says", "Be brief.", 50)
    assert (got["max_tokens"], got["max_retries"], got["idle_timeout"]) == (300, 2, 7.5)
    assert (got["price"], got["stream"]) == ((0.15, 0.6), False)
    assert [got[name].value for name in ("concurrency", "rpm", "max_cost", "max_errors", "hedge")] == [
        32, 90_000, 2.5, 0.05, 0.02,
    ]  # fmt: skip
    assert got["param"] == ("temperature=0", 'stop=["a b"]')
    assert got["header"] == ("X-Title: my run",)


def test_a_run_of_an_address_of_ones_own_and_one_that_is_started_here_are_duplicated_as_such() -> None:
    told = {"name": "r", "input": "/r.txt", "input_format": "text", "model": "m"}
    odd = plan_of(RunConfig(**{**told, "input_format": "jsonl"}, provider="sim", price=(0.1234567, 12.3456789)))
    assert (odd.other, odd.price) == ("--input-format=jsonl", "0.1234567/12.3456789"), "not what the name says"
    own = plan_of(RunConfig(**told, provider="custom", base_url="http://10.0.0.5/v1"))
    assert (own.provider, own.base_url, own.other) == (CUSTOM, "http://10.0.0.5/v1", "")
    here = plan_of(RunConfig(**told, provider="sim", base_url="http://127.0.0.1:1/v1", managed={}))
    assert (here.provider, here.base_url, here.other) == ("sim", "", "")
    managed = {"rpm": 600, "faults": {"500": 0.2}, "headers": "none"}
    like = plan_of(RunConfig(**told, provider="sim", managed=managed))
    given = shlex.split(like.other)
    assert all(option.startswith("--sim-option=") for option in given)
    assert split_params(tuple(option.removeprefix("--sim-option=") for option in given)) == managed
    local = plan_of(RunConfig(**told, provider="local", managed={"model_path": "/models/a b.gguf"}))
    assert shlex.split(local.other) == ["--model-path=/models/a b.gguf"]
