"""What a plan would do: the file's first rows, counts and cost, and the first request; recent files before that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import DataTable, OptionList, Static
from textual.widgets.option_list import Option

from batchdeck_tui.format import ago, short
from batchdeck_tui.recentfiles import RecentFile, shown_path
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.cells import ELLIPSIS, one_line

WIDEST, NARROWER = 48, 26
"""Cells of a value, where there are one or two columns, and where there are more."""
HINT = Content.styled("The first rows and the first request stand here before anything is sent.", MUTED)
ROWS = Content.styled("enter or click: column into the prompt", MUTED)
RECENT = Content.styled("recent files   enter or a click takes one", MUTED)


class ColumnChosen(Message):
    """A column is to be put into the prompt."""

    def __init__(self, column: str) -> None:
        super().__init__()
        self.column = column


class FileChosen(Message):
    """A recent file is to be run."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path


class SampleTable(DataTable[Text]):
    """The first rows; enter and clicks choose a column."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h", "cursor_left", show=False),
        Binding("l", "cursor_right", show=False),
        Binding("j", "scroll_down", show=False),
        Binding("k", "scroll_up", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id="rows", cursor_type="column", zebra_stripes=False, cell_padding=1)
        self._columns: list[str] = []
        self._shown: list[Any] = []

    def show(self, columns: Sequence[str], sample: Sequence[Any]) -> None:
        """sample: rows as ``run --dry-run --json`` says them."""
        if (list(columns), list(sample)) == (self._columns, self._shown):
            return  # the cursor stays where it is
        self._columns, self._shown = list(columns), list(sample)
        self.clear(columns=True)
        if not self._columns:
            return
        width = WIDEST if len(self._columns) <= 2 else NARROWER
        self.add_column(Text("line", style="dim"), key="")
        for number, column in enumerate(self._columns):
            self.add_column(_cut(column, width), key=str(number))
        for row in self._shown:
            if isinstance(row, dict):
                self.add_row(*self._cells(row, width))
        self.move_cursor(column=1, scroll=False)
        self.call_after_refresh(self.scroll_to, 0, 0, animate=False)

    def _cells(self, row: dict[str, Any], width: int) -> list[Text]:
        values, line = row.get("values"), str(row.get("line"))
        known = values if isinstance(values, dict) else {}
        number = Text(f"✗ {line}", style="bold") if row.get("error") else Text(line, style="dim")
        return [number, *(_cut(str(known.get(name, "")), width) for name in self._columns)]

    @on(DataTable.HeaderSelected)
    @on(DataTable.ColumnSelected)
    def _chosen(self, message: DataTable.HeaderSelected | DataTable.ColumnSelected) -> None:
        message.stop()
        key = message.column_key.value
        if key:
            self.post_message(ColumnChosen(self._columns[int(key)]))


class Pane(VerticalScroll):
    """Scrolls as everything else does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", show=False),
        Binding("k", "scroll_up", show=False),
        Binding("g", "scroll_home", show=False),
        Binding("G", "scroll_end", show=False),
    ]


class PlanView(Vertical):
    """Tells its screen of what was chosen in it: ``ColumnChosen``, ``FileChosen``."""

    def __init__(self) -> None:
        super().__init__(id="plan")
        self._recent: Sequence[RecentFile] = ()

    def compose(self) -> ComposeResult:
        yield Static(id="summary", markup=False)
        yield OptionList(id="recent", compact=True)
        with Container(id="both"):
            with Vertical(id="sample"):
                yield Static(ROWS, id="rows-title")
                yield SampleTable()
            with Vertical(id="asked"):
                yield Static(id="asked-title", markup=False)
                with Pane(id="asked-pane"):
                    yield Static(id="preview", markup=False)

    def on_mount(self) -> None:
        self.wait_for_file()

    def offer(self, recent: Sequence[RecentFile], now: float) -> None:
        """These files, while none is named. now: seconds since the epoch."""
        self._recent = recent
        known = self.query_one("#recent", OptionList)
        known.clear_options()
        known.add_options(Option(recent_line(file, now)) for file in recent)
        if self.has_class("-empty"):
            self.wait_for_file()

    def wait_for_file(self) -> None:
        """No file is named yet."""
        self.add_class("-empty")
        self.set_class(bool(self._recent), "-recent")
        self._say(RECENT if self._recent else HINT)

    def show_rows(self, columns: Sequence[str], sample: Sequence[Any]) -> None:
        """The first rows of the file that is named."""
        if self.has_class("-empty"):
            self.remove_class("-empty")
            self._say(Content(""))
            self.query_one("#asked").display = False
        self.query_one("#sample").display = bool(columns)
        self.query_one(SampleTable).show(columns, sample)

    def show_plan(self, summary: Content, title: Content, request: Content) -> None:
        """What would be sent."""
        self.remove_class("-empty")
        self._say(summary)
        self.query_one("#asked").display = True
        self.query_one("#asked-title", Static).update(title)
        self.query_one("#preview", Static).update(request)

    def show_problem(self, words: str, *, wrong: bool) -> None:
        """Why nothing would be sent. wrong: something must be mended, not only be filled in."""
        self.remove_class("-empty")
        self._say(Content.styled(f"✗ {one_line(words)}", "$error") if wrong else Content.styled(one_line(words), MUTED))
        self.query_one("#asked").display = False

    def _say(self, said: Content) -> None:
        self.query_one("#summary", Static).update(said)

    @on(OptionList.OptionSelected, "#recent")
    def _file_chosen(self, message: OptionList.OptionSelected) -> None:
        message.stop()
        self.post_message(FileChosen(self._recent[message.option_index].path))


def recent_line(file: RecentFile, now: float) -> Content:
    """A recent file in one line."""
    return Content.assemble(one_line(shown_path(file.path)), (f"   {recent_note(file, now)}", MUTED))


def recent_note(file: RecentFile, now: float) -> str:
    """How large it is, and when it was used."""
    return f"{short(file.size)}B, {ago(now - file.used_at)}"


def _cut(text: str, width: int) -> Text:
    shown = Text(one_line(text), no_wrap=True, end="")
    if shown.cell_len > width:
        shown.truncate(width - 1)
        shown.append(ELLIPSIS)
    return shown
