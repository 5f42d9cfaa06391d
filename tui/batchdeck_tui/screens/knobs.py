"""The knobs of a run: which commands apply to it as it is now, and how each is carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual import work

from batchdeck.model import Command, Counts, Reply, RunMeta, Snapshot
from batchdeck_tui.bridge import RunBridge, resume
from batchdeck_tui.screens.confirm import ConfirmScreen
from batchdeck_tui.screens.searchbox import SearchScreen

if TYPE_CHECKING:
    from batchdeck_tui.app import BatchdeckApp

WORKING = ("starting", "running", "paused", "draining")
DEPENDENT = ("concurrency", "pause", "unpause", "drain", "cancel", "retry", "resume")
"""Actions that apply only in some states."""
NOTHING_TO_RETRY = "Every failed item is a bad line of the input, and has nothing to send; mend the file, run it anew"


class KnobsScreen(SearchScreen):
    """What a screen on one run can have done to it. ``_now``: the newest that the bridge told."""

    def __init__(self, path: Path, bridge: RunBridge) -> None:
        super().__init__()
        self.path = path
        self.bridge = bridge
        self._now: Snapshot | RunMeta | None = None
        self._turning = asyncio.Lock()
        """Turns of the cap are carried out one after the other: which comes first decides at the lower end."""
        self._starting = False
        self._asking: ConfirmScreen | None = None

    @property
    def door(self) -> BatchdeckApp:
        return cast("BatchdeckApp", self.app)

    @property
    def is_live(self) -> bool:
        """Whether an engine answers."""
        return isinstance(self._now, Snapshot)

    def on_resize(self) -> None:
        self.refresh_bindings()  # some depend on the width

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Which commands apply to the run as it is now."""
        now = self._now
        if not self.applies_in_search(action):
            return False
        if action == "open":
            # A live run has so many that in 80 cells the last ones, which lead out, would not be seen.
            return not (self.has_class("-narrow") and now is not None and now.state in WORKING)
        if action not in DEPENDENT:
            return True
        if now is None:
            return False
        # The file says it before the engine itself is heard, and has another word for a run without an engine.
        working = now.state in WORKING
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

    @work(group="command")
    async def action_concurrency(self, by: int) -> None:
        """Always relative: what this screen knows of the cap may be old. The engine keeps it at 1 or more."""
        async with self._turning:
            self.door.say(await self._ask(Command(name="concurrency", by=by)))

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
        self._asking = ConfirmScreen(question, yes="Cancel the run", no="Let it run")
        if await self.app.push_screen_wait(self._asking):
            self._send(Command(name="cancel"))

    def take_back(self) -> None:
        """No longer ask what the run's end has answered."""
        if self._asking is not None and self._asking.is_current:
            self._asking.dismiss(False)
            self.door.say(Reply(ok=True, message="The run ended before an answer; nothing was cancelled"))

    def action_retry(self) -> None:
        counts = self._now.counts if self._now is not None else Counts()
        if counts.failed and counts.bad_lines >= counts.failed:
            self.door.say(Reply(ok=False, message=NOTHING_TO_RETRY))
        elif self.is_live:
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
        reply = await self._ask(command)
        self.door.say(reply)
        if reply.ok and command.name == "retry" and command.idx is not None:
            self.went_again()

    def went_again(self) -> None:
        """Some items that a person chose go again."""

    async def _ask(self, command: Command) -> Reply:
        if not self.is_live and self._now is not None and self._now.state in WORKING:
            return Reply(ok=False, message="the engine does not answer yet")
        return await self.bridge.send(command)

    def _start(
        self,
        retry_failed: bool = False,
        options: Mapping[str, str] | None = None,
        error: str | None = None,
        idx: Sequence[int] | None = None,
    ) -> None:
        """Starts an engine, unless one is being started. options: settings that change with it. error, idx: with
        ``retry_failed``, only items that failed of this class, only these."""
        if not self._starting:
            self._starting = True
            self._carry_start(retry_failed, options, error, idx)

    @work(group="start")
    async def _carry_start(
        self, retry_failed: bool, options: Mapping[str, str] | None, error: str | None, idx: Sequence[int] | None
    ) -> None:
        self.door.say(Reply(ok=True, message="Starting the engine …"))
        try:
            reply = await resume(self.path, retry_failed=retry_failed, options=options, error=error, idx=idx)
        finally:
            self._starting = False
        self.door.say(reply)
        if reply.ok and idx is not None:
            self.went_again()
