"""Every key, from the table of commands, and how to read the screens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from batchdeck_tui.commands import TITLES, Scope, verbs
from batchdeck_tui.reasons import REASONS

WORDS = (
    ("cap", "how many requests may be in flight at once: the concurrency"),
    ("in flight", "a request is open; its row shows what has come so far"),
    ("backoff", "waits to be tried again, and gives its place to another"),
    ("429", "the provider's rate limit: the whole run waits as long as it says; no item fails of it"),
    ("TTFT · E2E", "time to the first token · to the whole answer"),
    ("interrupted", "the engine is gone without an end; R goes on, nothing done is sent again"),
    (
        "errors",
        "a click on a class, or tab and ⏎, lists the rows that failed of it; r tries them again, E exports",
    ),
    ("charts", "throughput, in flight against cap, queue, 429s; │ marks a turn of the cap, ╎ a→ one by the engine"),
    ("p50 · p95", "half of the answers were faster · 95 of 100 were; of the last 10 s, the area and the line over it"),
    ("┃", "the moment that is read: charts tell its values, of a column that holds several the least–greatest"),
    ("10 → 20", "beside the charts: what a turn of the cap did, once the new level had settled (a: by the engine)"),
    ("level", "a concurrency that was measured: only while the cap held the run, and once answers came steadily"),
    ("best · knee", "the least concurrency with nearly all the throughput; the band is how sure that is"),
    ("┊ ◆ ◇ !", "on a chart: limits were changed, a quota became known, the provider went down or came back"),
    ("queue ø", "how many items waited at a time, on average over the whole run"),
    ("limits", "used/limit of the account, and who says so: a flag, the provider's headers, or its 429s (learned)"),
    ("(250 here)", "of a limit that several runs share: what this run may use of it"),
)


class HelpScreen(ModalScreen[None]):
    """The screen's own keys first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "close"),
        Binding("j", "scroll_text(1)", show=False),
        Binding("k", "scroll_text(-1)", show=False),
    ]
    AUTO_FOCUS = "#keys"

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self._scope = scope

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="keys", classes="dialog") as box:
            box.border_title = "Keys"
            box.border_subtitle = "esc closes"
            for scope in sorted(TITLES, key=lambda scope: (scope != self._scope, scope != "app")):
                yield Static(TITLES[scope], classes="heading")
                yield Static(_section(scope))
            yield Static("Words", classes="heading")
            yield Static(_words())
            yield Static("Why items wait: the parts of the strip", classes="heading")
            yield Static(_reasons())

    def on_click(self) -> None:
        self.dismiss()

    def action_scroll_text(self, by: int) -> None:
        self.query_one("#keys").scroll_relative(y=by, animate=False)


def _section(scope: Scope) -> Table:
    """A grid, so that what wraps stays in its column."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for width in (7, 26, None):
        table.add_column(width=width)
    for verb in verbs(scope):
        table.add_row(Text(verb.shown, style="bold"), Text(verb.title), Text(verb.does, style="dim"))
    return table


def _words() -> Table:
    return _told(WORDS)


def _reasons() -> Table:
    return _told((f"{word.glyph} {word.title}", word.means) for word in REASONS.values())


def _told(words: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for width in (13, None):
        table.add_column(width=width)
    for word, means in words:
        table.add_row(Text(word, style="bold"), Text(means, style="dim"))
    return table
