"""Launching a run from the console, against the real command line."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Select

from batchdeck.providers.presets import PRESETS
from batchdeck.store.reader import RunReader
from batchdeck_tui.app import BatchdeckApp
from batchdeck_tui.commandline import _talks, call
from batchdeck_tui.plan import CUSTOM, PROVIDERS, Plan, describe
from batchdeck_tui.screens.launch import LaunchScreen, _complete
from batchdeck_tui.screens.run import RunScreen
from tests.tui.console import kill_engine, page, until, write


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "reviews.csv"
    file.write_text("id,text\n1,The [/soup] was cold\n2,Lovely\n3,Never again\n")
    return file


@asynccontextmanager
async def form(size: tuple[int, int] = (120, 36)) -> AsyncIterator[tuple[Pilot[None], LaunchScreen]]:
    app = BatchdeckApp()
    async with app.run_test(size=size, notifications=True) as pilot:
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, LaunchScreen))
        screen = app.screen
        assert isinstance(screen, LaunchScreen)
        yield pilot, screen


def fill(screen: LaunchScreen, **fields: str) -> None:
    for name, value in fields.items():
        screen.query_one(f"#{name}", Input).value = value


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_the_first_request_is_shown_before_anything_is_sent(
    prompts: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(prompts.parent)  # a short path: the command line has three lines
    async with form(size) as (pilot, screen):
        fill(screen, file=prompts.name, prompt="Is this kind? {{text}}")
        await until(pilot, lambda: "Is this kind? The [/soup] was cold" in page(pilot.app))
        assert "3 items" in page(pilot.app)
        assert "columns id, text" in page(pilot.app)
        assert "--prompt 'Is this kind? {{text}}'" in " ".join(page(pilot.app).split())


async def test_a_plan_that_cannot_work_says_so_beside_the_form_and_is_not_started(prompts: Path) -> None:
    async with form() as (pilot, screen):
        fill(screen, file=str(prompts), prompt="Is this kind? {{review}}")
        await until(pilot, lambda: "review" in page(pilot.app).split("limit")[-1].split("Start")[0])
        await pilot.press("ctrl+s")
        await until(pilot, lambda: not screen._starting and "starting" not in page(pilot.app))
        assert pilot.app.screen is screen
        assert not list((prompts.parent / "home" / "runs").glob("*.db"))


async def test_starting_launches_the_run_and_opens_it(prompts: Path) -> None:
    async with form() as (pilot, screen):
        fill(screen, file=str(prompts), prompt="Is this kind? {{text}}", concurrency="3")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        run = pilot.app.screen
        assert isinstance(run, RunScreen)
        try:
            await until(pilot, lambda: run._now is not None and run._now.counts.done == 3)
            await until(pilot, lambda: run._now is not None and run._now.state == "done")
        finally:
            kill_engine(run.path)


async def test_a_base_url_is_asked_for_only_when_it_is_needed(prompts: Path) -> None:
    async with form() as (pilot, screen):
        row = screen.query_one("#row-base_url")
        assert not row.display
        screen.query_one("#provider", Select).value = CUSTOM
        fill(screen, file=str(prompts))
        await until(pilot, lambda: row.display and "Give the base URL" in page(pilot.app))
        fill(screen, base_url="http://127.0.0.1:9/v1", model="mine", prompt="{{text}}")
        await until(pilot, lambda: "http://127.0.0.1:9/v1/chat/completions" in page(pilot.app))


async def test_a_path_is_completed(prompts: Path) -> None:
    (prompts.parent / "reviews.csv.bak").write_text("not prompts")
    async with form() as (pilot, screen):
        fill(screen, file=str(prompts.parent / "rev"))
        field = screen.query_one("#file", Input)
        field.cursor_position = len(field.value)
        await until(pilot, lambda: field._suggestion == str(prompts))
        await pilot.press("right")
        await until(pilot, lambda: field.value == str(prompts))


async def test_another_provider_is_not_asked_for_the_simulators_model_and_a_typed_one_stays(prompts: Path) -> None:
    async with form() as (pilot, screen):
        model, provider = screen.query_one("#model", Input), screen.query_one("#provider", Select)
        assert model.value == "sim"
        provider.value = "ollama"
        await until(pilot, lambda: not model.value)
        provider.value = "sim"
        await until(pilot, lambda: model.value == "sim")
        fill(screen, model="my-finetune")
        provider.value = "vllm"
        await until(pilot, lambda: "--provider vllm" in " ".join(page(pilot.app).split()))
        assert model.value == "my-finetune"


async def test_a_field_that_may_be_empty_is_not_marked_as_wrong(prompts: Path) -> None:
    async with form() as (pilot, screen):
        for name in ("concurrency", "limit"):
            field = screen.query_one(f"#{name}", Input)
            fill(screen, **{name: ""})
            screen.set_focus(field)
            await pilot.press("tab")
            await until(pilot, lambda field=field: not field.has_focus)  # type: ignore[misc]
            assert not field.has_class("-invalid")
            fill(screen, **{name: "-"})
            await until(pilot, lambda field=field: field.has_class("-invalid"))  # type: ignore[misc]


async def test_the_concurrency_may_be_left_to_the_engine(prompts: Path) -> None:
    async with form() as (pilot, screen):
        fill(screen, file=str(prompts), prompt="Is this kind? {{text}}")
        field = screen.query_one("#concurrency", Input)
        field.clear()
        screen.set_focus(field)
        await pilot.press(*"x1auto")
        assert field.value == "1", "a number or auto, and no mixture"
        field.clear()
        await pilot.press(*"auto")
        await until(pilot, lambda: "--concurrency auto" in " ".join(page(pilot.app).split()))
        assert not field.has_class("-invalid")
        await until(pilot, lambda: "3 items" in page(pilot.app), "the command line takes it")


async def test_leaving_the_form_while_the_run_is_being_launched_does_not_lose_it(prompts: Path) -> None:
    async with form() as (pilot, screen):
        fill(screen, file=str(prompts), prompt="Is this kind? {{text}}")
        write(pilot, "ctrl+s", "escape", "escape")
        await until(pilot, lambda: "being launched already" in page(pilot.app))
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        run = pilot.app.screen
        assert isinstance(run, RunScreen)
        await until(pilot, lambda: run._now is not None)
        kill_engine(run.path)
        assert len(list(run.path.parent.glob("*.db"))) == 1


async def test_a_template_that_is_not_there_is_named_without_codes_or_prefixes(prompts: Path) -> None:
    async with form() as (pilot, screen):
        fill(screen, file=str(prompts), prompt="@nofile")
        await until(pilot, lambda: "No such file" in page(pilot.app))
        assert "--prompt-file nofile: No such file" in " ".join(str(screen.query_one("#problem").render()).split())


async def test_what_starts_an_engine_is_left_to_finish_when_nobody_waits_any_more(prompts: Path) -> None:
    run = prompts.parent / "answers.db"
    words = ("run", str(prompts), "--provider", "sim", "--prompt", "{{text}}", "--db", str(run), "--detach", "--json")
    waiting = asyncio.ensure_future(call(words))
    while not _talks:
        await asyncio.sleep(0)
    (talk,) = _talks
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await talk
    try:
        with RunReader(run) as reader:
            assert reader.meta().state in ("running", "done")
    finally:
        kill_engine(run)


def test_completion_knows_folders_and_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text("{}")
    assert _complete("~/da") == "~/data/"
    assert _complete("~/data/") == "~/data/a.jsonl"
    assert _complete("~/nothing") is None
    assert _complete("/no/such/folder/x") is None


def test_the_command_line_shown_is_the_one_that_runs() -> None:
    plan = Plan(file="my prompts.csv", prompt="Say 'hi' to {{name}}", provider="groq", model="llama", limit="5")
    assert shlex.split(plan.command()) == ["batchdeck", *plan.arguments()]
    assert plan.arguments()[-2:] == ["--limit", "5"]
    assert Plan(file="f", prompt="@template.txt").arguments()[-2:] == ["--prompt-file", "template.txt"]
    assert Plan(file="-x.jsonl").arguments()[1] == "./-x.jsonl", "no option"
    assert "Standard input" in Plan(file="-").missing


def test_every_provider_offered_is_known() -> None:
    assert {name for name in PROVIDERS if name != CUSTOM} <= set(PRESETS)


def test_a_preview_takes_any_answer() -> None:
    hostile = {"items": 2, "bad": 1, "bad_lines": [{"line": 3, "error": "x:3: [/b] \x1b[2J"}], "request": "[/x]"}
    said = describe(hostile).plain
    assert "[/b] ␛[2J" in said
    assert "1 bad lines" in said or "1 bad line" in said
    assert describe({}).plain.startswith("0 items")
