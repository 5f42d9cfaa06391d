"""The knobs of a run: which commands apply to it as it is now, and how each is carried out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual import work
from textual.screen import Screen

from batchdeck.model import Command, Reply, RunMeta, Snapshot
from batchdeck_tui.bridge import RunBridge, resume
from batchdeck_tui.screens.confirm import ConfirmScreen

if TYPE_CHECKING:
    from batchdeck_tui.app import BatchdeckApp

WORKING = ("starting", "running", "paused", "draining")
DEPENDENT = ("concurrency", "pause", "unpause", "drain", "cancel", "retry", "resume")
"""Actions that apply only in some states."""


class KnobsScreen(Screen[None]):
    """What a screen on one run can have done to it. ``_now``: the newest that the bridge told."""

    def __init__(self, path: Path, bridge: RunBridge) -> None:
        super().__init__()
        self.path = path
        self.bridge = bridge
        self._now: Snapshot | RunMeta | None = None
        self._cap = 0
        """The cap as it will be once the commands that are on their way are carried out."""

    @property
    def door(self) -> BatchdeckApp:
        return cast("BatchdeckApp", self.app)

    @property
    def is_live(self) -> bool:
        """Whether an engine answers."""
        return isinstance(self._now, Snapshot)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Which commands apply to the run as it is now."""
        now = self._now
        if action == "open":
            return not self.has_class("-narrow")
        if action not in DEPENDENT:
            return True
        if now is None:
            return False
        working = self.is_live and now.state in WORKING
        if action == "resume":
            return not working and now.state != "done"
        if action == "retry":
            return now.counts.failed > 0
        if action == "unpause":
            return working and now.state == "paused"
        if action == "pause":
            return working and now.state != "paused"
        if action == "drain":
            return working and now.state != "draining"
        return working

    async def action_concurrency(self, by: int) -> None:
        if self._cap + by >= 1:
            self._cap += by
            self._send(Command(name="concurrency", by=by))
        elif self._cap > 1:
            self._cap = 1
            self._send(Command(name="concurrency", value=1))
        else:
            self.door.say(Reply(ok=True, message="The cap is 1, the least there is; space pauses"))

    def action_pause(self) -> None:
        self._send(Command(name="pause"))

    def action_unpause(self) -> None:
        self._send(Command(name="resume"))

    def action_drain(self) -> None:
        self._send(Command(name="drain"))

    @work
    async def action_cancel(self) -> None:
        in_flight = self._now.in_flight if isinstance(self._now, Snapshot) else 0
        question = f"Cancel the run? {in_flight} in flight are dropped; they may be billed. R goes on later."
        if await self.app.push_screen_wait(ConfirmScreen(question, yes="Cancel the run", no="Let it run")):
            self._send(Command(name="cancel"))

    def action_retry(self) -> None:
        if self.is_live:
            self._send(Command(name="retry"))
        else:
            self._start(retry_failed=True)

    def action_resume(self) -> None:
        if not self.is_live:
            self._start()
        else:
            self._send(Command(name="resume"))

    def action_detach(self) -> None:
        self.app.exit()

    @work(group="command")
    async def _send(self, command: Command) -> None:
        self.door.say(await self.bridge.send(command))

    @work(exclusive=True, group="start")
    async def _start(self, retry_failed: bool = False) -> None:
        self.door.say(Reply(ok=True, message="Starting the engine …"))
        self.door.say(await resume(self.path, retry_failed=retry_failed))
