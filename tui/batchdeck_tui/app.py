"""The console as an app. It only opens the door: theme, global commands, first screen."""

from __future__ import annotations

import asyncio
import gc
import importlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from textual import constants, events
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.filter import LineFilter
from textual.screen import Screen
from textual.theme import Theme

from batchdeck.inert import inert
from batchdeck.model import Reply, Wall
from batchdeck_tui.commands import bindings, palette
from batchdeck_tui.habits import Habits
from batchdeck_tui.outlet import PatientDriver
from batchdeck_tui.plain import AsciiFilter
from batchdeck_tui.remembered import recall, remember
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.theme import DARK, THEMES

if TYPE_CHECKING:
    from batchdeck_tui.plan import Plan


class BatchdeckApp(App[None]):
    """The console. ``run``: a run file to open first; the list of runs lies below it."""

    TITLE = "batchdeck"
    CSS_PATH: ClassVar[list[str | PurePath] | None] = [
        f"styles/{name}.tcss" for name in ("app", "runs", "run", "tune", "launch", "dialogs")
    ]
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-medium"), (130, "-wide"), (170, "-huge")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (16, "-low"), (32, "-high")]  # noqa: RUF012
    NOTIFICATION_TIMEOUT = 4.0

    def __init__(self, run: Path | None = None, wall: Wall = time.time) -> None:  # noqa: TID251  the console's own clock
        super().__init__()
        self.wall = wall
        for theme in THEMES:
            self.register_theme(theme)
        kept = recall().theme
        # Before anything is mounted: with another one later, all styles would be made twice.
        self.set_reactive(App.theme, kept if kept in self.available_themes else DARK.name)
        self.stylesheet.set_variables(self.get_css_variables())
        self._first = run
        self.habits = Habits()
        self._ascii = AsciiFilter(enabled=self.habits["ascii"])
        self._calm()
        self.watched: Path | None = run
        """The run that was open last."""
        self.draft: Plan | None = None
        """What stood in the launch form when it was left last."""

    def get_driver_class(self) -> type[Driver]:
        wanted = super().get_driver_class()
        return PatientDriver if wanted is LinuxDriver else wanted

    @property
    def _background_screens(self) -> list[Screen[Any]]:
        """Screens that show through the one on top. Textual takes the one below it for such a one in any case, and
        paints the top one anew for each change of what nobody can see."""
        return [] if self.screen.styles.background.a == 1 else super()._background_screens

    @property
    def is_behind(self) -> bool:
        """Whether the terminal has yet to take what was painted last."""
        return isinstance(self._driver, PatientDriver) and self._driver.is_behind

    def get_default_screen(self) -> Screen[Any]:
        # Below a run that is opened first lies nothing: the list would be made for nobody.
        return _list() if self._first is None else Screen()

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self._keep_theme)
        # After ^Z and fg the terminal is empty, and Textual believes that nothing changed.
        self.app_resume_signal.subscribe(self, lambda _: self.refresh(layout=True))
        if self._first is not None:
            self.push_screen(RunScreen(self._first))

    def _keep_theme(self, theme: Theme) -> None:
        """The one that was chosen is there again next time."""
        if theme.name != (recall().theme or DARK.name):
            hindered = remember(theme=theme.name)
            if hindered:
                self.say(Reply(ok=False, message=f"the theme is kept for now only: {inert(hindered)}"))

    def on_ready(self) -> None:
        self.call_after_refresh(self._settle)

    async def _settle(self) -> None:
        """What was not needed for the first paint, and will be soon."""
        await asyncio.to_thread(_load)
        _freeze()

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = super().get_line_filters()
        return [*filters, self._ascii] if self._ascii.enabled else filters

    def turn(self, habit: str) -> None:
        """A habit on instead of off, or the other way."""
        hindered = self.habits.turn(habit)
        if hindered:
            self.say(Reply(ok=False, message=f"it is so for now only: {inert(hindered)}"))
        self._ascii.enabled = self.habits["ascii"]
        self._calm()
        self.refresh_css(animate=False)  # all that was painted so far is kept with the filters of then

    def _calm(self) -> None:
        self.animation_level = "none" if self.habits["calm"] else constants.TEXTUAL_ANIMATIONS

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if hasattr(event.widget, "cursor_blink"):
            event.widget.cursor_blink = not self.habits["calm"]

    def tell_end(self, sentence: str) -> None:
        """A run that somebody watches has ended."""
        if self.habits["bell"]:
            self.bell()
        if self.habits["notify"] and isinstance(self._driver, PatientDriver):
            self._driver.tell_desktop(sentence)

    def say(self, reply: Reply) -> None:
        """Show what a command did; the newest word takes the place of the one before."""
        self.clear_notifications()
        if reply.ok:
            self.notify(reply.message, markup=False)
        else:
            self.notify(reply.message, severity="error", timeout=8, markup=False)

    def open_run(self, path: Path) -> None:
        self.push_screen(RunScreen(path))

    def leave_run(self) -> None:
        """From a run to the list, which is not there yet where the console was opened with a run."""
        if getattr(self.screen_stack[-2], "SCOPE", "") == "runs":
            self.pop_screen()
        else:
            self.switch_screen(_list())

    def exit(self, result: None = None, return_code: int = 0, message: Any = None) -> None:
        if isinstance(self._driver, PatientDriver):
            self._driver.give_up()
        super().exit(result, return_code, message)

    async def _shutdown(self) -> None:
        # Before its widgets go: what a worker has asked for may come in that very moment.
        self.workers.cancel_all()
        await super()._shutdown()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        yield from palette(screen)
        for command in super().get_system_commands(screen):
            if command.title not in UNOFFERED:
                yield command

    def action_preferences(self) -> None:
        from batchdeck_tui.screens.preferences import PreferencesScreen

        if not isinstance(self.screen, PreferencesScreen):
            self.push_screen(PreferencesScreen())

    def action_help(self) -> None:
        from batchdeck_tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(getattr(self.screen, "SCOPE", "app")))

    def action_help_quit(self) -> None:
        """Ctrl+C: many press it to leave, and it must not end a run."""
        self.clear_notifications()
        self.notify("q leaves the console; runs go on. In a run, x cancels it.", markup=False)


UNOFFERED = ("Keys", "Quit", "Maximize", "Minimize")
"""Commands of Textual's own: ours say the first two better, and the others hide what our screens count on."""
SOON = (
    "plotext", "batchdeck.control.client", "batchdeck_tui.screens.chartsview", "batchdeck_tui.screens.tune",
    "batchdeck_tui.screens.columnsview", "batchdeck_tui.screens.eventlog", "batchdeck_tui.screens.help",
    "batchdeck_tui.screens.limits", "batchdeck_tui.screens.preferences", "markdown_it",
)  # fmt: skip
"""What is loaded once the first frame is out: beside the loop these two tenths of a second cost nobody any."""


def _load() -> None:
    for module in SOON:
        importlib.import_module(module)


def _list() -> Screen[Any]:
    from batchdeck_tui.screens.runs import RunsScreen  # whoever opens one run needs no list of them

    return RunsScreen()


def _freeze() -> None:
    """Take what was built so far out of the garbage collector's sight: a full collection stops the paint for 15 ms."""
    gc.collect()
    gc.freeze()
    gc.enable()
