"""The four charts of a run: throughput, requests in flight against the cap, queue depth, rate-limit hits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from textual.app import ComposeResult
from textual.containers import Container
from textual.strip import Strip
from textual.widget import Widget

from batchdeck.model import Event, Sample
from batchdeck_tui.format import count, rate, short
from batchdeck_tui.widgets.cells import strip
from batchdeck_tui.widgets.history import History, Mark, Note, Point
from batchdeck_tui.widgets.plot import Curve, Run, draw

_INKS = ("throughput", "in_flight", "cap", "queue", "hits")
_EMPTY = "waiting for the first sample"


@dataclass(frozen=True)
class _Kind:
    """What one chart shows. ``figures``: the value in its title, from the widest wording to the shortest; ``summary``:
    the same for a run that has ended."""

    name: str
    titles: tuple[str, str]
    inks: tuple[str, ...]
    figures: Callable[[Sample, History], tuple[str, ...]]
    summary: Callable[[Sample, History], tuple[str, ...]]
    stems: bool = False


def _throughput(sample: Sample, _: History) -> tuple[str, ...]:
    dt = sample.dt or 1.0
    items, tokens = short((sample.done + sample.failed) / dt), short(sample.tokens_out / dt)
    return f"{items} items/s · {tokens} tok/s", f"{items}/s · {tokens} tok/s", f"{items}/s"


def _average(_: Sample, history: History) -> tuple[str, ...]:
    seconds = history.seconds or 1.0
    items, tokens = rate(history.settled / seconds), short(history.tokens / seconds)
    return f"{items} · {tokens} tok/s on average", f"{items} on average", f"ø {items}", items


def _in_flight(sample: Sample, _: History) -> tuple[str, ...]:
    flying = short(round(sample.in_flight))
    return f"{flying} of {sample.concurrency}", f"{flying}/{short(sample.concurrency)}"


def _most_in_flight(_: Sample, history: History) -> tuple[str, ...]:
    most = short(history.most["in_flight"])
    return f"{most} at most", f"max {most}"


def _queue(sample: Sample, _: History) -> tuple[str, ...]:
    plain = f"{count(sample.queued)} waiting"
    return f"{plain} · {count(sample.backoff)} in backoff", plain, short(sample.queued)


def _deepest_queue(sample: Sample, history: History) -> tuple[str, ...]:
    most = count(history.most["queue"])
    return f"{most} at most · {count(sample.queued)} left", f"{most} at most", f"max {short(history.most['queue'])}"


def _hits(sample: Sample, history: History) -> tuple[str, ...]:
    hits = count(history.hits)
    return f"{hits} in all · {sample.rate_limit_hits} now", f"{hits} in all", hits, short(history.hits)


def _all_hits(_: Sample, history: History) -> tuple[str, ...]:
    hits = count(history.hits)
    return f"{hits} in all", hits, short(history.hits)


_KINDS = (
    _Kind("throughput", ("throughput", "items"), ("throughput",), _throughput, _average),
    _Kind("in_flight", ("in flight", "flight"), ("in_flight", "cap"), _in_flight, _most_in_flight),
    _Kind("queue", ("queue depth", "queue"), ("queue",), _queue, _deepest_queue),
    _Kind("hits", ("rate-limit hits", "429s"), ("hits",), _hits, _all_hits, stems=True),
)


class Chart(Widget):
    """One chart: a title line with the newest figure, and a plot kept as strips until a sample or a size is new."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "chart--title",
        "chart--figure",
        "chart--axis",
        "chart--mark",
        "chart--auto",
        "chart--note",
        *(f"chart--{ink}" for ink in _INKS),
        *(f"chart--{ink}-fill" for ink in _INKS),
    }
    DEFAULT_CSS = """
    Chart {
        height: 1fr; width: 1fr; color: $foreground;
        &> .chart--title { color: $foreground; text-style: bold; }
        &> .chart--figure { color: $text-muted; }
        &> .chart--axis { color: $text-disabled; }
        &> .chart--mark { color: $text-warning; text-style: bold; }
        &> .chart--auto { color: $foreground; text-style: bold; }
        &> .chart--note { color: $text-secondary; text-style: bold; }
        &> .chart--throughput { color: $success; }
        &> .chart--throughput-fill { color: $success 55%; }
        &> .chart--in_flight { color: $primary; }
        &> .chart--in_flight-fill { color: $primary 70%; }
        &> .chart--cap { color: $text-warning; }
        &> .chart--cap-fill { color: $text-warning; }
        &> .chart--queue { color: $accent; }
        &> .chart--queue-fill { color: $accent 55%; }
        &> .chart--hits { color: $error; }
        &> .chart--hits-fill { color: $error; }
    }
    """

    def __init__(self, kind: _Kind, history: History) -> None:
        super().__init__(id=f"chart-{kind.name}")
        self._kind = kind
        self._history = history
        self._window: float | None = None
        self._ended = False
        self._strips: list[Strip] = []
        self._drawn_for: object = None
        self.builds = 0
        """Plots built so far."""

    def show(self, history: History, window: float | None, ended: bool) -> None:
        """There is something new to draw; window: only the last so many seconds, None for the whole run."""
        self._history, self._window, self._ended = history, window, ended
        self._drawn_for = None
        self.refresh()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._drawn_for = None

    def render_line(self, y: int) -> Strip:
        # a first paint at a new size can come before its Resize
        if self._drawn_for != self.size:
            self._strips = self._build()
            self._drawn_for = self.size
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.rich_style)

    def _build(self) -> list[Strip]:
        width, height = self.size
        base = self.rich_style
        lines = self._plot(width, height - 1)
        self.builds += 1
        looks = {ink: self._look(ink) for ink in {ink for line in lines for _, ink in line}}
        strips = [self._title(width, base)]
        strips += [strip([(text, base + looks[ink]) for text, ink in line], width, base) for line in lines]
        if not lines and height > 1:
            blank = [Strip.blank(width, base)] * max(0, (height - 2) // 2)
            notice = _EMPTY if len(_EMPTY) <= width else "waiting"
            strips += [*blank, strip([(notice.center(width), base + self._look("axis"))], width, base)]
        return strips

    def _plot(self, width: int, height: int) -> list[list[Run]]:
        history = self._history
        if history.last is None or height < 2:
            return []
        first = history.began
        if self._window is not None:
            first = max(first, history.last.t - self._window)
        stems = self._kind.stems
        curves = [
            # the cap is a line over the filled curve
            Curve(ink, history.since(ink, first), fill=not stems and number == 0, stems=stems, steps=ink == "cap")
            for number, ink in enumerate(self._kind.inks)
        ]
        return draw(curves, history.marks, (first, history.last.t), width, height, notes=history.notes)

    def _title(self, width: int, base: Style) -> Strip:
        told = self._kind.summary if self._ended else self._kind.figures
        figures = told(self._history.last, self._history) if self._history.last else ("",)
        titles = [(title, figure) for title in self._kind.titles for figure in figures]
        fitting = [(title, figure) for title, figure in titles if cell_len(title) + cell_len(figure) + 2 <= width]
        title, figure = fitting[0] if fitting else ("", figures[-1])
        parts = [(title, base + self._look("title")), ("  ", base), (figure, base + self._look("figure"))]
        return strip(parts, width, base)

    def _look(self, ink: str) -> Style:
        style = self.get_component_rich_style(f"chart--{ink}")
        return Style(color=style.color, bold=style.bold)


class Charts(Container):
    """Four charts over the same time: two by two where there is height, else in one row.

    Feed it once a second with what is new; a chart is built again only then, or for a new size.
    """

    DEFAULT_CSS = """
    Charts { layout: grid; grid-size: 2 2; grid-gutter: 0 2; height: 1fr; padding: 0 1; }
    """

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._history = History()
        self._window: float | None = None
        self._ended = False

    def compose(self) -> ComposeResult:
        for kind in _KINDS:
            yield Chart(kind, self._history)

    def extend(self, samples: Sequence[Sample], events: Sequence[Event]) -> None:
        """Add new samples and events, oldest first; those already drawn are left out."""
        if self._history.extend(samples, events):
            self._show()

    def reset(self) -> None:
        """Forget everything: another run is to be drawn."""
        self._history = History()
        self._show()

    @property
    def window(self) -> float | None:
        """How many of the last seconds are drawn; None: the whole run."""
        return self._window

    @window.setter
    def window(self, seconds: float | None) -> None:
        self._window = seconds
        self._show()

    @property
    def ended(self) -> bool:
        """Whether the titles sum the run up, as nothing is going on now."""
        return self._ended

    @ended.setter
    def ended(self, ended: bool) -> None:
        if ended != self._ended:
            self._ended = ended
            self._show()

    def series(self, name: str) -> list[Point]:
        """(t, value) as drawn, before thinning to the columns: ``throughput`` (items/s), ``in_flight``, ``cap``,
        ``queue``, ``hits`` (a sample)."""
        return list(self._history.series[name].points)

    def marks(self) -> list[Mark]:
        """(t, new cap, kind of the event) of every change of concurrency."""
        return list(self._history.marks)

    def notes(self) -> list[Note]:
        """(t, kind) of what else changed how the run goes: limits turned, the breaker, a quota that became known."""
        return list(self._history.notes)

    @property
    def held(self) -> tuple[dict[str, float], float]:
        """Seconds that each reason held the run, of so many that the samples cover."""
        return dict(self._history.held), self._history.seconds

    def on_resize(self) -> None:
        width, height = self.size
        columns = 4 if height < 12 and width >= 64 else 1 if width < 72 and height >= 24 else 2
        rows = 4 // columns
        self.styles.grid_size_columns = columns
        self.styles.grid_size_rows = rows
        self.styles.grid_gutter_horizontal = 1 if rows > 1 and height >= 18 else 0
        self.styles.grid_gutter_vertical = 3 if width >= 100 else 2

    def _show(self) -> None:
        for chart in self.query(Chart):
            chart.show(self._history, self._window, self._ended)
