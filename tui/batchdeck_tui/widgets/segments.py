"""How wide each part of a stacked bar is, and what is written in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len

from batchdeck.model import Reason
from batchdeck_tui.format import short
from batchdeck_tui.reasons import REASONS

Segment = tuple[Reason, str, int]
"""A reason, what is written in its part of the bar, and how many cells that part has."""


def segments(counts: Mapping[Reason, int], width: int) -> list[Segment]:
    """The bar for ``width`` cells, in the order of ``REASONS``; the widths add up to ``width`` and none is zero.

    With fewer cells than reasons, only the largest are there.
    """
    there = [reason for reason in REASONS if counts.get(reason, 0) > 0]
    if len(there) > width:
        largest = sorted(there, key=lambda reason: -counts[reason])[: max(0, width)]
        there = [reason for reason in there if reason in largest]
    if not there:
        return []
    words = [_words(reason, counts[reason]) for reason in there]
    widths = apportion([counts[reason] for reason in there], floors(words, width), width)
    return [
        (reason, next(word for word in said if cell_len(word) <= size), size)
        for reason, said, size in zip(there, words, widths, strict=True)
    ]


def _words(reason: Reason, count: int) -> list[str]:
    """From the widest wording to a single cell."""
    word, figure = REASONS[reason], short(count)
    named, short_named = f"{word.title} {figure} ", f"{word.letters} {figure} "
    return [f" {named}", named, short_named, word.letters, word.glyph]


def floors(words: Sequence[Sequence[str]], width: int) -> list[int]:
    """The least cells of each part: as many as its words need while there is room for all of them.

    A million queued would leave 24 in flight less than a cell, and those are what one looks for. So each part gets the
    room of its name first, and only what is left over follows the counts. Where not all names fit, all get their
    letters before one gets its name; those that come first in the strip come first here too, and always the same
    ones, so that the bar does not jump while the counts change.
    """
    least = [1] * len(words)
    room = width - len(words)
    for wording in (3, 2, 0):
        for place, said in enumerate(words):
            more = cell_len(said[wording]) - least[place]
            if 0 < more <= room:
                least[place] += more
                room -= more
    return least


def apportion(counts: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """``width`` cells in proportion to the counts (by largest remainders), each at least ``least``.

    counts: positive. least: 1 or more each, together at most ``width``.
    """
    sizes = list(least)
    free = set(range(len(counts)))
    while True:
        room = width - sum(sizes[place] for place in range(len(counts)) if place not in free)
        total = sum(counts[place] for place in free)
        small = {place for place in free if room * counts[place] < least[place] * total}
        if not small:
            break
        # What a small one takes beyond its share is missing to the others, which may make one of them small too. It
        # ends before all are: together they have as much room as they need at least.
        free -= small
    rests = {}
    for place in free:
        sizes[place], rests[place] = divmod(room * counts[place], total)
    left = width - sum(sizes)
    for place in sorted(free, key=lambda place: (-rests[place], place))[:left]:
        sizes[place] += 1
    return sizes
