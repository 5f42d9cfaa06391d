"""The head of a run's screen: state, progress, pace, what it waits for, and what it has cost so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from rich.cells import cell_len

from batchdeck.model import Counts, Percentiles, RunMeta, Snapshot
from batchdeck_tui.autotune import is_auto
from batchdeck_tui.format import UNKNOWN, clock, count, duration, money, percent, rate, short, spent
from batchdeck_tui.theme import STATES
from batchdeck_tui.widgets.cells import fit, one_line, wrap
from batchdeck_tui.widgets.linewise import Line, Linewise, Part

ONE_LINE = 150
"""From this width on all figures stand in one line, below it in two."""
SHORTEST_BAR = 10
_TALKATIVE = ("paused", "drained", "cancelled", "stopped", "interrupted", "failed")
"""States whose message gets a line of its own when the first has no room: nothing jumps, as they last."""


def lines(view: Snapshot | RunMeta, width: int) -> list[Line]:
    """The head for ``width`` cells, each line at most as wide."""
    first, unsaid = _first(view, width)
    flow, model = _flow(view), _model(view)
    figures = [flow + model] if width >= ONE_LINE else [flow, model]
    return [first, _bar(view, width), *(_packed(some, width) for some in figures), *unsaid]


def _first(view: Snapshot | RunMeta, width: int) -> tuple[Line, list[Line]]:
    glyph, colour = STATES[view.state]
    state, name = f"{glyph} {view.state}", one_line(view.run)
    eta = view.eta if isinstance(view, Snapshot) else None
    right = clock(view.counts.seconds) if view.counts.seconds else ""
    if view.state in ("starting", "running", "draining"):
        right += "   ETA <1s" if eta is not None and eta < 1 else f"   ETA {duration(eta)}"
    name = fit(name, min(cell_len(name), max(8, width - cell_len(state) - cell_len(right) - 4)))
    notice = _notice(view)
    room = width - cell_len(state) - cell_len(name) - cell_len(right) - 7
    shown = fit(notice, min(cell_len(notice), room)) if room >= 12 else ""
    gap = " " * max(1, width - cell_len(state) - 2 - cell_len(name) - 3 - cell_len(shown) - cell_len(right))
    line = ((state, colour), ("  ", "text"), (name, "name"), ("   ", "text"), (shown, "notice"), (gap, "text"))
    unsaid: list[Line] = []
    if shown != notice and view.state in _TALKATIVE:
        unsaid = [((text, "notice"),) for text in wrap(notice, max(8, width))[:3]]
        line = (*line[:4], ("", "notice"), (" " * (cell_len(shown) + len(gap)), "text"))
    return (*line, (right, "label")), unsaid


def _notice(view: Snapshot | RunMeta) -> str:
    told = view.waiting.sentence if isinstance(view, Snapshot) else ""
    # What holds the run is said below the strip of its reasons, and once is enough.
    if isinstance(view, Snapshot) and not told and view.cooldown > 0 and view.state in ("running", "draining"):
        return f"held by rate limit, {max(1, round(view.cooldown))} s"
    if view.message and view.message != told:
        return one_line(view.message)
    if view.state == "running" and not view.ingest_complete:
        return "reading the input"
    return "rate-limited" if isinstance(view, Snapshot) and view.mode == "rate-limited" else ""


def _bar(view: Snapshot | RunMeta, width: int) -> Line:
    expected = view.items_expected
    for write, space in ((count, 3), (short, 2)):
        said = _said(view, write)
        length = width - sum(cell_len(text) + space for text, _ in said)
        if length >= SHORTEST_BAR:
            break
    spaced = [piece for part in said for piece in ((" " * space, "text"), part)]
    done = view.counts.done + view.counts.skipped
    return (*_track(done, view.counts.failed, _flying(view), expected or 0, max(1, length)), *spaced)


def _said(view: Snapshot | RunMeta, write: Callable[[float | None], str]) -> list[Part]:
    """The figures beside the bar, padded so that it keeps its length while they change."""
    counts, expected = view.counts, view.items_expected
    settled = counts.done + counts.failed + counts.skipped
    total = write(expected) if expected is None or view.ingest_complete else f"~{write(expected)}"
    said = [
        (percent(settled, expected).rjust(5), "name"),
        (f"{write(settled).rjust(len(total))} of {total}", "text"),
        (f"✗ {write(counts.failed)} failed" if counts.failed else "", "error"),
        (_pace(view), "text"),
    ]
    return [part for part in said if part[0]]


def _track(done: int, failed: int, flying: int, expected: int, length: int) -> tuple[Part, ...]:
    """The bar: done, failed, in flight, still to do. What is there at all is at least one cell."""
    if not expected:
        return (("─" * length, "track"),)
    settled = min(length, int(length * (done + failed) / expected))
    red = min(settled, max(1, round(length * failed / expected))) if failed else 0
    ahead = min(length - settled, max(1, round(length * flying / expected))) if flying else 0
    rest = length - settled - ahead
    return ("━" * (settled - red), "success"), ("━" * red, "error"), ("╍" * ahead, "flying"), ("─" * rest, "track")


def _flying(view: Snapshot | RunMeta) -> int:
    return view.in_flight if isinstance(view, Snapshot) else 0


def _pace(view: Snapshot | RunMeta) -> str:
    counts = view.counts
    if view.state in ("starting", "running", "draining", "paused"):
        tokens = f" · {short(view.tokens_rate)} tok/s" if isinstance(view, Snapshot) else ""
        return f"{rate(view.rate):>6}{tokens}"
    if not counts.seconds:
        return ""
    return f"{rate((counts.done + counts.failed) / counts.seconds)} on average"


def _flow(view: Snapshot | RunMeta) -> list[list[Part]]:
    counts = view.counts
    hits: Part = (count(counts.rate_limit_hits), "warning" if counts.rate_limit_hits else "text")
    tail: list[list[Part]] = [[("429s ", "label"), hits], _cost(view), *_hedges(counts), *_depth(view)]
    if not isinstance(view, Snapshot):
        left = max(0, counts.items - counts.done - counts.failed - counts.skipped)
        cap = [("concurrency ", "label"), (count(view.config.concurrency), "text"), *_auto(view)]
        return [[("left ", "label"), (count(left), "text")], cap, *tail]
    # the strip of reasons counts those in backoff too
    backoff = f" · {count(view.backoff)} in backoff" if view.backoff and not view.waiting.counts else ""
    return [
        [
            ("in flight ", "label"),
            (f"{view.in_flight}", "flying"),
            (f"/{view.concurrency}", "text"),
            *_auto(view),
            (f" · {count(view.stalled)} stalled" if view.stalled else "", "warning"),
        ],
        [("queued ", "label"), (count(view.queued), "text"), (backoff, "label")],
        *tail,
    ]


def _auto(view: Snapshot | RunMeta) -> list[Part]:
    return [(" auto", "auto")] if is_auto(view) else []


def _cost(view: Snapshot | RunMeta) -> list[Part]:
    counts = view.counts
    cost = spent(counts.cost, counts.unpriced) if counts.done or counts.cost else UNKNOWN
    most = (view.budget if isinstance(view, Snapshot) else view.config.budget).max_cost
    of = f" of {money(most)}" if most is not None else ""
    return [("cost ", "label"), (cost, "text"), (of, "label")]


def _hedges(counts: Counts) -> list[list[Part]]:
    """Second requests, how many answered first, and what they cost on top: tokens, where nothing has a price."""
    if not counts.hedges:
        return []
    extra = f"+{short(counts.hedge_tokens)} tok"
    if counts.hedge_cost:
        extra = f"+{money(counts.hedge_cost)}"
    least = " or more" if counts.hedge_guesses else ""
    return [
        [
            ("hedges ", "label"),
            (count(counts.hedges), "text"),
            (f" · {count(counts.hedge_wins)} won · {extra}{least}", "label"),
        ]
    ]


def _depth(view: Snapshot | RunMeta) -> list[list[Part]]:
    """The average queue, of a run that met a rate limit: what the limit keeps waiting."""
    if isinstance(view, Snapshot):
        depth, limited = view.queue_depth, view.mode == "rate-limited"
    else:
        depth, limited = view.counts.queue_depth, view.counts.rate_limit_hits > 0
    return [[("queue ø ", "label"), (short(depth), "text")]] if limited and depth > 0 else []


def _model(view: Snapshot | RunMeta) -> list[list[Part]]:
    counts = view.counts
    tokens = [("tokens ", "label"), (short(counts.tokens_in), "text"), (" in · ", "label")]
    tokens += [(short(counts.tokens_out), "text"), (" out", "label")]
    if not isinstance(view, Snapshot):
        return [tokens, [("model ", "label"), (one_line(view.config.model), "text")]]
    return [tokens, _percentiles("ttft", view.ttft), _percentiles("e2e", view.e2e)]


def _percentiles(name: str, of: Percentiles | None) -> list[Part]:
    if of is None:
        return [(f"{name} ", "label"), (UNKNOWN, "label")]
    return [(f"{name} ", "label"), (duration(of.p50), "text"), (" · p95 ", "label"), (duration(of.p95), "text")]


def _packed(figures: list[list[Part]], width: int) -> Line:
    """Figures side by side; those for which there is no room are left out whole."""
    parts: list[Part] = []
    used = 0
    for figure in figures:
        size = sum(cell_len(text) for text, _ in figure) + (3 if parts else 0)
        if used + size <= width:
            parts += [("   ", "text"), *figure] if parts else figure
            used += size
    return tuple(parts)


class RunHeader(Linewise):
    """Two lines of progress and one or two of figures; a line is repainted only when it reads differently."""

    INKS: ClassVar[Mapping[str, str]] = {
        "text": "$foreground",
        "label": "$text-muted",
        "name": "bold $foreground",
        "notice": "$text-warning",
        "track": "$text-disabled",
        "flying": "$text-accent",
        "auto": "$text-primary",
        "primary": "bold $text-primary",
        "secondary": "bold $text-secondary",
        "success": "bold $text-success",
        "warning": "bold $text-warning",
        "error": "bold $text-error",
        "foreground": "bold $foreground",
    }
    DEFAULT_CSS = """
    RunHeader {
        height: auto; width: 1fr; padding: 0 1; background: $surface; color: $foreground;
    }
    """

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._view: Snapshot | RunMeta | None = None

    def show(self, view: Snapshot | RunMeta) -> None:
        """The run as it is now."""
        self._view = view
        self.tell()

    def lines(self, width: int) -> list[Line]:
        if self._view is not None:
            return lines(self._view, width)
        return [()] * (3 if width >= ONE_LINE else 4)
