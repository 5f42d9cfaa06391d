"""The detail pane: an item's prompt, its whole answer as it comes, and its ledger of attempts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from batchdeck.model import Detail, LiveRow
from batchdeck_tui.format import count
from batchdeck_tui.widgets.answertext import Form, Laid, answer_lines, answer_note, answer_text
from batchdeck_tui.widgets.attempttext import attempt_lines
from batchdeck_tui.widgets.cells import strip
from batchdeck_tui.widgets.inks import Inked
from batchdeck_tui.widgets.itemtext import heading, headline
from batchdeck_tui.widgets.prompttext import prompt_lines
from batchdeck_tui.widgets.styled import Line
from batchdeck_tui.widgets.wrapped import Wrapped

FOLDED = 6
"""Lines of a long prompt shown until it is unfolded, at least."""


class DetailPane(Inked, ScrollView, can_focus=True):
    """One item as wrapped lines. While it streams, the view stays at the end unless it was scrolled up."""

    INKS: ClassVar[Mapping[str, str]] = {
        "text": "$foreground",
        "label": "$text-muted",
        "number": "$text-muted",
        "name": "bold $foreground",
        "title": "bold $text-primary",
        "rule": "$text-disabled",
        "waited": "$text-primary",
        "queued": "$text-muted",
        "in_flight": "$text-accent",
        "done": "$text-success",
        "failed": "$text-error",
        "skipped": "$text-muted",
        "retried": "$text-warning",
        "strong": "bold $foreground",
        "emphasis": "italic $foreground",
        "code": "$text-accent on $panel",
        "link": "$text-primary",
        "key": "$text-primary",
        "string": "$text-success",
        "number_value": "$text-warning",
    }
    DEFAULT_CSS = """
    DetailPane {
        height: 1fr; background: $surface; color: $foreground; overflow-x: hidden; overflow-y: scroll;
        scrollbar-size-vertical: 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
        Binding("g", "scroll_home", "Top", show=False),
        Binding("G", "scroll_end", "End", show=False),
    ]

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._detail: Detail | None = None
        self._live: LiveRow | None = None
        self._unfolded = False
        self._answer = Wrapped()
        self._answer_text = ""
        self._form: Form = "read"
        self._laid: tuple[object, Laid] = (None, Laid(None, "raw", ("raw",)))
        """The answer in its form, and what it was laid out for."""
        self._head: Line = ()
        self._above: list[Line] = []
        self._below: list[Line] = []
        self._width = 0
        self._kept: tuple[object, tuple[list[Line], list[Line]]] | None = None
        self.layouts = 0
        """Prompts laid out so far."""

    # What the run screen tells the pane

    def show(self, detail: Detail | None) -> None:
        """Show an item, or nothing. The same item again keeps its place on the screen."""
        if detail == self._detail:
            return
        before = self._detail.idx if self._detail is not None else None
        self._detail, self._kept = detail, None
        same = detail is not None and detail.idx == before
        if not same:
            self._unfolded = False
        if self._live is not None and (detail is None or self._live.idx != detail.idx):
            self._live = None
        self._answer_text = answer_text(detail) if detail is not None else ""
        self._rebuild(stick=same and self._sticks())
        if not same:
            self.scroll_to(y=self.max_scroll_y if self._live is not None else 0, animate=False)

    def stream(self, live: LiveRow | None) -> None:
        """The item's request in flight with all its text so far; None when it has none."""
        if live == self._live:
            return
        began = live is not None and (self._live is None or self._live.idx != live.idx)
        if live is not None and self._detail is not None and self._detail.idx != live.idx:
            self._detail = self._kept = None  # another item's prompt must not stand above this answer
        stick = began or self._sticks()
        self._live = live
        self._rebuild(stick=stick)

    @property
    def form(self) -> Form:
        """How an answer that has ended is laid out, where it can be; one that streams is raw."""
        return self._form

    @form.setter
    def form(self, form: Form) -> None:
        self._form = form
        self._rebuild(stick=False)

    @property
    def forms(self) -> tuple[Form, ...]:
        """Those that there are for this answer."""
        return self._laid[1].forms if self._live is None else ("raw",)

    @property
    def detail(self) -> Detail | None:
        """The item as it was read last."""
        return self._detail

    @property
    def text(self) -> str:
        """The answer as it stands, as the model wrote it; for the clipboard."""
        return self._live.text if self._live is not None else self._answer_text

    # Lines

    def line_texts(self) -> list[str]:
        """All lines below the headline, whether in view or not."""
        self._lay_out()
        return ["".join(text for text, _ in self._line(row)) for row in range(self._count)]

    @property
    def _count(self) -> int:
        return len(self._above) + self._answered + len(self._below)

    @property
    def _answered(self) -> int:
        """Lines of the answer."""
        lines = self._laid[1].lines if self._live is None else None
        return len(self._answer.lines if lines is None else lines)

    def _line(self, row: int) -> Line:
        if row < len(self._above):
            return self._above[row]
        row -= len(self._above)
        answered = self._answered
        if row < answered:
            lines = self._laid[1].lines if self._live is None else None
            return lines[row] if lines is not None else ((self._answer.lines[row], "text"),)
        row -= answered
        return self._below[row] if row < len(self._below) else ()

    def _rebuild(self, *, stick: bool) -> None:
        self._width = 0
        self._lay_out()
        self.virtual_size = Size(1, self._count + 1)
        self.refresh()
        if stick:
            self.scroll_to(y=self.max_scroll_y, animate=False)

    def _sticks(self) -> bool:
        return self.scroll_offset.y >= self.max_scroll_y

    def _lay_out(self) -> None:
        """Lines for the width of now; a first paint at a new size can come before its Resize."""
        width = self.scrollable_content_region.width - 2
        if width == self._width or width < 8:
            return
        self._width = width
        detail, live = self._detail, self._live
        if detail is None and live is None:
            self._head, self._above, self._below = (("no row is selected", "label"),), [], []
            self._answer_text = ""
            self._lay_answer(width)
            return
        self._lay_answer(width)
        note, style = answer_note(detail, live)
        if live is None and self.text and self._laid[1].name != "raw":
            note = f"{note} · {self._laid[1].name}"
        self._head = headline(detail, live, width) if detail is not None else ()
        prompt, self._below = self._settled_lines(width)
        self._above = [*prompt, heading("answer", note, width, style)]

    def _lay_answer(self, width: int) -> None:
        """Raw while it streams: each piece would change what stands there already."""
        if self._live is None:
            made_of = (self._answer_text, self._form, width)
            if self._laid[0] != made_of:
                self._laid = made_of, answer_lines(self._answer_text, self._form, width)
        if self._live is not None or self._laid[1].lines is None:
            self._answer.set(self.text, width)

    def _settled_lines(self, width: int) -> tuple[list[Line], list[Line]]:
        """What stands above the answer and below it. The same while only the answer grows."""
        detail = self._detail
        if detail is None:
            return [], []
        folded = None if self._unfolded else max(FOLDED, self.size.height // 3)
        wanted = (width, folded)
        if self._kept is None or self._kept[0] != wanted:
            attempts = detail.attempts
            below = [(), heading("attempts", str(len(attempts)), width), *attempt_lines(attempts, width)]
            self.layouts += 1
            self._kept = wanted, (_prompt(detail, width, folded), below if attempts else [])
        return self._kept[1]

    # Painting

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        self._lay_out()
        base = self.rich_style
        if y == 0:
            return strip([(" ", base), *((text, base + self.ink(name)) for text, name in self._head)], width, base)
        # the headline stays, the rest scrolls below it
        row = y - 1 + self.scroll_offset.y
        parts = [(text, base + self.ink(name)) for text, name in self._line(row)]
        line = strip([(" ", base), *parts], width, base)
        return self._selected(line, row).apply_offsets(0, row)

    def _selected(self, line: Strip, row: int) -> Strip:
        span = self.text_selection.get_span(row) if self.text_selection is not None else None
        if span is None:
            return line
        look = self.screen.get_component_rich_style("screen--selection", partial=True)
        start, end = span
        text = line.text
        start, end = min(start, len(text)), len(text.rstrip()) if end < 0 else min(end, len(text))
        segments: list[Segment] = []
        place = 0
        for piece, style, _ in line:
            cuts = sorted({0, len(piece), *(min(max(at - place, 0), len(piece)) for at in (start, end))})
            for left, right in pairwise(cuts):
                inside = start <= place + left < end
                segments.append(Segment(piece[left:right], (style or Style()) + look if inside else style))
            place += len(piece)
        return Strip(segments, line.cell_length)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract("\n".join(f" {text}" for text in self.line_texts())), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    # Size and keys

    def on_mount(self) -> None:
        self._rebuild(stick=False)

    def on_resize(self) -> None:
        self._rebuild(stick=self._live is not None and self._sticks())

    def unfold(self) -> None:
        """Show the whole prompt, or fold it again."""
        self._unfolded = not self._unfolded
        self._rebuild(stick=False)


def _prompt(detail: Detail, width: int, folded: int | None) -> list[Line]:
    """folded: how many lines are shown at most, None for all."""
    lines, more = prompt_lines(detail, width, folded)
    if more == 1:  # the line that says so takes as much room
        lines, more = prompt_lines(detail, width, len(lines) + 1)
    if more:
        lines = [*lines, ((f"… {count(more)} more lines (p)", "label"),)]
    note = "bad input" if detail.error is not None else ""
    return [(), heading("prompt", note, width, "failed"), *lines, ()]
