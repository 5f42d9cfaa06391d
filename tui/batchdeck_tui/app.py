"""The console as an app. It only opens the door: theme, global commands, first screen."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.screen import Screen
from textual.theme import Theme

from batchdeck.model import Reply, Wall
from batchdeck_tui.commands import bindings, palette
from batchdeck_tui.outlet import PatientDriver
from batchdeck_tui.remembered import recall, remember
from batchdeck_tui.screens.help import HelpScreen
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.screens.runs import RunsScreen
from batchdeck_tui.theme import DARK, THEMES


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
        self._first = run
        self.watched: Path | None = run
        """The run that was open last."""

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
        return RunsScreen()

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        kept = recall().theme
        self.theme = kept if kept in self.available_themes else DARK.name
        self.theme_changed_signal.subscribe(self, self._keep_theme)
        # After ^Z and fg the terminal is empty, and Textual believes that nothing changed.
        self.app_resume_signal.subscribe(self, lambda _: self.refresh(layout=True))
        if self._first is not None:
            self.push_screen(RunScreen(self._first))

    def _keep_theme(self, theme: Theme) -> None:
        """The one that was chosen is there again next time."""
        if theme.name != (recall().theme or DARK.name):
            remember(theme=theme.name)

    def on_ready(self) -> None:
        self.call_after_refresh(_freeze)

    def say(self, reply: Reply) -> None:
        """Show what a command did; the newest word takes the place of the one before."""
        self.clear_notifications()
        if reply.ok:
            self.notify(reply.message, markup=False)
        else:
            self.notify(reply.message, severity="error", timeout=8, markup=False)

    def open_run(self, path: Path) -> None:
        self.push_screen(RunScreen(path))

    def exit(self, result: None = None, return_code: int = 0, message: Any = None) -> None:
        if isinstance(self._driver, PatientDriver):
            self._driver.give_up()
        super().exit(result, return_code, message)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        yield from palette(screen)
        for command in super().get_system_commands(screen):
            if command.title not in ("Keys", "Quit"):
                yield command

    def action_help(self) -> None:
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(getattr(self.screen, "SCOPE", "app")))

    def action_help_quit(self) -> None:
        """Ctrl+C: many press it to leave, and it must not end a run."""
        self.clear_notifications()
        self.notify("q leaves the console; runs go on. In a run, x cancels it.", markup=False)


def _freeze() -> None:
    """Take what was built so far out of the garbage collector's sight: a full collection stops the paint for 15 ms."""
    gc.collect()
    gc.freeze()
