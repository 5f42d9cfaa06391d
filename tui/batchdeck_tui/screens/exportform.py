"""Asks where the results are to go."""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from batchdeck.inert import inert
from batchdeck_tui.screens.confirm import ConfirmScreen
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.entry import Entry

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv")
NO_NAME = "a name that ends with .jsonl or .csv"


class ExportScreen(ModalScreen[Path | None]):
    """A file that is whole and absolute; before one is written over, it is asked. None: nothing is exported."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave")]
    AUTO_FOCUS = "#file"

    def __init__(self, what: str, stem: str) -> None:
        """what: the rows, as a person reads them. stem: what the run is called, for a name to propose."""
        super().__init__()
        self._what, self._proposed = what, proposed(stem)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Export"
            box.border_subtitle = "⏎ writes   esc leaves"
            yield Static(f"Write {self._what} to (.jsonl or .csv):", markup=False)
            yield Entry(self._proposed, id="file", compact=True)
            yield Static(id="there", markup=False)

    def on_mount(self) -> None:
        self._say(self._proposed)

    @on(Input.Changed, "#file")
    def _changed(self, message: Input.Changed) -> None:
        self._say(message.value)

    def _say(self, name: str) -> None:
        problem, path = target(name)
        if path is None:
            said = Content.styled(problem, MUTED if problem == NO_NAME else "$text-error")
        elif problem:
            said = Content.styled(problem, "$text-warning")
        else:
            said = Content.styled(inert(str(path)), MUTED)
        self.query_one("#there", Static).update(said)

    @on(Input.Submitted, "#file")
    @work(exclusive=True)
    async def _submitted(self, message: Input.Submitted) -> None:
        problem, path = target(message.value)
        if path is None:
            self.query_one("#there", Static).update(Content.styled(problem, "$text-error"))
            return
        question = f"{inert(str(path))} is there already. Write over it?"
        if not problem or await self.app.push_screen_wait(ConfirmScreen(question, yes="Write over it", no="Keep it")):
            self.dismiss(path)

    def action_leave(self) -> None:
        self.dismiss(None)


def target(name: str) -> tuple[str, Path | None]:
    """What there is to say about a name, and the file that it means; None where none can be written by that name."""
    name = name.strip()
    try:
        path = Path(name).expanduser().absolute()
        if not name or path.suffix.lower() not in SUFFIXES:
            return NO_NAME, None
        if path.is_dir():
            return "that is a folder", None
        return ("that file is there already" if path.exists() else ""), path
    except OSError as error:
        return inert(error.strerror or str(error)), None
    except (RuntimeError, ValueError) as error:  # a home of nobody; a zero byte
        return inert(str(error)), None


def proposed(stem: str) -> str:
    """A name in this folder that is free: a run is often called what its input is."""
    for ending in chain(("", "-answers"), (f"-answers-{number}" for number in count(2))):
        problem, path = target(f"{stem}{ending}.jsonl")
        if path is None or not problem:
            break
    return f"{stem}{ending}.jsonl"
