"""What can be done with the run under the cursor of the list of runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from textual import work

from batchdeck import labels
from batchdeck.config import relabel
from batchdeck.errors import BatchdeckError
from batchdeck.format import size, some
from batchdeck.inert import inert
from batchdeck.model import Reply
from batchdeck.removal import Doomed, examine
from batchdeck_tui.bridge import resume
from batchdeck_tui.commandline import call, call_said
from batchdeck_tui.duplicate import plan_of
from batchdeck_tui.format import count
from batchdeck_tui.listing import RunLine
from batchdeck_tui.plan import Plan
from batchdeck_tui.screens.confirm import ConfirmScreen
from batchdeck_tui.screens.exportform import ExportScreen
from batchdeck_tui.screens.labelform import LabelScreen
from batchdeck_tui.screens.searchbox import SearchScreen
from batchdeck_tui.widgets.cells import one_line

if TYPE_CHECKING:
    from batchdeck_tui.app import BatchdeckApp

RESUMABLE = ("interrupted", "drained", "cancelled", "stopped", "failed")
READABLE = ("duplicate", "export")
"""Actions that need a run file that reads."""


class RunActsScreen(SearchScreen):
    """Open, launch, resume, duplicate, name, export, delete."""

    def __init__(self) -> None:
        super().__init__()
        self._starting = False

    @property
    def door(self) -> BatchdeckApp:
        return cast("BatchdeckApp", self.app)

    @property
    def line(self) -> RunLine | None:
        """The run under the cursor."""
        raise NotImplementedError

    def look_again(self) -> None:
        """Read the list anew."""
        raise NotImplementedError

    def applies(self, action: str) -> bool:
        """Whether an action on the run under the cursor can be carried out."""
        line = self.line
        if action == "resume":
            return line is not None and line.meta is not None and line.meta.state in RESUMABLE
        if action in READABLE:
            return line is not None and line.meta is not None
        return line is not None or action not in ("open", "label", "delete")

    def action_open(self) -> None:
        line = self.line
        if line is None:
            return
        if line.meta is None:
            self.door.say(Reply(ok=False, message=one_line(line.error)))
        else:
            self.door.open_run(line.path)

    def action_launch(self) -> None:
        self._launch(None)

    def action_duplicate(self) -> None:
        if self.line is not None and self.line.meta is not None:
            self._launch(plan_of(self.line.meta.config))

    @work
    async def _launch(self, plan: Plan | None) -> None:
        from batchdeck_tui.screens.launch import LaunchScreen  # after the first paint, not before it

        path = await self.app.push_screen_wait(LaunchScreen(plan))
        if path is not None:
            self.door.open_run(path)

    def action_resume(self) -> None:
        line = self.line
        if line is not None and not self._starting:
            self._starting = True
            self._resume(line)

    @work(group="start")
    async def _resume(self, line: RunLine) -> None:
        self.door.say(Reply(ok=True, message="Starting the engine …"))
        try:
            reply = await resume(line.path)
        finally:
            self._starting = False
        self.door.say(reply)
        if reply.ok and self.is_current:
            self.door.open_run(line.path)

    @work
    async def action_label(self) -> None:
        line = self.line
        if line is None:
            return
        label = await self.app.push_screen_wait(LabelScreen(line.path.stem, line.label))
        if label is None or label == line.label:
            return
        try:
            await asyncio.to_thread(lambda: relabel(line.path, lambda _: label))
        except BatchdeckError as error:
            self._refuse(error)
            return
        self.door.say(
            Reply(ok=True, message=f"{one_line(line.path.stem)}: {inert(labels.written(label)) or 'no name'}")
        )
        self.look_again()

    @work
    async def action_export(self) -> None:
        line = self.line
        if line is None or line.meta is None:
            return
        what = f"all {some(line.meta.counts.items, 'row')} of {one_line(line.name)}"
        target = await self.app.push_screen_wait(ExportScreen(what, line.path.stem))
        if target is None:
            return
        self.door.say(Reply(ok=True, message=f"writing {inert(target.name)} …"))
        try:
            said = await call_said(["export", str(line.path), "--output", str(target)])
        except (BatchdeckError, OSError) as error:
            self._refuse(error)
        else:
            self.door.say(Reply(ok=True, message=inert(said)))

    @work
    async def action_delete(self) -> None:
        line = self.line
        if line is None:
            return
        try:
            doomed = await asyncio.to_thread(examine, line.path)
            if await self.app.push_screen_wait(ConfirmScreen(_question(line, doomed), yes="Delete", no="Keep it")):
                # In a process of its own: it holds the run's lock, which a look at the list here would drop.
                await call(["rm", str(line.path), "--yes", "--json"])
                self.door.say(Reply(ok=True, message=f"deleted {one_line(line.name)}, {size(doomed.size)}"))
                self.look_again()
        except (BatchdeckError, OSError) as error:
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        self.door.say(Reply(ok=False, message=one_line(str(error))))


def _question(line: RunLine, doomed: Doomed) -> str:
    name = one_line(line.name)
    if doomed.link:
        return f"Delete {name}? It is a link and goes alone; the run that it leads to stays."
    answers = line.meta.counts.done if line.meta is not None else 0
    what = f"{some(doomed.items, 'item')}, {count(answers)} answered, {size(doomed.size)}"
    return f"Delete {name}? {what}. Its file goes, with all answers and attempts, and cannot be had back."
