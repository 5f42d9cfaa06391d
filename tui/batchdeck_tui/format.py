"""Figures as people read them: durations, counts, money, rates. Unknown is shown as ``—``, never as zero."""

from __future__ import annotations

UNKNOWN = "—"
_SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def duration(seconds: float | None) -> str:
    """A span of time in at most 7 cells: ``340ms``, ``3.2s``, ``47s``, ``2m 05s``, ``3h 07m``, ``2d 4h``."""
    if seconds is None:
        return UNKNOWN
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole}s"
    if whole < 3_600:
        return f"{whole // 60}m {whole % 60:02d}s"
    minutes = whole // 60
    if minutes < 24 * 60:
        return f"{minutes // 60}h {minutes % 60:02d}m"
    hours = minutes // 60
    return f"{hours // 24}d {hours % 24}h" if hours < 240 else f"{hours // 24}d"


def clock(seconds: float | None) -> str:
    """A span of time as a clock shows it: ``0:07``, ``12:34``, ``3:07:09``."""
    if seconds is None:
        return UNKNOWN
    whole = int(max(0.0, seconds))
    if whole < 3_600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3_600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def ago(seconds: float | None) -> str:
    """How long since something: ``now``, ``5m ago``, ``3h ago``, ``12d ago``."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return "now"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes}m ago"
    return f"{minutes // 60}h ago" if minutes < 48 * 60 else f"{minutes // 1_440}d ago"


def count(number: float | None) -> str:
    """A whole number with its thousands marked: ``1,234,567``."""
    return UNKNOWN if number is None else f"{int(number):,}"


def short(number: float | None) -> str:
    """A number in at most 5 cells: ``0``, ``7.4``, ``987``, ``12.3k``, ``1.2M``."""
    if number is None:
        return UNKNOWN
    for scale, unit in _SCALES:
        # 999.95 of a unit would round to 1000.0 of it
        if abs(number) >= scale * 0.9995:
            scaled = number / scale
            return f"{scaled:.0f}{unit}" if abs(scaled) >= 99.95 else f"{scaled:.1f}{unit}"
    if number == int(number) or abs(number) >= 99.95:
        return f"{number:.0f}"
    return f"{number:.1f}"


def brief(number: float | None) -> str:
    """As ``short``, and a round number has no ``.0``: ``90k``."""
    return short(number).replace(".0", "")


def rate(per_second: float | None) -> str:
    """``12.3/s``, ``0.25/s``; slower than one in ten seconds by the minute: ``4.2/min``."""
    if per_second is None:
        return UNKNOWN
    if 0 < per_second < 0.1:
        return f"{per_second * 60:.1f}/min"
    if 0 < per_second < 1:
        return f"{per_second:.2f}/s"
    return f"{short(per_second)}/s"


def money(dollars: float | None, *, at_least: bool = False) -> str:
    """``$0.0012``, ``$0.12``, ``$1,234.50``; ``at_least`` marks a lower bound: ``≥ $0.12``."""
    if dollars is None:
        return UNKNOWN
    if dollars == 0 or dollars >= 0.095:
        text = f"${dollars:,.2f}"
    elif dollars >= 0.000_05:
        text = f"${dollars:.4f}"
    else:
        text = "<$0.0001"
    return f"≥ {text}" if at_least else text


def spent(cost: float, unpriced: int) -> str:
    """What a run cost by its counters: unknown when nothing had a price, a lower bound when something had none."""
    return money(None if unpriced and not cost else cost, at_least=bool(unpriced))


def percent(part: int, whole: int | None) -> str:
    """``24.7%``; ``100%`` only when it is all of it, ``0%`` only when it is nothing."""
    if not whole:
        return UNKNOWN
    if part >= whole:
        return "100%"
    if part <= 0:
        return "0%"
    return f"{min(99.9, max(0.1, 100 * part / whole)):.1f}%"


def share(part: float) -> str:
    """A part of one: ``0%``, ``0.4%``, ``12%``; never 0 when it is something, nor 100 when it is not all."""
    if part <= 0:
        return "0%"
    per_cent = 100 * part
    if per_cent < 9.95:
        return f"{max(0.1, per_cent):.1f}%"
    return f"{per_cent:.0f}%" if part >= 1 else f"{min(99.0, per_cent):.0f}%"
