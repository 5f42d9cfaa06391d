"""The way to the terminal, which may be a slow link: how much of it is still under way, and leaving without that."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from queue import Empty
from typing import IO, Any, cast

from textual.app import App
from textual.drivers.linux_driver import LinuxDriver

from batchdeck_tui.plain import plain
from batchdeck_tui.widgets.cells import one_line

PIECE = 1_024
"""Bytes a write: what a terminal takes at once may be little, and between two pieces the rest can be given up."""
PATIENCE = 0.1
"""Seconds between two looks whether the rest was given up, while the terminal takes nothing."""
MOST_TOLD = 200
"""Characters of a notification."""
CUT = b"\x1b\\\x1b[?2026l"
"""After output that was cut short anywhere: ends a string and a synchronized frame (ECMA-48 ST, DEC mode 2026)."""


class Outlet:
    """Writes to a terminal in pieces. One thread writes; ``drop`` may be called from any."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._given_up = 0
        self._cut = False
        self._turn = threading.Lock()
        self.is_writing = False

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, text: str) -> None:
        """Return when the terminal took all of it, or it was dropped. ``OSError`` when the terminal is gone."""
        with self._turn:
            given_up = self._given_up
        self.is_writing = True
        try:
            self._write(text.encode("utf-8", "replace"), lambda: self._given_up != given_up)
        finally:
            self.is_writing = False

    def drop(self) -> None:
        """Give up what is being written now."""
        with self._turn:
            self._given_up += 1

    def flush(self) -> None:
        """Nothing is held back here."""

    def _write(self, data: bytes, is_given_up: Callable[[], bool]) -> None:
        if self._cut:
            self._cut, data = False, CUT + data
        target, rest = self.fileno(), memoryview(data)
        while rest:
            # A blocking write would not hear that it is given up.
            if select.select([], [target], [], PATIENCE)[1]:
                rest = rest[os.write(target, rest[:PIECE]) :]
            if rest and is_given_up():
                self._cut = True
                return


class PatientDriver(LinuxDriver):
    """Textual's own driver, which knows whether the terminal keeps up, and leaves at once when it does not."""

    def __init__(
        self, app: App[object], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        assert self._file is not None, "the console was started without a terminal"
        self._outlet = Outlet(self._file)
        # The writer thread needs no more of a text file than an outlet has.
        self._file = cast("Any", self._outlet)

    @property
    def is_behind(self) -> bool:
        """Whether something painted is still on its way to the terminal."""
        queued = self._writer_thread is not None and self._writer_thread._queue.qsize() > 0
        return queued or self._outlet.is_writing

    def give_up(self) -> None:
        """Drop the frames that the terminal has not taken yet: nobody will look at them."""
        if self._writer_thread is None or not self.is_behind:
            return
        try:
            while True:
                self._writer_thread._queue.get_nowait()
        except Empty:
            self._outlet.drop()

    def tell_desktop(self, sentence: str) -> None:
        """Have the terminal show a notification (OSC 9); one that knows none takes no notice of it."""
        self.write(f"\x1b]9;{plain(one_line(sentence))[:MOST_TOLD]}\x07")

    def stop_application_mode(self) -> None:
        self.give_up()
        super().stop_application_mode()
