"""The limits of a run, changed from its screen: by form, by key, and back again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from textual import work

from batchdeck.model import Command, Reply, Snapshot
from batchdeck_tui.bridge import RunBridge
from batchdeck_tui.screens.knobs import WORKING, KnobsScreen
from batchdeck_tui.screens.limitform import Change, Values, base_rpm, saying, turned, values_of

if TYPE_CHECKING:
    from batchdeck_tui.screens.limits import LimitsScreen

LIMITING = ("limits", "rpm", "undo")
"""Actions that apply only in some states."""
OURS = 1.0
"""Seconds for which what was sent from here counts as what the run has: a snapshot on its way may be older."""
REMEMBERED = 50


class LimitingScreen(KnobsScreen):
    """Turns limits. Every change is one ``configure``, and is remembered with what it replaced."""

    def __init__(self, path: Path, bridge: RunBridge) -> None:
        super().__init__(path, bridge)
        self._form: LimitsScreen | None = None
        self._replaced: list[tuple[Values, Values]] = []
        """Of the changes made here, the newest last: what they replaced, and by what."""
        self._sent: dict[str, float | None] = {}
        self._sent_until = float("-inf")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        applies = super().check_action(action, parameters)
        if action not in LIMITING or not applies:
            return applies
        now = self._now
        if now is None:
            return False
        if action == "limits":
            return now.state != "done"
        return now.state in WORKING and (action == "rpm" or bool(self._replaced))

    def heard(self) -> None:
        """There is news of the run: ``_now``."""
        if self._form is not None and self._form.is_current and self._now is not None:
            self._form.hear(self._now)

    @work
    async def action_limits(self) -> None:
        if self._now is None:
            return
        from batchdeck_tui.screens.limits import LimitsScreen

        self._form = LimitsScreen(self._now, self.door.wall)
        change = await self.app.push_screen_wait(self._form)
        self._form = None
        if change is None or self._now is None:
            return
        if self._now.state not in WORKING:
            self._start(options=change.texts)
        elif change.values:
            self._configure(change)
        else:
            self.door.say(Reply(ok=True, message="Nothing was changed"))

    @work(group="command")
    async def _configure(self, change: Change) -> None:
        async with self._turning:
            await self._send_settings(change.values)

    @work(group="command")
    async def action_rpm(self, by: int) -> None:
        """One after the other, each from what the one before made of it."""
        async with self._turning:
            if not isinstance(self._now, Snapshot):
                self.door.say(Reply(ok=False, message="the engine does not answer yet"))
                return
            base = base_rpm(self._now, self._values)
            if base is None:
                self.door.say(Reply(ok=False, message="no limit and no pace is known yet; L sets a limit"))
                return
            await self._send_settings({"rpm": turned(base, by)})

    @work(group="command")
    async def action_undo(self) -> None:
        async with self._turning:
            if not self._replaced:
                return
            before, made = self._replaced[-1]
            known = self._values
            # What was changed again since, by whomever, stays: a budget that somebody cut must not grow by a key.
            ours = {name: value for name, value in before.items() if known.get(name) in (made[name], value)}
            if ours:
                await self._send_settings(ours, back=True)
                return
            self._replaced.pop()
            self.refresh_bindings()
            words = saying({name: known.get(name) for name in before})
            self.door.say(Reply(ok=False, message=f"Not taken back, changed again since: {words}"))

    @property
    def _values(self) -> Values:
        """The settings as they are, with what was sent from here just now."""
        known = values_of(self._now) if self._now is not None else {}
        return known | self._sent if asyncio.get_running_loop().time() < self._sent_until else known

    async def _send_settings(self, values: Values, *, back: bool = False) -> None:
        known = self._values
        reply = await self._ask(Command(name="configure", settings=dict(values)))
        if reply.ok:
            if back:
                self._replaced.pop()
            else:
                before = {name: known.get(name) for name in values}
                self._replaced = [*self._replaced, (before, dict(values))][-REMEMBERED:]
            loop = asyncio.get_running_loop()
            self._sent = {**(self._sent if loop.time() < self._sent_until else {}), **values}
            self._sent_until = loop.time() + OURS
            self.refresh_bindings()
            words = f"Taken back: {saying(values)}" if back else reply.message or saying(values)
            reply = msgspec.structs.replace(reply, message=words)
        self.door.say(reply)
