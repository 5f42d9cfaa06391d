"""The head of the tune screen: the run in a line, what to set and why, and what the engine does by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.cells import cell_len

from batchdeck.model import RunMeta, Snapshot
from batchdeck_tui.advice import Advice
from batchdeck_tui.autotune import is_auto
from batchdeck_tui.format import clock, count, duration, rate, short
from batchdeck_tui.theme import STATES
from batchdeck_tui.widgets.cells import fit, one_line, wrap
from batchdeck_tui.widgets.linewise import Line, Linewise, Part

MOST = 2
"""Lines of the sentence."""
THINKING = "…"


def lines(view: Snapshot | RunMeta, advice: Advice | None, width: int) -> list[Line]:
    """The head for ``width`` cells, each line at most as wide."""
    said = wrap(advice.sentence if advice is not None else THINKING, max(8, width - 2))
    if len(said) > MOST:
        said = [*said[: MOST - 1], fit(" ".join(said[MOST - 1 :]), max(8, width - 2))]
    head = [headline(view, width)]
    ink = "advice" if advice is not None and advice.best is not None else "open"
    head += [(("▸ " if not number else "  ", ink), (text, ink)) for number, text in enumerate(said)]
    hint = advice.hint if advice is not None else ""
    head.append((("  ", "label"), (fit(hint, max(0, min(width - 2, cell_len(hint)))), "label")))
    if isinstance(view, Snapshot) and view.tuning.is_on and view.tuning.sentence:
        words = f"auto: {one_line(view.tuning.sentence)}"
        head.append((("  ", "auto"), (fit(words, max(0, min(width - 2, cell_len(words)))), "auto")))
    return head


def headline(view: Snapshot | RunMeta, width: int, more: str = "") -> Line:
    """The run in a line. more: what stands at its end, after the time that the run has taken."""
    glyph, colour = STATES[view.state]
    state = f"{glyph} {view.state}"
    figures = _figures(view)
    right = clock(view.counts.seconds) if view.counts.seconds else ""
    if isinstance(view, Snapshot) and view.eta is not None and view.state == "running":
        right += f"   ETA {duration(view.eta)}"
    right = "   ".join(part for part in (right, more) if part)
    room = width - cell_len(state) - cell_len(right) - 4
    name = fit(one_line(view.run), min(cell_len(one_line(view.run)), max(8, room)))
    used = cell_len(state) + 2 + cell_len(name)
    parts: list[Part] = [(state, colour), ("  ", "text"), (name, "name")]
    for figure in figures:
        size = sum(cell_len(text) for text, _ in figure) + 3
        if used + size + 2 + cell_len(right) > width:
            break
        parts += [("   ", "text"), *figure]
        used += size
    gap = " " * max(1, width - used - cell_len(right))
    return (*parts, (gap, "text"), (right, "label"))


def _figures(view: Snapshot | RunMeta) -> list[list[Part]]:
    auto: list[Part] = [(" auto", "auto")] if is_auto(view) else []
    hits: list[Part] = [("429s ", "label"), (count(view.counts.rate_limit_hits), "text")]
    if not isinstance(view, Snapshot):
        return [[("concurrency ", "label"), (count(view.config.concurrency), "text"), *auto], hits]
    return [
        [("in flight ", "label"), (f"{view.in_flight}", "flying"), (f"/{view.concurrency}", "name"), *auto],
        [(rate(view.rate), "text"), (f" · {short(view.tokens_rate)} tok/s", "label")],
        hits,
    ]


class TuneHead(Linewise):
    """Three to five lines; one is repainted only when it reads differently."""

    INKS: ClassVar[Mapping[str, str]] = {
        "text": "$foreground",
        "label": "$text-muted",
        "name": "bold $foreground",
        "flying": "$text-accent",
        "advice": "bold $text-success",
        "open": "bold $foreground",
        "auto": "$text-primary",
        "primary": "bold $text-primary",
        "secondary": "bold $text-secondary",
        "success": "bold $text-success",
        "warning": "bold $text-warning",
        "error": "bold $text-error",
        "foreground": "bold $foreground",
    }
    DEFAULT_CSS = """
    TuneHead {
        height: auto; width: 1fr; padding: 0 1; background: $surface; color: $foreground;
    }
    """

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._view: Snapshot | RunMeta | None = None
        self._advice: Advice | None = None

    def show(self, view: Snapshot | RunMeta, advice: Advice | None) -> None:
        """The run as it is now, and what there is to say about it."""
        self._view, self._advice = view, advice
        self.tell()

    def lines(self, width: int) -> list[Line]:
        return lines(self._view, self._advice, width) if self._view is not None else [()] * 3
