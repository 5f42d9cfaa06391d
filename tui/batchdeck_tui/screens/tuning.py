"""What a run's screen knows of its levels, and the knobs that need it: autotune, and the tune screen."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual import work

from batchdeck.model import Command, Event, Reply, Sample, Snapshot
from batchdeck.tune.levels import Stays
from batchdeck_tui.advice import Situation
from batchdeck_tui.autotune import is_auto
from batchdeck_tui.bridge import RunBridge
from batchdeck_tui.screens.knobs import WORKING
from batchdeck_tui.screens.limiting import LimitingScreen
from batchdeck_tui.turns import Turn, turns
from batchdeck_tui.widgets.turnstrip import TurnStrip

if TYPE_CHECKING:
    from batchdeck_tui.screens.tune import TuneScreen

TUNING = ("tune", "autotune")
"""Actions that apply only in some states."""
FED = 300
"""Samples that are taken in at a time: a day of them takes seconds, and keys come in between."""
REMEMBERED = 500


class TuningScreen(LimitingScreen):
    """Takes the samples in, compares what each turn did, and opens the tune screen, which draws from here."""

    def __init__(self, path: Path, bridge: RunBridge) -> None:
        super().__init__(path, bridge)
        self.stays = Stays()
        self._now_t = 0.0
        self._unfed: deque[Sample] = deque()
        self._is_feeding = False
        self._by_engine: list[tuple[float, float]] = []
        self._tune: TuneScreen | None = None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        applies = super().check_action(action, parameters)
        if action not in TUNING or not applies:
            return applies
        return self._now is not None and (action == "tune" or self._now.state in WORKING)

    # What the samples tell

    def measure(self, samples: Sequence[Sample], events: Sequence[Event]) -> None:
        """New samples and events, oldest first."""
        turned = [(event.t, event.value) for event in events if event.kind == "tune" and event.value is not None]
        self._by_engine = [*self._by_engine, *turned][-REMEMBERED:]
        self._unfed.extend(samples)
        if samples and not self._is_feeding:
            self._feed()

    def _feed(self) -> None:
        self.take_in([self._unfed.popleft() for _ in range(min(FED, len(self._unfed)))])
        self._is_feeding = bool(self._unfed)
        if self._is_feeding:
            self.call_later(self._feed)
            return
        self.measured()

    def take_in(self, samples: Sequence[Sample]) -> None:
        """Some of what was measured, in order of time; more may follow before ``measured``."""
        for sample in samples:
            self.stays.add(sample)
            self._now_t = sample.t

    def measured(self) -> None:
        """All samples that there are were taken in."""
        for strip in self.query(TurnStrip):
            strip.show(self.turns)
        if self._tune is not None:
            self._tune.measured()

    @property
    def turns(self) -> list[Turn]:
        """What each turn of the concurrency did, the newest first."""
        working = self._now is None or self._now.state in WORKING
        cap = self.stays.concurrency if working else 0
        return turns(self.stays.stays(), cap, self.stays.settles_in, self._by_engine)

    @property
    def situation(self) -> Situation:
        """What the tune screen is to give advice on."""
        now, stays = self._now, self.stays
        live = now if isinstance(now, Snapshot) else None
        return Situation(
            visits=stays.visits(),
            stays=stays.stays(),
            sweep=live.sweep if live is not None else None,
            concurrency=live.concurrency if live is not None else stays.concurrency,
            settles_in=None if stays.is_settled else stays.settles_in,
            now=self._now_t,
            most=live.tuning.most if live is not None else 10_000,
            is_live=live is not None and live.state in WORKING,
            is_auto=now is not None and is_auto(now),
        )

    # What is done about it

    def heard(self) -> None:
        super().heard()
        if self._tune is not None and self._now is not None:
            self._tune.hear(self._now)

    @work
    async def action_tune(self) -> None:
        if self._now is None or self._tune is not None:
            return
        from batchdeck_tui.screens.tune import TuneScreen  # loaded beside the loop, after the first paint

        self._tune = TuneScreen(self, self._now)
        await self.app.push_screen_wait(self._tune)
        self._tune = None

    @work(group="command")
    async def action_autotune(self) -> None:
        """Hand the concurrency over to the engine, or take it back as it stands. A change of settings like others: u
        undoes it."""
        async with self._turning:
            now = self._now
            if not isinstance(now, Snapshot):
                self.door.say(Reply(ok=False, message="the engine does not answer yet"))
                return
            auto = self._values["concurrency"] is None if now.settings else is_auto(now)
            await self._send_settings({"concurrency": float(now.concurrency) if auto else None})

    @work(group="command")
    async def set_concurrency(self, cap: int) -> None:
        """Turn the cap to this by hand."""
        async with self._turning:
            self.door.say(await self._ask(Command(name="concurrency", value=cap)))

    def sweep(self, levels: Sequence[tuple[int, int]]) -> None:
        """Measure these levels in a row: (concurrency, items). Empty: end what is under way."""
        self._send(Command(name="sweep", levels=list(levels)))
