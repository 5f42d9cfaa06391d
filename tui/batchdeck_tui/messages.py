"""What the bridge tells a screen. Each is small, and those that only the newest counts of replace an unread one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.message import Message

from batchdeck.model import Event, LiveRow, RunMeta, Sample, Snapshot


class SnapshotReady(Message, bubble=False):
    """A live run, as it is now."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.snapshot = snapshot

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, SnapshotReady)


class MetaReady(Message, bubble=False):
    """A run as its file tells it: no engine answers. ``log``: the last lines of its engine, where it broke off."""

    def __init__(self, meta: RunMeta, log: str) -> None:
        super().__init__()
        self.meta = meta
        self.log = log

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, MetaReady)


class RowsSettled(Message, bubble=False):
    """Settled rows in the run file changed; it holds ``items`` rows now."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.items = items

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RowsSettled)


class NewSamples(Message, bubble=False):
    """Samples and events that were not handed over before, oldest first; none, where none came.

    Never replaced: the charts add them up.
    """

    def __init__(self, samples: Sequence[Sample], events: Sequence[Event]) -> None:
        super().__init__()
        self.samples = samples
        self.events = events


class LiveReady(Message, bubble=False):
    """Rows in flight of those asked for. ``opened``: the one in the detail pane, with all its text.

    ``census``: the indices of all rows in flight, ascending, or None when nobody asked; with it ``rows`` holds all of
    them, without text those out of view. ``top``: the item at the top of the page that follows them, None when nobody
    follows.
    """

    def __init__(
        self,
        rows: Mapping[int, LiveRow],
        opened: LiveRow | None,
        census: Sequence[int] | None,
        top: int | None = None,
    ) -> None:
        super().__init__()
        self.rows = rows
        self.opened = opened
        self.census = census
        self.top = top

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, LiveReady)


class Unreadable(Message, bubble=False):
    """The run file cannot be read now; the bridge goes on trying."""

    def __init__(self, error: str) -> None:
        super().__init__()
        self.error = error

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Unreadable)
