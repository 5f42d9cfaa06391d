"""The form of limits: everything that can be changed while a run goes, with its value now."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import DescendantFocus
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from batchdeck import settings
from batchdeck.inert import inert
from batchdeck.model import RunMeta, Snapshot, Wall
from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.screens.knobs import WORKING
from batchdeck_tui.screens.limitform import NOTHING, Change, beside, read, values_of
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.entry import Entry

RESTING = "No engine works on it: changes take effect on resume."
OVER = "Everything is done: there is nothing left to limit."


class LimitsScreen(ModalScreen[Change | None]):
    """Gives what was changed, or None when the person left. Nothing is sent from here."""

    SCOPE: ClassVar[Scope] = "limits"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("limits"),
        # Carried out before the next key is handed to a widget: what comes in one write lands in the field it is for.
        Binding("up,shift+tab", "app.focus_previous", show=False, priority=True),
    ]
    AUTO_FOCUS = "Input"

    def __init__(self, now: Snapshot | RunMeta, wall: Wall) -> None:
        super().__init__()
        self._now = now
        self._wall = wall
        self._values = values_of(now)
        self._shown = {name: settings.show(name, value) for name, value in self._values.items()}
        self._stands = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_subtitle = "off: no limit · ↑ ↓ move along"
            yield Static(id="why", markup=False)
            with VerticalScroll(id="fields", can_focus=False):
                for name, setting in settings.SETTINGS.items():
                    with Horizontal(classes="field"):
                        yield Label(setting.title, markup=False)
                        nothing = NOTHING.get(name, "off")
                        yield Entry(self._shown[name], id=name, placeholder=nothing, compact=True, select_on_focus=True)
                        yield Static(id=f"{name}-now", classes="now", markup=False)
            yield Static(id="problem", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Apply (^s)", id="apply", variant="primary", compact=True)
                yield Button("Leave (esc)", id="leave", compact=True)

    def on_mount(self) -> None:
        self._stands = True
        self.hear(self._now)

    def hear(self, now: Snapshot | RunMeta) -> None:
        """The run as it is now. A field in which nobody wrote shows what somebody else changed."""
        self._now = now
        if not self._stands:
            return  # the screen is there, its fields are not yet
        self._values = values_of(now)
        for name, value in self._values.items():
            text, before = settings.show(name, value), self._shown[name]
            field = self.query_one(f"#{name}", Input)
            if text != before:
                self._shown[name] = text
                if field.value == before:
                    field.value = text
            self._fill(f"#{name}-now", inert(beside(name, now)), MUTED)
        works, over = now.state in WORKING, now.state == "done"
        self.query_one(".dialog").border_title = f"Limits of {inert(now.run)}".replace("[", r"\[")
        apply = self.query_one("#apply", Button)
        apply.label = "Apply (^s)" if works else "Resume with these (^s)"
        apply.display = not over
        apply.refresh(layout=True)  # another label does not make the button wider by itself
        why = self.query_one("#why", Static)
        why.display = not works
        self.set_class(not works, "-why")
        told = inert(f"{now.message}  ") if now.message else ""
        why.update(Content.assemble((told, "$warning"), (OVER if over else RESTING, MUTED)))

    @property
    def typed(self) -> tuple[Change, dict[str, str]]:
        """What was changed so far, and what is wrong with the rest."""
        texts = {name: self.query_one(f"#{name}", Input).value for name in settings.SETTINGS}
        return read(texts, self._shown, self._values, self._wall())

    @on(Input.Changed)
    def _changed(self) -> None:
        _, wrong = self.typed
        for name in settings.SETTINGS:
            self.query_one(f"#{name}", Input).set_class(name in wrong, "-wrong")
        self._tell(wrong)

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        for field in self.query(".field"):
            field.set_class(event.widget in field.children, "-here")
        self._tell(self.typed[1])

    def _tell(self, wrong: dict[str, str]) -> None:
        """One line: what is wrong with the field in focus, else with another, else what the field does."""
        at = self.focused.id if isinstance(self.focused, Input) and self.focused.id else ""
        if wrong:
            self._fill("#problem", inert(wrong.get(at) or next(iter(wrong.values()))), "$error")
        else:
            self._fill("#problem", settings.SETTINGS[at].does if at in settings.SETTINGS else "", MUTED)

    def _fill(self, where: str, words: str, colour: str) -> None:
        self.query_one(where, Static).update(Content.styled(words, colour))

    @on(Input.Submitted)
    def _next(self) -> None:
        self.app.action_focus_next()

    @on(Button.Pressed, "#apply")
    def action_apply(self) -> None:
        # The key comes before those that still wait for the field in which they were typed: behind them, then.
        (self.focused or self).call_later(self._apply)

    def _apply(self) -> None:
        if not self.is_current or self._now.state == "done":
            return
        change, wrong = self.typed
        if wrong:
            name = next(iter(wrong))
            self.query_one(f"#{name}", Input).focus()
            self._tell({name: wrong[name]})
        else:
            self.dismiss(change)

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        self.dismiss(None)
