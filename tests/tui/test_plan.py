"""The plan of a run as a command line: what is shown is what runs, and says what was filled in."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.cli import root
from batchdeck.cli.options import Given
from batchdeck.providers.presets import PRESETS
from batchdeck.settings import SETTINGS
from batchdeck.templates import Template
from batchdeck_tui.plan import CUSTOM, KEYLESS, KEYS, OPTIONS, PROVIDERS, Plan, key_told, placeholder
from batchdeck_tui.preview import columns_of, key_of, request, summary, title
from batchdeck_tui.recentfiles import MOST, keep_file, recent_files, shown_path
from batchdeck_tui.remembered import recall
from batchdeck_tui.screens.launchform import CAP, LIMIT, MORE
from batchdeck_tui.widgets.entry import complete

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=40)
NUMBER = st.integers(1, 9_999).map(str)
SECONDS = st.floats(0.5, 9_999).map(lambda seconds: f"{seconds:.2f}")
PLANS = st.builds(
    Plan,
    file=TEXT.filter(lambda text: text != "-"),
    prompt=TEXT.filter(lambda text: not text.startswith("@")),
    system=TEXT,
    provider=st.sampled_from(PROVIDERS),
    base_url=TEXT,
    model=TEXT,
    concurrency=NUMBER | st.just("auto"),
    limit=NUMBER,
    rpm=NUMBER,
    tpm=NUMBER,
    max_cost=NUMBER,
    price=st.just("0.15/0.60"),
    max_errors=NUMBER,
    deadline=st.just("2h30m"),
    max_tokens=NUMBER,
    max_retries=NUMBER,
    max_wait=SECONDS,
    connect_timeout=SECONDS,
    first_token_timeout=SECONDS,
    idle_timeout=SECONDS,
    timeout=SECONDS,
    name=TEXT,
    other=st.sampled_from(["", "--param temperature=0 --no-stream", "--header 'X-Title: my run'"]),
)


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What click makes of a command line."""
    name, command, rest = root.resolve_command(click.Context(root), arguments)
    assert command is not None
    return command.make_context(name, rest).params


def said(value: Any) -> Any:
    return value.value if isinstance(value, Given) else value


@given(PLANS)
def test_the_command_line_shown_says_what_was_filled_in(plan: Plan) -> None:
    assert plan.missing == ""
    words = shlex.split(plan.command())
    assert words == ["batchdeck", *plan.arguments()]
    got = parsed(words[1:])
    assert os.path.normpath(got["input"]) == os.path.normpath(plan.file)
    assert (got["base_url"] or got["provider"]) == (plan.base_url if plan.provider == CUSTOM else plan.provider)
    assert (got["prompt"], got["system"], got["model"], got["name"]) == (
        plan.prompt, plan.system, plan.model, plan.name
    )  # fmt: skip
    assert said(got["concurrency"]) == (None if plan.concurrency == "auto" else float(plan.concurrency))
    for name in ("limit", "rpm", "tpm", "max_cost", "max_errors", "max_tokens", "max_retries", "max_wait", "timeout",
                 "connect_timeout", "first_token_timeout", "idle_timeout"):  # fmt: skip
        assert said(got[name]) == float(getattr(plan, name)), name
    assert got["price"] == (0.15, 0.6)
    assert got["stream"] == ("--no-stream" not in plan.other)
    assert not got["detach"]


def test_a_field_that_is_empty_leaves_its_option_out() -> None:
    assert Plan(file="f", provider="local").arguments() == ["run", "f", "--provider", "local"]
    assert Plan(file="-x.jsonl").arguments()[1] == "./-x.jsonl", "no option"


def test_a_template_in_a_file_and_one_that_begins_with_an_at_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert Plan(file="f", prompt="@~/t.txt").arguments()[-2:] == ["--prompt-file", "/home/me/t.txt"]
    assert Plan(file="f", prompt="@@me {{ text }}").arguments()[-2:] == ["--prompt", "@me {{ text }}"]


def test_what_is_missing_is_said_before_anything_is_started() -> None:
    ready = Plan(file="f")
    for plan, words in (
        (Plan(), "Name a file"),
        (Plan(file="-"), "Standard input"),
        (replace(ready, prompt="@"), "behind the @"),
        (replace(ready, provider=CUSTOM), "base URL"),
        (replace(ready, other="--param 'a"), "quote"),
        (replace(ready, system="a\0b"), "NUL"),
    ):
        assert words in plan.missing
    assert ready.missing == ""


def test_every_field_of_the_form_is_one_of_the_plan_and_an_option_of_run() -> None:
    command = root.get_command(click.Context(root), "run")
    assert command is not None
    options = {option.name: option for option in command.params}
    assert set(OPTIONS) <= set(options)
    assert {field.name for field in (CAP, LIMIT, *MORE)} == (set(OPTIONS) | {"other"}) - {"system"}
    for field in MORE:
        default = options[field.name].default if field.name in options else None
        if isinstance(default, int | float) and field.name not in SETTINGS:
            assert field.hint.startswith(f"{default:g}"), field


def test_every_provider_offered_is_known_with_its_key() -> None:
    assert {name: PRESETS[name].key_env for name in KEYS} == KEYS
    assert {name for name in KEYS if KEYS[name] and not PRESETS[name].key_required} == set(KEYLESS)


def test_a_key_is_told_of_and_never_shown() -> None:
    environ = {"OPENAI_API_KEY": "sk-canary", "GOOGLE_API_KEY": "sk-canary", "GROQ_API_KEY": ""}
    assert key_told("openai", environ) == ("✓ OPENAI_API_KEY is set", True)
    assert key_told("gemini", environ) == ("✓ GOOGLE_API_KEY is set", True)
    assert key_told("groq", environ) == ("✗ GROQ_API_KEY is not set", False)
    assert key_told("vllm", environ) == ("VLLM_API_KEY is not set, none is needed", True)
    assert key_told("sim", environ) == ("", True)
    assert key_of({"key": {"name": "MY_KEY", "set": True, "needed": True}}) == ("✓ MY_KEY is set", True)
    assert key_of({"key": {"name": "MY_KEY", "set": False, "needed": True}}) == ("✗ MY_KEY is not set", False)
    assert key_of({"key": {"name": None}}) == key_of({}) == ("", True)


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20))
def test_a_column_is_reached_whatever_it_is_called(column: str) -> None:
    assert Template(placeholder(column), "--prompt").render({column: "its value"}) == "its value"


@pytest.mark.parametrize("column", ["true", "None", "not", "self", "row", "range", "a}}b", '"', "for", "loop", "ﬁ"])
def test_a_column_that_is_a_word_of_templates_too(column: str) -> None:
    assert Template(placeholder(column), "--prompt").render({column: "its value"}) == "its value"
    assert placeholder("first name") == '{{ row["first name"] }}'


def test_a_preview_takes_any_answer() -> None:
    hostile = {
        "items": 2,
        "bad": 1,
        "bad_lines": [{"line": 3, "error": "x:3: [/b] \x1b[2J"}],
        "request": {"messages": [{"role": "[/r]", "content": "\x1b]0;t\x07"}, 7], "model": None},
        "url": "[/x]\x1b",
        "columns": ["[/c]", 7],
        "estimate": {"tokens_in": "many", "price": [1]},
    }
    assert "x:3: [/b] ␛[2J" in summary(hostile).plain
    assert "1 bad line" in summary(hostile).plain
    assert "␛]0;t␇" in request(hostile).plain
    assert "[/x]␛" in title(hostile, own=True).plain
    assert columns_of(hostile) == ["[/c]"]
    assert summary({}).plain.startswith("0 items")
    assert request({}).plain == ""
    assert request({"request": "[/x]"}).plain == "[/x]"


def test_what_is_not_known_of_the_cost_is_said() -> None:
    def told(**estimate: Any) -> str:
        return summary({"items": 9, "estimate": {"tokens_in": 12_000, **estimate}}).plain

    assert "≈ 12.0k tokens in, price and length of answers unknown" in told()
    assert "at most 900 tokens out, price unknown" in told(tokens_out_most=900)
    known = told(price=[0.5, 2.0], cost_in=0.006)
    assert "$0.0060 at $0.50 a million" in known
    assert "out $2.00 a million, length of answers unknown" in known
    assert "at most 900 tokens out at $2.00 a million: $0.0078 in all" in told(
        price=[0.5, 2.0], cost_in=0.006, tokens_out_most=900, cost_most=0.0078
    )


def test_recent_files_are_the_newest_that_are_still_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    for number in range(MOST + 3):
        (tmp_path / f"{number}.csv").write_text("a\n1\n")
        keep_file(f"{number}.csv", float(number))
    assert len(recall().files) == MOST, "bounded"
    (tmp_path / f"{MOST + 2}.csv").unlink()
    keep_file("5.csv", 99.0)
    names = [Path(file.path).name for file in recent_files()]
    assert names[:3] == ["5.csv", f"{MOST + 1}.csv", f"{MOST}.csv"]
    assert len(names) == MOST - 1
    assert shown_path(str(tmp_path / "5.csv")) == "5.csv"
    assert shown_path(str(tmp_path.parent / "x" / "5.csv")) == "~/x/5.csv"


def test_completion_knows_folders_and_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text("{}")
    assert complete("~/da") == "~/data/"
    assert complete("~/data/") == "~/data/a.jsonl"
    assert complete("~/nothing") is None
    (tmp_path / "data" / "evil").mkdir()
    (tmp_path / "data" / "evil" / "a\x1b[2J.jsonl").write_text("{}")
    assert complete("~/data/evil/") is None, "what is suggested is painted as it is"
    assert complete("/no/such/folder/x") is None
    assert complete("nul\0/x") is None
