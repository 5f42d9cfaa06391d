"""Which page of the table shows what is going on. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from batchdeck.model import LiveRow


def page_top(rows: Sequence[LiveRow], top: int, height: int) -> int:
    """The item at the top of the page to be shown, while ``top`` is there now; ``rows``: all in flight, ascending.

    All of them where they fit, the oldest near the top; else where most are streaming. The page stays while it does
    about that, and then goes on far enough to stay again: each move paints every cell anew.
    """
    if not rows or height <= 0:
        return top
    first, last = rows[0].idx, rows[-1].idx
    if last - first < height:
        stays = top <= first and last < top + height
        # one settled row above it, where there is room, says where the run is
        return top if stays else max(0, min(first, max(first - 1, last - height + 1)))
    told = [row.idx for row in rows if row.phase == "streaming"] or [row.idx for row in rows]
    start, most = _densest(told, height)
    here = sum(top <= idx < top + height for idx in told)
    return top if 2 * here >= most else start


def _densest(places: Sequence[int], height: int) -> tuple[int, int]:
    """The first of the places from which on a page holds most of them, and how many it holds."""
    best, most, end = places[0], 0, 0
    for number, place in enumerate(places):
        while end < len(places) and places[end] < place + height:
            end += 1
        if end - number > most:
            best, most = place, end - number
    return best, most
