"""Every key, from the table of commands, and how to read the screens."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from batchdeck_tui.commands import TITLES, Scope, verbs

WORDS = (
    ("cap", "how many requests may be in flight at once: the concurrency"),
    ("in flight", "a request is open; its row shows what has come so far"),
    ("backoff", "waits to be tried again, and gives its place to another"),
    ("429", "the provider's rate limit: the whole run waits as long as it says; no item fails of it"),
    ("TTFT · E2E", "time to the first token · to the whole answer"),
    ("interrupted", "the engine is gone without an end; R goes on, nothing done is sent again"),
    ("charts", "throughput, in flight against cap, queue, 429s; │ marks a turn of a knob"),
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
                yield Static(_section(scope))
            yield Static(_words())

    def on_click(self) -> None:
        self.dismiss()

    def action_scroll_text(self, by: int) -> None:
        self.query_one("#keys").scroll_relative(y=by, animate=False)


def _section(scope: Scope) -> Content:
    lines: list[Content | str] = [Content.styled(f"{TITLES[scope]}\n", "bold $primary")]
    for verb in verbs(scope):
        lines += [
            Content.styled(f"  {verb.shown:<7}", "bold"),
            f"{verb.title:<27}",
            Content.styled(f"{verb.does}\n", "$text-muted"),
        ]
    return Content.assemble(*lines)


def _words() -> Content:
    lines: list[Content | str] = [Content.styled("Words\n", "bold $primary")]
    for word, means in WORDS:
        lines += [Content.styled(f"  {word:<15}", "bold"), Content.styled(f"{means}\n", "$text-muted")]
    return Content.assemble(*lines)
