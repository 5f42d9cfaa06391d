"""The launch screen: a form beside what it would send, and the command line that does the same."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Click, DescendantFocus
from textual.screen import Screen
from textual.widgets import Button, Footer, Input, Select, Static, TextArea

from batchdeck.errors import BatchdeckError
from batchdeck.inert import inert
from batchdeck.model import Reply
from batchdeck_tui.commandline import call
from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.plan import CUSTOM, Plan, placeholder
from batchdeck_tui.preview import columns_of, key_of, request, summary, title
from batchdeck_tui.recentfiles import RecentFile, keep_file, recent_files, shown_path
from batchdeck_tui.screens.choice import Choice, ChoiceScreen
from batchdeck_tui.screens.launchform import FIRST, LaunchForm, is_template
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.entry import Template
from batchdeck_tui.widgets.planview import ColumnChosen, FileChosen, PlanView, recent_note

if TYPE_CHECKING:
    from batchdeck_tui.app import BatchdeckApp

PAUSE = 0.4
"""Seconds without a key after which the plan is tried."""
MODELS_SECONDS = 10
"""For an endpoint to list its models."""


class LaunchScreen(Screen[Path | None]):
    """Gives the new run's file, or None when the person went back."""

    SCOPE: ClassVar[Scope] = "launch"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("launch"),
        # Carried out before the next key is handed to a widget: what comes in one write lands in the field it is for.
        Binding("shift+tab", "app.focus_previous", show=False, priority=True),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]
    AUTO_FOCUS = "#file"

    def __init__(self, plan: Plan | None = None) -> None:
        """plan: fills the fields; None: what stood there when the form was left last."""
        super().__init__()
        self._given = plan
        self._first = FIRST
        self._starting = False
        self._left = False
        self._recent: list[RecentFile] = []
        self._looked_at: str | None = None
        self._columns: list[str] = []
        self._target = "#prompt"
        """The template into which columns go: the one that was written in last."""
        self._models: dict[str, tuple[str, ...]] = {}
        """What endpoints listed since the form was opened."""

    def compose(self) -> ComposeResult:
        self._first = self._given or self.door.draft or FIRST
        yield Static("New run", id="title", markup=False)
        with Horizontal(id="body"):
            yield LaunchForm(self._first, self.door.wall)
            yield PlanView()
        yield Static(id="command", markup=False)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self._changed()
        self._find_recent()

    @property
    def door(self) -> BatchdeckApp:
        return cast("BatchdeckApp", self.app)

    @property
    def form(self) -> LaunchForm:
        return self.query_one(LaunchForm)

    @property
    def view(self) -> PlanView:
        return self.query_one(PlanView)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return bool(self._columns) if action == "columns" else True

    # What is filled in, and what it would do

    @on(Select.Changed, "#provider")
    def _provider_chosen(self) -> None:
        self.form.provider_chosen()
        self.form.note("")
        self.form.offer_models(self._models.get(_where(self.form.plan), ()))

    @on(Input.Changed, "#model")
    def _model_typed(self) -> None:
        self.form.note("")

    @on(Input.Changed)
    @on(TextArea.Changed)
    @on(Select.Changed)
    def _changed(self) -> None:
        if self._left:
            return
        plan = self.form.changed()
        missing = plan.missing
        shown = replace(plan, other="") if missing else plan
        self.query_one("#command", Static).update(Content.assemble(("$ ", "$primary"), inert(shown.command())))
        if not missing:
            self._try(plan)
            return
        self.workers.cancel_group(self, "try")
        self._doing("")
        if plan.file:
            self.view.show_problem(missing, wrong=False)
        else:
            self._offer([], [])
            self.view.wait_for_file()

    @work(exclusive=True, group="try")
    async def _try(self, plan: Plan) -> None:
        """Ask the command line what this plan would do."""
        await asyncio.sleep(PAUSE)
        self._doing("reading …")
        try:
            if plan.file != self._looked_at:
                await self._look(plan)
            printed = await call([*plan.arguments(), "--dry-run", "--json"])
        except BatchdeckError as error:
            self.view.show_problem(str(error), wrong=True)
        else:
            self._offer(columns_of(printed), printed.get("sample"))
            self.view.show_plan(summary(printed), title(printed, own=not plan.prompt), request(printed))
            if plan.provider == CUSTOM:
                self.form.show_key(*key_of(printed))
        self._doing("")

    async def _look(self, plan: Plan) -> None:
        """Show the rows of a file that is named for the first time: its columns help to write the prompt."""
        self._offer([], [])
        self._looked_at = None
        printed = await call(plan.look())
        self._looked_at = plan.file
        self._offer(columns_of(printed), printed.get("sample"))

    def _offer(self, columns: list[str], sample: Any) -> None:
        self._columns = columns
        self.view.show_rows(columns, sample if isinstance(sample, list) else [])
        self.refresh_bindings()

    def _doing(self, words: str) -> None:
        self.query_one("#title", Static).update(Content.assemble("New run", (f"   {words}", f"not bold {MUTED}")))

    # Help with filling in

    @work(group="recent")
    async def _find_recent(self) -> None:
        self._recent = await asyncio.to_thread(recent_files)
        self.view.offer(self._recent, self.door.wall())

    @on(FileChosen)
    def _file_chosen(self, message: FileChosen) -> None:
        self.form.choose_file(shown_path(message.path))

    @work(group="choose")
    async def action_recent(self) -> None:
        if not self._recent:
            self.door.say(Reply(ok=True, message="No file was launched from here yet"))
            return
        now = self.door.wall()
        choices = [Choice(file.path, shown_path(file.path), recent_note(file, now)) for file in self._recent]
        path = await self.app.push_screen_wait(ChoiceScreen("Recent files", choices))
        if path is not None:
            self.form.choose_file(shown_path(path))

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        if is_template(event.widget):
            self._target = f"#{event.widget.id}"

    @on(ColumnChosen)
    def _column_chosen(self, message: ColumnChosen) -> None:
        self._put(message.column)

    @work(group="choose")
    async def action_columns(self) -> None:
        choices = [Choice(column, column, placeholder(column)) for column in self._columns]
        column = await self.app.push_screen_wait(ChoiceScreen("Put a column into the template", choices))
        if column is not None:
            self._put(column)

    def _put(self, column: str) -> None:
        template = self.query_one(self._target, Template)
        template.put(placeholder(column))
        template.focus()

    @work(exclusive=True, group="models")
    async def action_models(self) -> None:
        plan, before = self.form.plan, self.focused
        where = _where(plan)
        if where not in self._models:
            self.form.note(f"asking {where} for its models …")
            try:
                printed = await call(["models", *plan.endpoint, "--timeout", str(MODELS_SECONDS), "--json"])
            except BatchdeckError as error:
                self.form.note(str(error), "$warning")
                return
            said = printed.get("models")
            self._models[where] = tuple(map(str, said)) if isinstance(said, list) else ()
        names = self._models[where]
        self.form.offer_models(names)
        self.form.note("" if names else f"{where} lists no models", "$warning")
        if not names:
            return
        if self.focused is not before or not self.is_current:
            # whoever has gone on writing is not to be interrupted
            self.form.note(f"{len(names)} models; ^l lists them")
            return
        choices = [Choice(name, name) for name in names]
        name = await self.app.push_screen_wait(ChoiceScreen(f"Models of {where}", choices))
        if name is not None:
            self.form.choose_model(name)

    @on(Button.Pressed, "#fold")
    def action_fold(self) -> None:
        self.form.fold()

    @on(Click, "#command")
    def action_copy(self) -> None:
        plan = self.form.plan
        if plan.missing:
            self._refuse(plan.missing)
            return
        self.app.copy_to_clipboard(plan.command())
        self.door.say(Reply(ok=True, message="Copied the command line"))

    # Going on

    @on(Button.Pressed, "#start")
    def action_start(self) -> None:
        plan = self.form.plan
        if plan.missing:
            self._refuse(plan.missing)
        elif not self._starting:
            self._starting = True
            self._start(plan)

    @work(group="start")
    async def _start(self, plan: Plan) -> None:
        self.workers.cancel_group(self, "try")
        self._doing("starting …")
        try:
            printed = await call([*plan.arguments(), "--detach", "--json"])
            path = Path(str(printed["path"]))
        except BatchdeckError as error:
            self._refuse(str(error))
        except KeyError:
            self._refuse("batchdeck did not say where the run is; 'batchdeck ls' lists it")
        else:
            await asyncio.to_thread(keep_file, plan.file, self.door.wall())
            self.door.draft = replace(plan, name="")  # another run cannot have the same one
            self.door.say(Reply(ok=True, message=f"Launched {path.stem}"))
            self._leave(path)
        finally:
            self._starting = False

    def _refuse(self, why: str) -> None:
        self._doing("")
        self.view.show_problem(why, wrong=True)

    @on(Input.Submitted)
    def _next(self) -> None:
        self.app.action_focus_next()

    def action_back(self) -> None:
        if self._starting:
            self.door.say(Reply(ok=True, message="It is being launched already; it opens as soon as it runs"))
            return
        plan = self.form.plan
        if plan != self._first and self._given is None:
            self.door.draft = plan
        self._leave(None)

    def _leave(self, path: Path | None) -> None:
        """Nothing that is still asked for, or was still typed, finds its fields once the screen is taken down."""
        self._left = True
        for group in ("try", "recent", "models"):
            self.workers.cancel_group(self, group)
        self.dismiss(path)


def _where(plan: Plan) -> str:
    """The endpoint, as a person calls it."""
    return plan.endpoint[1]
