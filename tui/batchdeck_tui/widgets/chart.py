"""One chart of a run: its plot kept as lines, over which a cursor moves without anything being drawn again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip

from batchdeck_tui.widgets.cells import strip
from batchdeck_tui.widgets.chartkinds import Kind
from batchdeck_tui.widgets.history import LATENCIES, History
from batchdeck_tui.widgets.inks import Inked
from batchdeck_tui.widgets.plot import Curve, Frame, Run, frame_of, paint

_EMPTY = "waiting for the first sample"
CURSOR = "┃"
"""Heavier than any mark. What was measured stays to be seen where it stands, with its colours exchanged."""
FOCUSED = "▸ "
_OPEN = ("", " ", "\u2800", "│", "╎", "┊")
"""Where the cursor is a line: nothing was measured here, whatever mark stands there."""


def curves_of(kind: Kind, history: History, span: tuple[float, float]) -> list[Curve]:
    """What a chart of this kind draws over these seconds."""
    return [
        # the cap is a line over the filled curve
        Curve(
            ink,
            history.between(ink, *span),
            fill=not kind.stems and number == 0,
            stems=kind.stems,
            steps=ink == "cap",
            gaps=history.gaps.get(ink, ()),
        )
        for number, ink in enumerate(kind.inks)
    ]


class Chart(Inked):
    """A title line with the newest figure or that under the cursor, and a plot.

    The plot is built again for another sample in view, another span or size, never for a cursor.
    """

    INKS: ClassVar[Mapping[str, str]] = {
        "title": "bold $foreground",
        "figure": "$text-muted",
        "axis": "$text-disabled",
        "mark": "bold $text-warning",
        "auto": "bold $foreground",
        "note": "bold $text-secondary",
        "cursor": "bold $foreground",
        "throughput": "$success",
        "throughput-fill": "$success 55%",
        "tokens": "$success",
        "tokens-fill": "$success 55%",
        "in_flight": "$primary",
        "in_flight-fill": "$primary 70%",
        "cap": "$text-warning",
        "cap-fill": "$text-warning",
        "queue": "$accent",
        "queue-fill": "$accent 55%",
        "hits": "$error",
        "hits-fill": "$error",
        "ttft_p50": "$primary",
        "ttft_p50-fill": "$primary 60%",
        "ttft_p95": "$text-warning",
        "ttft_p95-fill": "$text-warning",
        "e2e_p50": "$primary",
        "e2e_p50-fill": "$primary 60%",
        "e2e_p95": "$text-warning",
        "e2e_p95-fill": "$text-warning",
        "cost": "$accent",
        "cost-fill": "$accent 55%",
    }
    DEFAULT_CSS = """
    Chart {
        height: 1fr; width: 1fr; color: $foreground;
    }
    """

    class Pointed(Message):
        """The mouse is over the plot, at this second of the run; None: no more. ``is_click``: with a button."""

        def __init__(self, chart: Chart, t: float | None, is_click: bool = False) -> None:
            super().__init__()
            self.chart = chart
            self.t = t
            self.is_click = is_click

    def __init__(self, kind: Kind, history: History, *, focusable: bool = False, margin: int = 0) -> None:
        """margin: the least cells left of the plot, so that charts below each other have one axis."""
        super().__init__(id=f"chart-{kind.name}")
        self.can_focus = focusable
        self.kind = kind
        self.frame: Frame | None = None
        """Where the plot that stands there has what."""
        self.has_axis = True
        """Whether the times stand below the plot."""
        self._history = history
        self._margin = margin
        self._span = (0.0, 0.0)
        self._cursor: float | None = None
        self._ended = False
        self._shown: object = None
        self._strips: list[Strip] = []
        self._drawn_for: object = None
        self._headed: Strip | None = None
        self._looks: list[Style] = []
        self._is_restyled = True
        self.builds = 0
        """Plots built so far."""

    def show(self, history: History, span: tuple[float, float], cursor: float | None, ended: bool) -> None:
        """There may be something new: samples, the span of seconds to draw, where the cursor stands."""
        shown = self._plotted(history, span)
        if shown != self._shown:
            self._shown, self._drawn_for = shown, None
        self._history, self._span, self._cursor, self._ended = history, span, cursor, ended
        self._headed = None
        self.refresh()

    def fits(self, history: History, span: tuple[float, float]) -> bool:
        """Whether the plot that stands there is the one of these samples and this span."""
        return self._shown == self._plotted(history, span) and self._drawn_for == self.size

    def plot(self) -> None:
        """Build the plot now, and not when it is painted, together with all others."""
        if self._drawn_for != self.size and self.size:
            self._renew()

    def _plotted(self, history: History, span: tuple[float, float]) -> object:
        """What the plot depends on. What came after the span changes nothing in it."""
        sampled = history.last.t if history.last is not None else -1.0
        newest = history.timed if self.kind.inks[0] in LATENCIES else sampled
        return id(history), span, min(newest, span[1]), history.version, self.has_axis

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._is_restyled, self._headed = True, None

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self._headed = None

    def render_line(self, y: int) -> Strip:
        if self._is_restyled:
            self._restyle()
        # a first paint at a new size can come before its Resize
        if self._drawn_for != self.size:
            self._renew()
        if y == 0:
            if self._headed is None:
                self._headed = self._title(self.size.width, self.rich_style)
            return self._headed
        if y > len(self._strips):
            return Strip.blank(self.size.width, self.rich_style)
        return self._crossed(self._strips[y - 1], y)

    # The plot

    def _renew(self) -> None:
        self._strips, self._headed = self._build(), None
        self._drawn_for = self.size

    def _restyle(self) -> None:
        """A mouse that comes or goes is a change of style as well, and no reason to build the plot again."""
        self._is_restyled = False
        looks = [self.rich_style, *(self.ink(name) for name in self.INKS)]
        if looks != self._looks:
            self._looks, self._drawn_for = looks, None

    def _build(self) -> list[Strip]:
        width, height = self.size
        base = self.rich_style
        lines = self._plot(width, height - 1)
        self.builds += 1
        looks = {ink: self.ink(ink) for ink in {ink for line in lines for _, ink in line}}
        strips = [strip([(text, base + looks[ink]) for text, ink in line], width, base) for line in lines]
        if not lines and height > 1:
            empty = (self.kind.empty if self._history.last is not None else "") or _EMPTY
            blank = [Strip.blank(width, base)] * max(0, (height - 2) // 2)
            notice = empty if len(empty) <= width else "waiting"
            strips += [*blank, strip([(notice.center(width), base + self.ink("axis"))], width, base)]
        return strips

    def _plot(self, width: int, height: int) -> list[list[Run]]:
        history, kind = self._history, self.kind
        self.frame = None
        if history.last is None or height < 2 or not history.series[kind.inks[0]].points:
            return []
        curves = curves_of(kind, history, self._span)
        self.frame = frame_of(
            curves, self._span, width, height,
            floor=kind.floor, say=kind.say, margin=self._margin, axis=self.has_axis,
        )  # fmt: skip
        if self.frame is None:
            return []
        return paint(self.frame, curves, history.marks, history.notes, axis=self.has_axis)

    def _crossed(self, line: Strip, y: int) -> Strip:
        """A line of the plot with the cursor in it."""
        frame, t = self.frame, self._cursor
        if frame is None or t is None or y > frame.rows or not frame.first <= t <= frame.last:
            return line
        x = frame.margin + frame.column(t)
        under = line.crop(x, x + 1)
        char, style = under.text, next(iter(under)).style or Style()
        if char in _OPEN:
            cell = Segment(CURSOR, self.rich_style + self.ink("cursor"))
        else:
            cell = Segment(char, style + Style(reverse=True))
        return Strip.join([line.crop(0, x), Strip([cell], 1), line.crop(x + 1)])

    # The title

    def _title(self, width: int, base: Style) -> Strip:
        sign = FOCUSED if self.has_focus else ""
        figures = self._figures()
        room = width - len(sign) - 2
        titles = [(title, figure) for title in self.kind.titles for figure in figures]
        fitting = [(title, figure) for title, figure in titles if cell_len(title) + cell_len(figure) <= room]
        title, figure = fitting[0] if fitting else ("", figures[-1])
        looks = self.ink("title"), self.ink("figure" if self._cursor is None else "title")
        return strip([(sign + title, base + looks[0]), ("  ", base), (figure, base + looks[1])], width, base)

    def _figures(self) -> tuple[str, ...]:
        history = self._history
        if history.last is None:
            return ("",)
        if self._cursor is not None:
            frame, first = self.frame, self._cursor
            first, last = frame.times(frame.column(first)) if frame is not None else (first, first)
            return self.kind.here(lambda name: history.within(name, first, last), history)
        return (self.kind.summary if self._ended else self.kind.figures)(history.last, history)

    # The mouse

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self.post_message(self.Pointed(self, self._time_at(event.x)))

    def on_click(self, event: events.Click) -> None:
        t = self._time_at(event.x)
        if t is not None:
            self.post_message(self.Pointed(self, t, is_click=True))

    def on_leave(self) -> None:
        self.post_message(self.Pointed(self, None))

    def _time_at(self, x: int) -> float | None:
        frame = self.frame
        if frame is None or not 0 <= x - frame.margin < frame.columns:
            return None
        first, last = frame.times(x - frame.margin)
        return min(frame.last, max(frame.first, (first + last) / 2))
