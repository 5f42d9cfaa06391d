"""Rows that do not all have the same columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runs.processes import batchdeck, simulator

EITHER = "{% if b is defined %}{{b}}{% else %}{{a}}{% endif %}"


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        # The first row has the columns that the launch goes by, but is no prompt itself.
        (['{"a": ""}', '{"b": "only b"}', '{"a": "z"}'], ["-p", EITHER]),
        (['{"text": "", "b": "x"}', '{"text": "q"}', '{"b": "only b"}'], []),
    ],
)
def test_what_was_launched_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[str], options: list[str]
) -> None:
    db, source = tmp_path / "run.db", tmp_path / "rows.jsonl"
    source.write_text("\n".join(rows))
    monkeypatch.setenv("SIM_KEY", "sk-the-right-one")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-wrong-one")
    with simulator("--require-key", "SIM_KEY") as sim:
        endpoint = ["--base-url", sim.base_url, "-m", "sim", "--db", str(db)]
        assert batchdeck("run", str(source), *endpoint, *options, "--json").returncode == 4
        monkeypatch.setenv("OPENAI_API_KEY", "sk-the-right-one")
        resumed = batchdeck("resume", str(db), "--json")
    assert resumed.returncode == 3, resumed.stderr
    summary = json.loads(resumed.stdout)
    assert (summary["done"], summary["failed"]) == (2, 1), "the empty prompt alone has failed"
