"""What is typed into the search line: words, and bounds such as ``time>5s``, ``finish:length`` or ``state:failed``.

A part that begins with one of the known names and a sign is a bound; all else is words, as one piece of text, also
where it has a colon. Text in double quotes is always words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from math import ceil, floor
from typing import NamedTuple, get_args

from batchdeck.errors import UsageError
from batchdeck.model import ItemState
from batchdeck.moments import duration, number
from batchdeck.store.index import Figure
from batchdeck_tui.format import duration as said_duration

Range = tuple[Figure, float | None, float | None]
FIGURES: dict[str, Figure] = {"tok": "tokens", "ttft": "ttft", "time": "seconds", "tries": "tries", "cost": "cost"}
"""By the name of the table's column."""
TIMES = ("ttft", "seconds")
WHOLE = ("tokens", "tries")
"""Figures that are whole numbers: there ``>`` and ``>=`` differ."""
LARGEST = 10**15
"""No figure is larger, and SQLite has whole numbers of 64 bits."""
NAMES = {figure: name for name, figure in FIGURES.items()}
HINT = "words, or time>5s  ttft<300ms  tok>500  tries>1  cost>0.01  finish:length  state:failed  error:http_500"
_BOUND = re.compile(rf"({'|'.join(FIGURES)})(>=?|<=?|:|=)(\S+)")
_WORD = re.compile(r"(state|finish|error)[:=](\S+)")
_PARTS = re.compile(r'"[^"]*"|\S+')


class Asked(NamedTuple):
    words: str = ""
    state: ItemState | None = None
    error_type: str | None = None
    finish_reason: str | None = None
    ranges: tuple[Range, ...] = ()


def asked(text: str) -> Asked:
    """What a line of search asks for. Raises ``UsageError`` with a sentence for a bound that says nothing."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]:
        return Asked(words=text[1:-1])
    named: dict[str, str] = {}
    bounds: dict[Figure, tuple[float | None, float | None]] = {}
    left: list[str] = []
    """What stands between the bounds, as it is."""
    end = 0
    for piece in _PARTS.finditer(text):
        part = piece[0]
        if (found := _WORD.fullmatch(part)) is not None:
            named[found[1]] = found[2]
        elif (found := _BOUND.fullmatch(part)) is not None:
            figure = FIGURES[found[1]]
            bounds[figure] = _narrowed(bounds.get(figure, (None, None)), _bound(figure, found[2], found[3], part))
        else:
            continue
        left.append(text[end : piece.start()])
        end = piece.end()
    state = named.get("state")
    states = get_args(ItemState)
    if state is not None:
        state = state.replace("-", "_").replace("flight", "in_flight").replace("in_in_", "in_")
        if state not in states:
            raise UsageError(f"state:{named['state']}: a state is {', '.join(states)}")
    return Asked(
        _words([*left, text[end:]]) if left else text,
        state,  # type: ignore[arg-type]
        named.get("error"),
        named.get("finish"),
        tuple((figure, least, most) for figure, (least, most) in bounds.items()),
    )


def _words(pieces: Sequence[str]) -> str:
    """What is left of a line with bounds: one quoted text, or words."""
    left = "".join(pieces).strip()
    if len(left) > 1 and left[0] == left[-1] == '"' and '"' not in left[1:-1]:
        return left[1:-1]
    return " ".join(left.split())


def written(words: str, finish_reason: str | None, ranges: Iterable[Range]) -> str:
    """The line that asks for this."""
    parts = [f"finish:{finish_reason}"] if finish_reason is not None else []
    parts += [said(one) for one in ranges]
    line = " ".join([*parts, words] if words else parts)
    read = asked_safely(line)
    return line if read is not None and read.words == words else " ".join([*parts, f'"{words}"'])


def said(one: Range) -> str:
    """A bound as it is typed: ``time>5s``, ``tok:10..20``."""
    figure, least, most = one
    name = NAMES[figure]
    if least is not None and most is not None:
        return f"{name}:{_figure(figure, least)}..{_figure(figure, most)}"
    sign, value = (">", least) if most is None else ("<", most)
    return f"{name}{sign}{'=' if figure in WHOLE else ''}{_figure(figure, value)}"


def asked_safely(text: str) -> Asked | None:
    try:
        return asked(text)
    except UsageError:
        return None


def _figure(figure: Figure, value: float | None) -> str:
    if value is None:
        return ""
    if figure in TIMES:
        return f"{_plain(value)}s" if value >= 1 else f"{_plain(round(value * 1000, 9))}ms"
    return _plain(value)


def _plain(value: float) -> str:
    """All digits, and no exponent."""
    text = f"{Decimal(repr(value)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _bound(figure: Figure, sign: str, text: str, part: str) -> tuple[float | None, float | None]:
    """(least, most), both ends included: of figures measured in fractions it makes no difference."""
    if sign in (":", "="):
        least, dots, most = text.partition("..")
        if dots:
            return _value(figure, least, part) if least else None, _value(figure, most, part) if most else None
        return _value(figure, text, part), _value(figure, text, part)
    value = _value(figure, text, part)
    if figure in WHOLE:
        # More than 5.5 is 6 and more, more than 6 is 7 and more.
        whole = {">": floor(value) + 1, ">=": ceil(value), "<": ceil(value) - 1, "<=": floor(value)}[sign]
        value = max(-LARGEST, min(LARGEST, whole))
    return (value, None) if sign[0] == ">" else (None, value)


def _value(figure: Figure, text: str, part: str) -> float:
    value = number(text.removeprefix("$"))
    if value is None and figure in TIMES:
        value = duration(text)
    if value is None:
        what = f"a time such as {said_duration(5.0)} or 300ms" if figure in TIMES else "a number"
        raise UsageError(f"{part}: '{text}' is not {what}")
    return value


def _narrowed(
    one: tuple[float | None, float | None], other: tuple[float | None, float | None]
) -> tuple[float | None, float | None]:
    leasts = [bound for bound in (one[0], other[0]) if bound is not None]
    mosts = [bound for bound in (one[1], other[1]) if bound is not None]
    return max(leasts, default=None), min(mosts, default=None)
