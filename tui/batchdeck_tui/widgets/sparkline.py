"""Figures as a line of bars, one a cell."""

from __future__ import annotations

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """At most ``width`` cells, the highest value full; several values of one cell are averaged. Values: 0 or more."""
    if not values or width < 1:
        return ""
    cells = min(width, len(values))
    means = []
    for cell in range(cells):
        part = values[cell * len(values) // cells : (cell + 1) * len(values) // cells]
        means.append(sum(part) / len(part))
    most = max(means)
    return "".join(BARS[round(mean / most * (len(BARS) - 1))] if most else BARS[0] for mean in means)
