"""The launch screen: a form beside what it would send, and the command line that does the same."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.suggester import Suggester
from textual.validation import Regex
from textual.widgets import Button, Footer, Input, Label, Select, Static

from batchdeck.errors import BatchdeckError
from batchdeck.inert import inert
from batchdeck.model import Reply
from batchdeck_tui.commandline import call
from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.plan import CUSTOM, MODELS, PROVIDERS, Plan, describe
from batchdeck_tui.theme import MUTED

if TYPE_CHECKING:
    from batchdeck_tui.app import BatchdeckApp

PAUSE = 0.4
"""Seconds without a key after which the plan is tried."""
INPUTS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")
HINT = Content.styled("The first request stands here before anything is sent.", MUTED)
FIELDS = (
    ("prompt", "prompt", "Translate: {{text}}   (or @file with the template)"),
    ("system", "system", "system prompt, optional"),
)


NUMBERS = (
    ("concurrency", "10, or auto: as many as pay", "[0-9]+|auto", "[0-9]*|a|au|aut|auto"),
    ("limit", "all items", "[0-9]+", "[0-9]*"),
)
"""Name, hint, what may stand there, and what may be typed on the way to it."""


class PathSuggester(Suggester):
    """Completes a path: folders, and files that look like prompts."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        return await asyncio.to_thread(_complete, value) if value else None


class LaunchScreen(Screen[Path | None]):
    """Gives the new run's file, or None when the person went back."""

    SCOPE: ClassVar[Scope] = "launch"
    BINDINGS: ClassVar[list[BindingType]] = bindings("launch")
    AUTO_FOCUS = "#file"

    def __init__(self, plan: Plan | None = None) -> None:
        """plan: fills the fields; None: as they are at first."""
        super().__init__()
        self._starting = False
        self._given = plan or Plan(model=MODELS["sim"], concurrency="10")
        self._provider = self._given.provider

    def compose(self) -> ComposeResult:
        yield Static("New run", id="title", markup=False)
        with Horizontal(id="body"):
            with Vertical(id="form"):
                yield from self._row(
                    "file", Input(self._given.file, id="file", suggester=PathSuggester(), compact=True)
                )
                for name, label, hint in FIELDS:
                    yield from self._row(
                        label, Input(getattr(self._given, name), id=name, placeholder=hint, compact=True)
                    )
                yield from self._row(
                    "provider",
                    Select(
                        [(name, name) for name in PROVIDERS],
                        id="provider",
                        value=self._provider,
                        allow_blank=False,
                        compact=True,
                    ),
                )
                yield from self._row(
                    "base URL",
                    Input(self._given.base_url, id="base_url", placeholder="http://127.0.0.1:8000/v1", compact=True),
                )
                yield from self._row("model", Input(self._given.model, id="model", compact=True))
                for name, hint, right, typed in NUMBERS:
                    yield from self._row(
                        name,
                        Input(
                            getattr(self._given, name),
                            id=name,
                            placeholder=hint,
                            restrict=typed,
                            validators=Regex(right),
                            valid_empty=True,
                            compact=True,
                        ),
                    )
                yield Static(id="problem", markup=False)
                yield Button("Start  ^s", id="start", variant="primary", compact=True)
            with VerticalScroll(id="plan", can_focus=False):
                yield Static(id="preview", markup=False)
        yield Static(id="command", markup=False)
        yield Footer(compact=True, show_command_palette=False)

    def _row(self, label: str, field: Input | Select[str]) -> ComposeResult:
        with Horizontal(classes="field", id=f"row-{field.id}"):
            yield Label(label, markup=False)
            yield field

    def on_mount(self) -> None:
        self._changed()

    @property
    def door(self) -> BatchdeckApp:
        return cast("BatchdeckApp", self.app)

    @property
    def plan(self) -> Plan:
        """What the form says now."""
        texts = {field.id: field.value.strip() for field in self.query("#form Input").results(Input) if field.id}
        texts["file"] = os.path.expanduser(texts["file"])
        provider = self.query_one("#provider", Select).value
        return Plan(provider=str(provider), **texts)

    @on(Select.Changed, "#provider")
    def _provider_chosen(self) -> None:
        """The one model of the provider before is none of this one's; what a person typed stays."""
        before, self._provider = self._provider, self.plan.provider
        model = self.query_one("#model", Input)
        if model.value.strip() == MODELS.get(before, ""):
            model.value = MODELS.get(self._provider, "")

    @on(Input.Changed)
    @on(Select.Changed)
    def _changed(self) -> None:
        plan = self.plan
        self.set_class(plan.provider == CUSTOM, "-custom")
        self.query_one("#command", Static).update(Content.assemble(("$ ", "$primary"), inert(plan.command())))
        if plan.missing:
            self.workers.cancel_group(self, "try")
            self._tell(plan.missing, MUTED)
            self._preview(HINT)
        else:
            self._try(plan)

    @work(exclusive=True, group="try")
    async def _try(self, plan: Plan) -> None:
        """Ask the command line what this plan would do."""
        await asyncio.sleep(PAUSE)
        self._tell("reading …", MUTED)
        try:
            printed = await call([*plan.arguments(), "--dry-run", "--json"])
        except BatchdeckError as error:
            self._tell(str(error), "$error")
            self._preview(Content(""))
            return
        self._tell("")
        self._preview(describe(printed))

    def _preview(self, content: Content) -> None:
        self.query_one("#preview", Static).update(content)

    def _tell(self, words: str, colour: str = "$foreground") -> None:
        self.query_one("#problem", Static).update(Content.styled(inert(words), colour))

    @on(Button.Pressed, "#start")
    def action_start(self) -> None:
        plan = self.plan
        if plan.missing:
            self._tell(plan.missing, "$error")
        elif not self._starting:
            self._starting = True
            self._start(plan)

    @work(group="start")
    async def _start(self, plan: Plan) -> None:
        self.workers.cancel_group(self, "try")
        self._tell("starting …", MUTED)
        try:
            printed = await call([*plan.arguments(), "--detach", "--json"])
            path = Path(str(printed["path"]))
        except BatchdeckError as error:
            self._tell(str(error), "$error")
        except KeyError:
            self._tell("batchdeck did not say where the run is; 'batchdeck ls' lists it", "$error")
        else:
            self.door.say(Reply(ok=True, message=f"Launched {path.stem}"))
            self.dismiss(path)
        finally:
            self._starting = False

    @on(Input.Submitted)
    def _next(self) -> None:
        self.app.action_focus_next()

    def action_back(self) -> None:
        if self._starting:
            self.door.say(Reply(ok=True, message="It is being launched already; it opens as soon as it runs"))
        else:
            self.dismiss(None)


def _complete(value: str) -> str | None:
    """The first folder or file of prompts that begins so, in the writing of ``value``."""
    typed = Path(os.path.expanduser(value))
    folder, begun = (typed, "") if value.endswith("/") else (typed.parent, typed.name)
    try:
        with os.scandir(folder) as entries:
            fitting = sorted(
                entry.name + ("/" if entry.is_dir() else "")
                for entry in entries
                if entry.name.startswith(begun)
                and (begun.startswith(".") or not entry.name.startswith("."))
                and (entry.is_dir() or entry.name.lower().endswith(INPUTS))
            )
    except OSError:
        return None
    return value + fitting[0][len(begun) :] if fitting else None
