"""The fields of the launch form, and the plan that stands in them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from os.path import expanduser

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.suggester import SuggestFromList
from textual.validation import Function, Regex, Validator
from textual.widget import Widget
from textual.widgets import Button, Label, Select, Static

from batchdeck import settings
from batchdeck.errors import UsageError
from batchdeck.model import Wall
from batchdeck_tui.plan import CUSTOM, MODELS, PROVIDERS, Plan, key_told
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.cells import one_line
from batchdeck_tui.widgets.entry import Entry, PathSuggester, Template

FIRST = Plan(model=MODELS["sim"], concurrency="10")
_COUNT, _SECONDS = "[0-9]+", r"[0-9]+(\.[0-9]+)?"
_DOLLARS = r"\$?[0-9]{1,6}(\.[0-9]{1,9})?"


@dataclass(frozen=True, kw_only=True)
class Field:
    """One option of a run. ``right``: what may stand there; of a setting, what ``settings`` reads. ``typed``: what may
    be typed on the way to it; None: anything."""

    name: str
    label: str
    hint: str = ""
    right: str = ""
    typed: str | None = None


CAP = Field(name="concurrency", label="concurrency", hint="10, or auto: as many as pay", typed="[0-9]*|a|au|aut|auto")
LIMIT = Field(name="limit", label="limit", hint="all items", right=_COUNT, typed="[0-9]*")
MORE = (
    Field(name="rpm", label="requests/min", hint="learned from the answers"),
    Field(name="tpm", label="tokens/min", hint="learned from the answers; or such as 90k"),
    Field(name="max_cost", label="cost at most", hint="no limit; or US dollars, such as 2.50"),
    Field(name="price", label="price in/out", hint="from the list; or dollars a million tokens, such as 0.15/0.60",
          right=f"{_DOLLARS} ?/ ?{_DOLLARS}"),
    Field(name="max_errors", label="errors at most", hint="no limit; or such as 50 or 5%"),
    Field(name="deadline", label="deadline", hint="none; or such as 2h30m or 17:30"),
    Field(name="max_tokens", label="longest answer", hint="the model's own limit; or tokens", right=_COUNT,
          typed="[0-9]*"),
    Field(name="max_retries", label="retries", hint="5, after errors that may pass", right=_COUNT, typed="[0-9]*"),
    Field(name="max_wait", label="longest wait", hint="any; or seconds that rate limits may hold an item",
          right=_SECONDS),
    Field(name="connect_timeout", label="connect", hint="10 seconds", right=_SECONDS),
    Field(name="first_token_timeout", label="first token", hint="120 seconds", right=_SECONDS),
    Field(name="idle_timeout", label="silence", hint="60 seconds between chunks", right=_SECONDS),
    Field(name="timeout", label="whole answer", hint="600 seconds", right=_SECONDS),
    Field(name="name", label="name", hint="the file's name and the time", right=r"[\w-][\w.-]{0,99}"),
    Field(name="other", label="other options", hint="as in a shell: --param temperature=0 --no-stream"),
)  # fmt: skip
"""What is folded away at first."""


class LaunchForm(VerticalScroll):
    """Fields by the names of ``Plan``'s. Tells its screen of every change, as its fields do."""

    def __init__(self, plan: Plan, wall: Wall, environ: Mapping[str, str] = os.environ) -> None:
        super().__init__(id="form", can_focus=False)
        self._first = plan
        self._wall = wall
        self._environ = environ
        self._provider = plan.provider if plan.provider in PROVIDERS else CUSTOM

    def compose(self) -> ComposeResult:
        plan = self._first
        file_hint = "a path, → completes, ^r recent files"
        with _row("file", "file"):
            yield Entry(plan.file, id="file", placeholder=file_hint, suggester=PathSuggester(), compact=True)
        with _row("prompt", "prompt"):
            yield Template(plan.prompt, id="prompt", hint="Translate: {{ text }}   ^t a column")
        with _row("system", "system"):
            yield Template(plan.system, id="system", hint="system prompt, optional")
        with _row("provider", "provider"):
            names = [(name, name) for name in PROVIDERS]
            yield Select(names, id="provider", value=self._provider, allow_blank=False, compact=True)
            yield Static(id="key", markup=False)
        with _row("base_url", "base URL"):
            yield Entry(plan.base_url, id="base_url", placeholder="http://127.0.0.1:8000/v1", compact=True)
        with _row("model", "model"):
            yield Entry(plan.model, id="model", placeholder="^l lists those of the endpoint", compact=True)
        yield Static(id="note", markup=False)
        for field in (CAP, LIMIT):
            yield from self._field(field)
        with Horizontal(id="buttons"):
            yield Button("Start  ^s", id="start", variant="primary", compact=True)
            yield Button("", id="fold", compact=True)
        with Vertical(id="more"):
            for field in MORE:
                yield from self._field(field)

    def _field(self, field: Field) -> ComposeResult:
        with _row(field.name, field.label):
            yield Entry(
                getattr(self._first, field.name),
                id=field.name,
                placeholder=field.hint,
                restrict=field.typed,
                validators=self._validator(field),
                valid_empty=True,
                compact=True,
            )

    def _validator(self, field: Field) -> Validator | None:
        if field.name in settings.SETTINGS:
            return Function(lambda text: self._reads(field.name, text))
        return Regex(field.right) if field.right else None

    def _reads(self, name: str, text: str) -> bool:
        try:
            settings.parse(name, text, self._wall())
        except UsageError:
            return False
        return True

    def on_mount(self) -> None:
        self.changed()

    @property
    def plan(self) -> Plan:
        """What the form says now."""
        texts = {field.name: self._text(field.name) for field in fields(Plan)}
        texts["file"] = expanduser(texts["file"])
        return Plan(**texts)

    def _text(self, name: str) -> str:
        field = self.query_one(f"#{name}")
        if isinstance(field, Template):
            # blanks around a prompt may be meant, blanks alone are none
            return field.text if field.text.strip() else ""
        return str(field.value) if isinstance(field, Select) else self._entry(name).value.strip()

    def _entry(self, name: str) -> Entry:
        return self.query_one(f"#{name}", Entry)

    def changed(self) -> Plan:
        """Draw what depends on the fields. Returns the plan as it is now."""
        plan = self.plan
        self.set_class(plan.provider == CUSTOM, "-custom")
        if plan.provider != CUSTOM:  # whose key it is depends on the URL
            self.show_key(*key_told(plan.provider, self._environ))
        set_here = sum(1 for field in MORE if getattr(plan, field.name))
        arrow, some = "▾" if self.is_open else "▸", f" ({set_here} set)" if set_here else ""
        fold = self.query_one("#fold", Button)
        label = f"{arrow} More{some}  ^n"
        if str(fold.label) != label:
            fold.label = label
            fold.refresh(layout=True)  # another label does not make the button wider by itself
        return plan

    def provider_chosen(self) -> None:
        """The one model of the provider before is none of this one's; what a person typed stays."""
        before, self._provider = self._provider, self._text("provider")
        model = self._entry("model")
        if self._provider == CUSTOM:
            self.show_key("", True)
        if before != self._provider and model.value.strip() == MODELS.get(before, ""):
            model.value = MODELS.get(self._provider, "")

    @property
    def is_open(self) -> bool:
        """Whether the rarer fields are shown."""
        return self.has_class("-more")

    def fold(self) -> None:
        """Show the rarer fields, and stand in the first; or hide them again."""
        was_inside = self.screen.focused in list(self.query("#more Entry"))
        self.toggle_class("-more")
        self.changed()
        if self.is_open:
            self._entry(MORE[0].name).focus()
        elif was_inside:
            self.query_one("#fold").focus()

    def choose_file(self, path: str) -> None:
        """Take a file, and go on to the prompt."""
        self._entry("file").value = path
        self.query_one("#prompt").focus()

    def choose_model(self, name: str) -> None:
        model = self._entry("model")
        model.value = name
        model.focus()

    def offer_models(self, names: tuple[str, ...]) -> None:
        """Complete the model from these."""
        plain = [name for name in names if one_line(name) == name]  # what is suggested is painted as it is
        self._entry("model").suggester = SuggestFromList(plain, case_sensitive=False) if plain else None

    def note(self, words: str, colour: str = MUTED) -> None:
        """One line below the model; empty takes it away."""
        note = self.query_one("#note", Static)
        note.update(Content.styled(one_line(words), colour))
        note.display = bool(words)

    def show_key(self, words: str, good: bool) -> None:
        """Whether the endpoint's key is set."""
        self.query_one("#key", Static).update(Content.styled(words, MUTED if good else "$warning"))


def _row(name: str, label: str) -> Horizontal:
    return Horizontal(Label(label, markup=False), classes="field", id=f"row-{name}")


def is_template(widget: Widget | None) -> bool:
    """Whether columns can be put into this field."""
    return isinstance(widget, Template)
