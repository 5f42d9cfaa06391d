"""Why a run waits: a bar stacked of its unfinished items by reason, and one plain sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from rich.cells import cell_len

from batchdeck.model import Meter, QuotaState, Reason, RunMeta, ServerLoad, Snapshot
from batchdeck_tui.format import brief, duration
from batchdeck_tui.reasons import REASONS
from batchdeck_tui.widgets.cells import fit, one_line
from batchdeck_tui.widgets.linewise import Line, Linewise, Part
from batchdeck_tui.widgets.segments import segments

METERS: dict[Meter, str] = {
    "requests": "rpm",
    "tokens": "tpm",
    "input_tokens": "in tpm",
    "output_tokens": "out tpm",
    "requests_day": "rpd",
    "tokens_day": "tpd",
}
WITH_QUOTAS = 98
"""Cells from which on the known quotas stand behind the sentence."""
CALM: tuple[Reason | None, ...] = (None, "cap", "input")
"""What holds a run that is as it should be."""
_BRACKETS = re.compile(r" \(.*\)")
_BY: dict[str, str] = {reason: word.by for reason, word in REASONS.items()}


def bar(counts: Mapping[Reason, int], width: int) -> Line:
    """The stacked bar: each part has a colour, a name as far as there is room, and a pattern of its own."""
    parts: list[Part] = []
    for reason, said, size in segments(counts, width):
        parts += [(said, reason), (REASONS[reason].glyph * (size - cell_len(said)), f"{reason}-fill")]
    return tuple(part for part in parts if part[0])


def quota(state: QuotaState) -> str:
    """How near a limit is: ``rpm 412/500 header``; without the first figure where what is left of it is unknown.

    Of a limit that a person set for a minute it is: what is left is what the provider would take of its own limit.
    ``(250 here)``: what this run may use, where others have a share of it.
    """
    remaining = left(state)
    used = "" if remaining is None else f"{brief(max(0, round(state.limit - remaining)))}/"
    share = f" ({brief(state.rate)} here)" if state.rate < 0.98 * state.limit else ""
    return f"{METERS[state.meter]} {used}{brief(state.limit)}{share} {state.source}"


def server(load: ServerLoad) -> str:
    """How busy the server says it is: ``server: 16 running, 4 waiting, cache 83 %``."""
    cache = "" if load.cache is None else f", cache {round(100 * load.cache)} %"
    return f"server: {brief(load.running)} running, {brief(load.waiting)} waiting{cache}"


def left(state: QuotaState) -> float | None:
    """What is left of a limit now, None where that is unknown."""
    return None if state.source == "flag" and not state.meter.endswith("_day") else state.remaining


def told(view: Snapshot, width: int) -> Line:
    """The sentence, and the known quotas where there is room for them or nothing else is to be said."""
    wordings = shortened(one_line(view.waiting.sentence))
    known = [quota(state) for state in view.quotas]
    if view.shared_by > 1 and known:
        known.append(f"shared by {view.shared_by} runs")
    if view.server is not None:
        known.insert(0, server(view.server))
    if wordings[0] and width < WITH_QUOTAS:
        known.clear()
    ink = "label" if view.waiting.held in CALM else "notice"
    while True:
        right = "  ".join(known)
        for said in wordings:
            room = width - cell_len(said) - (3 if said and known else 0)
            if cell_len(right) <= room:
                gap = " " * (width - cell_len(said) - cell_len(right)) if said and known else ""
                return (said, ink), (gap, ink), (right, "label")
        if not known:
            return ((fit(wordings[-1], width), ink),)
        known.pop()


def shortened(sentence: str) -> list[str]:
    """The sentence, and what may stand for it where there is less room: it loses words first, then what stands in
    brackets (a provider's own words, which the errors show too), and then the advice after the first one. What holds
    the run, and what to do about it, stay."""
    lean = sentence.replace(" of the time in the last minute", " of the last minute").replace(" of the time so far", "")
    bare = _BRACKETS.sub("", lean)
    clauses = bare.split("; ")
    return list(dict.fromkeys([sentence, lean, bare, "; ".join(clauses[:2])]))


def summary(held: Mapping[str, float], seconds: float) -> str:
    """What held a run that is over, by its samples: ``held by RPM 61 % of 4m 10s, by the cap 30 %``.

    held: seconds by reason. seconds: that the samples cover.
    """
    shares = sorted(((of / seconds, reason) for reason, of in held.items()), reverse=True) if seconds > 0 else []
    by = [
        (f"by {_BY.get(reason) or one_line(reason)}", min(100, round(100 * share)))
        for share, reason in shares
        if share >= 0.01
    ]
    if not by:
        return ""
    (first, most), *others = by
    return ", ".join([f"held {first} {most} % of {duration(seconds)}", *(f"{who} {share} %" for who, share in others)])


class WaitingStrip(Linewise):
    """At most two lines: bar and sentence of a run that lives, one line that sums up one that does not."""

    INKS: ClassVar[Mapping[str, str]] = {
        "label": "$text-muted",
        "notice": "$text-warning",
        **{reason: f"$foreground on {word.ink}" for reason, word in REASONS.items()},
        **{f"{reason}-fill": f"$foreground 35% on {word.ink}" for reason, word in REASONS.items()},
    }
    DEFAULT_CSS = """
    WaitingStrip { height: auto; width: 1fr; padding: 0 1; background: $surface; color: $foreground; }
    """

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._view: Snapshot | RunMeta | None = None
        self._held: Mapping[str, float] = {}
        self._seconds = 0.0
        self._spoke = False
        """Whether there was a sentence. Its line stays then: the table below must not jump whenever one ends."""

    def show(self, view: Snapshot | RunMeta) -> None:
        """The run as it is now."""
        self._view = view
        if isinstance(view, Snapshot):
            self._spoke |= bool(view.waiting.sentence or view.quotas or view.server)
        self.tell()

    def sum_up(self, held: Mapping[str, float], seconds: float) -> None:
        """What its samples tell in all: seconds by reason, of so many."""
        self._held, self._seconds = held, seconds
        self.tell()

    def lines(self, width: int) -> list[Line]:
        view = self._view
        if view is None:
            return []
        if view.state in ("starting", "running", "paused", "draining"):
            if not isinstance(view, Snapshot) or not view.waiting.counts:
                return []
            stacked = bar(view.waiting.counts, width)
            return [stacked, told(view, width)] if self._spoke else [stacked]
        words = summary(self._held, self._seconds)
        return [((fit(words, min(width, cell_len(words))), "label"),)] if words else []
