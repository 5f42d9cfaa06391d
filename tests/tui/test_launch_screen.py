"""Launching a run from the console, against the real command line."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, OptionList, Select

from batchdeck.sim.options import SimOptions
from batchdeck.sim.server import SimServer
from batchdeck.store.reader import RunReader
from batchdeck_tui.app import BatchdeckApp
from batchdeck_tui.commandline import _talks, call
from batchdeck_tui.plan import CUSTOM, Plan
from batchdeck_tui.recentfiles import keep_file, recent_files
from batchdeck_tui.remembered import remember
from batchdeck_tui.screens.choice import ChoiceScreen
from batchdeck_tui.screens.launch import LaunchScreen
from batchdeck_tui.screens.launchform import MORE
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.screens.runs import RunsScreen
from batchdeck_tui.widgets.entry import Template
from tests.tui.console import footer, kill_engine, page, until, write

KEY = "sk-canary-0c11f7d5aa"


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # a short path: the command line has three lines
    file = tmp_path / "reviews.csv"
    file.write_text("id,text\n1,The [/soup] was cold\n2,Lovely \x1b[2J\n3,Never again\n")
    return file


@asynccontextmanager
async def form(
    size: tuple[int, int] = (120, 36), plan: Plan | None = None
) -> AsyncIterator[tuple[Pilot[None], LaunchScreen]]:
    app = BatchdeckApp()
    async with app.run_test(size=size, notifications=True) as pilot:
        yield pilot, await opened(pilot, plan)


async def opened(pilot: Pilot[None], plan: Plan | None = None) -> LaunchScreen:
    if plan is None:
        await pilot.press("n")
    else:
        pilot.app.push_screen(LaunchScreen(plan))
    await until(pilot, lambda: isinstance(pilot.app.screen, LaunchScreen) and pilot.app.screen.query("#other"))
    screen = pilot.app.screen
    assert isinstance(screen, LaunchScreen)
    return screen


def fill(screen: LaunchScreen, **fields: str) -> None:
    for name, value in fields.items():
        field = screen.query_one(f"#{name}")
        if isinstance(field, Template):
            field.text = value
        else:
            screen.query_one(f"#{name}", Input).value = value


def shown(pilot: Pilot[None]) -> str:
    """The screen in one line: what is broken over lines reads on."""
    return " ".join(page(pilot.app).split())


async def chosen(pilot: Pilot[None], *keys: str) -> None:
    """Carry these keys out in a list to choose from that is about to open."""
    await until(pilot, lambda: isinstance(pilot.app.screen, ChoiceScreen))
    await pilot.press(*keys)
    await until(pilot, lambda: isinstance(pilot.app.screen, LaunchScreen))


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_rows_columns_and_the_first_request_are_shown_before_anything_is_sent(
    prompts: Path, size: tuple[int, int]
) -> None:
    async with form(size) as (pilot, screen):
        fill(screen, file=prompts.name)
        await until(pilot, lambda: "first request, of the row's own text" in page(pilot.app))
        assert "Lovely ␛[2J" in page(pilot.app)

        screen.set_focus(screen.query_one("#prompt"))
        await pilot.press(*"Is this kind? ", "ctrl+t")
        await chosen(pilot, *"ext", "enter")
        assert screen.form.plan.prompt == "Is this kind? {{ text }}"
        await until(pilot, lambda: "Is this kind? The [/soup] was cold" in page(pilot.app))
        assert "3 items" in page(pilot.app)
        assert "price and length of answers unknown" in shown(pilot)
        assert "--prompt 'Is this kind? {{ text }}'" in shown(pilot)


async def test_a_column_goes_into_the_template_that_was_written_in_last(prompts: Path) -> None:
    prompts.write_text("id,note,stars\n1,Cold,2\n2,Lovely,5\n")
    async with form() as (pilot, screen):
        fill(screen, file=prompts.name)
        # no column speaks for itself: the rows are there all the same, to write the prompt by
        await until(pilot, lambda: "the input has the columns" in page(pilot.app) and "Lovely" in page(pilot.app))
        table = screen.query_one(DataTable)
        screen.set_focus(table)
        await pilot.press("l", "enter")
        await until(pilot, lambda: screen.form.plan.prompt == "{{ note }}")
        assert screen.focused is screen.query_one("#prompt")
        screen.set_focus(screen.query_one("#system"))
        await pilot.press("x")
        await until(pilot, lambda: "POST" in page(pilot.app) and "reading" not in page(pilot.app), "it stands still")
        await pilot.click(table, offset=(9, 0))
        await until(pilot, lambda: screen.form.plan.system == "x{{ id }}")


async def test_a_plan_that_cannot_work_says_so_and_what_was_filled_in_stays(prompts: Path) -> None:
    async with form() as (pilot, screen):
        fill(screen, file=str(prompts), prompt="Is this kind? {{review}}")
        await until(pilot, lambda: "✗ --prompt names the column 'review'" in page(pilot.app))
        before = screen.form.plan
        await pilot.press("ctrl+s")
        await until(pilot, lambda: not screen._starting and "starting" not in page(pilot.app))
        assert pilot.app.screen is screen
        assert screen.form.plan == before
        assert not list((prompts.parent / "home" / "runs").glob("*.db"))
        fill(screen, prompt="@nofile")
        await until(pilot, lambda: "✗ --prompt-file nofile: No such file" in shown(pilot), "no code, no prefix")


async def test_starting_launches_the_run_and_the_form_remembers_it(prompts: Path) -> None:
    async with form() as (pilot, screen):
        await until(pilot, lambda: "The first rows and the first request" in page(pilot.app))
        fill(screen, file=str(prompts), prompt="Is this kind?\n{{text}}", concurrency="3", name="kindness")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        run = pilot.app.screen
        assert isinstance(run, RunScreen)
        assert run.path.stem == "kindness"
        try:
            await until(pilot, lambda: run._now is not None and run._now.state == "done")
            with RunReader(run.path) as reader:
                assert reader.meta().config.prompt == "Is this kind?\n{{text}}"
        finally:
            kill_engine(run.path)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        again = await opened(pilot)
        assert again.form.plan == Plan(
            file=str(prompts), prompt="Is this kind?\n{{text}}", concurrency="3", model="sim"
        ), "as it was left, but for the name, which is taken"

        fill(again, file="")
        await until(pilot, lambda: "recent files   enter" in page(pilot.app))
        again.set_focus(again.query_one("#recent", OptionList))
        await pilot.press("down", "enter")
        await until(pilot, lambda: again.form.plan.file == "reviews.csv")
        assert again.focused is again.query_one("#prompt")
    remember(files={})
    assert [file.path for file in recent_files()] == [str(prompts)], "the run knows its input, too"


async def test_a_recent_file_is_chosen_by_key_and_by_mouse(prompts: Path) -> None:
    for number, name in enumerate(("reviews.csv", "gone.csv", "tickets.csv")):
        (prompts.parent / name).write_text("text\nhello\n")
        keep_file(name, float(number))
    (prompts.parent / "gone.csv").unlink()
    async with form((80, 24)) as (pilot, screen):
        await until(pilot, lambda: "tickets.csv" in page(pilot.app))
        assert "gone.csv" not in page(pilot.app)
        await pilot.press("ctrl+r")
        await chosen(pilot, *"rev", "enter")
        assert screen.form.plan.file == "reviews.csv"
        fill(screen, file="")
        await until(pilot, lambda: "tickets.csv" in page(pilot.app))
        await pilot.click("#recent", offset=(3, 0))
        await until(pilot, lambda: screen.form.plan.file == "tickets.csv")


async def test_models_are_asked_for_when_the_person_asks(prompts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    async with SimServer(SimOptions(), key=KEY) as server, form() as (pilot, screen):
        screen.query_one("#provider", Select).value = CUSTOM
        row = screen.query_one("#row-base_url")
        fill(screen, file=prompts.name, prompt="{{text}}", model="")
        await until(pilot, lambda: row.display and "Give the base URL" in page(pilot.app))
        fill(screen, base_url=server.base_url)
        await until(pilot, lambda: "say which model" in page(pilot.app))
        model = screen.query_one("#model", Input)
        screen.set_focus(model)
        await pilot.press("ctrl+l")
        await chosen(pilot, "down", "enter")
        assert model.value == "simulated-mini"
        await until(pilot, lambda: f"POST {server.base_url}/chat" in page(pilot.app))
        await until(pilot, lambda: "✓ OPENAI_API_KEY is set" in page(pilot.app))
        assert KEY not in page(pilot.app)

        model.clear()
        await pilot.press(*"simulated-m")
        await until(pilot, lambda: model._suggestion == "simulated-mini", "they complete what is typed")
        fill(screen, base_url="http://127.0.0.1:9/v1")
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "Connection refused" in page(pilot.app))
        assert pilot.app.screen is screen
        await pilot.press("x")
        await until(pilot, lambda: "Connection refused" not in page(pilot.app))


async def test_rarer_fields_are_folded_away_and_count_all_the_same(prompts: Path) -> None:
    async with form((80, 24)) as (pilot, screen):
        screen.query_one("#provider", Select).value = "openai"
        fill(screen, file=prompts.name, prompt="{{text}}", model="gpt-4o-mini")
        await until(pilot, lambda: "✗ OPENAI_API_KEY is not set" in page(pilot.app))
        assert not screen.query_one("#more").display
        await pilot.press("ctrl+n")
        await until(pilot, lambda: screen.focused is screen.query_one(f"#{MORE[0].name}"))
        await pilot.press(*"9x", "tab", *"90k", "tab", *"2.50")
        await until(pilot, lambda: "✗ --rpm: '9x' is not a number" in page(pilot.app))
        assert screen.query_one("#rpm").has_class("-invalid")
        fill(screen, rpm="90", max_tokens="5")
        await until(pilot, lambda: "at most 15 tokens out at $0.60 a million" in shown(pilot))
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "More (4 set)" in page(pilot.app))
        assert screen.focused is screen.query_one("#fold")
        assert {"start", "recent", "column", "models", "more", "copy", "back"} <= footer(pilot.app)

        await pilot.press("ctrl+g")
        await until(pilot, lambda: "Copied the command line" in page(pilot.app))
        assert pilot.app.clipboard == screen.form.plan.command()
        assert shlex.split(pilot.app.clipboard)[-8:] == [
            "--rpm", "90", "--tpm", "90k", "--max-cost", "2.50", "--max-tokens", "5"
        ]  # fmt: skip


async def test_the_form_is_filled_from_a_plan_and_left_without_a_loss(prompts: Path) -> None:
    plan = Plan(
        file=prompts.name, prompt="Kind?\n\n{{ text }} \x1b[2J", system="You judge.\n", provider="groq", model="llama",
        concurrency="auto", limit="7", rpm="90", other="--param temperature=0",
    )  # fmt: skip
    async with form(plan=plan) as (pilot, screen):
        assert screen.form.plan == plan
        await until(pilot, lambda: "Kind? " in page(pilot.app) and "{{ text }} ␛[2J" in page(pilot.app))
        assert "More (2 set)" in page(pilot.app)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        fresh = await opened(pilot)
        assert fresh.form.plan.file == "", "nothing was changed, nothing is kept"
        fill(fresh, file="half-writt", system="typed")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        again = await opened(pilot)
        assert (again.form.plan.file, again.form.plan.system) == ("half-writt", "typed")


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
        await until(pilot, lambda: "--provider vllm" in shown(pilot))
        assert model.value == "my-finetune"


async def test_what_is_typed_and_what_may_be_empty(prompts: Path) -> None:
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
        fill(screen, file=str(prompts), prompt="Is this kind? {{text}}", limit="")
        field = screen.query_one("#concurrency", Input)
        field.clear()
        screen.set_focus(field)
        await pilot.press(*"x1auto")
        assert field.value == "1", "a number or auto, and no mixture"
        field.clear()
        await pilot.press(*"auto")
        await until(pilot, lambda: "--concurrency auto" in shown(pilot))
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
