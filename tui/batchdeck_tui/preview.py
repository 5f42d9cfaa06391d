"""What ``run --dry-run --json`` found, as the form shows it. All of it is data: nothing is markup."""

from __future__ import annotations

from typing import Any

import msgspec
from textual.content import Content

from batchdeck_tui.format import count, money, short
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.cells import many_lines, one_line

Part = Content | str | tuple[str, str]
BAD_LINES = 3


def summary(printed: dict[str, Any]) -> Content:
    """Counts, tokens and dollars; what is not known is said to be so."""
    items, bad = _whole(printed.get("items")), _whole(printed.get("bad"))
    parts: list[Part] = [(f"{count(items)} item{'s' * (items != 1)}", "bold $success")]
    if bad:
        parts.append((f"   ✗ {count(bad)} bad line{'s' * (bad > 1)}", "bold $warning"))
    estimate = printed.get("estimate")
    if isinstance(estimate, dict):
        parts.append((f"   {_estimated(estimate)}", MUTED))
    for line in _list(printed.get("bad_lines"))[:BAD_LINES]:
        error = line.get("error", line) if isinstance(line, dict) else line
        parts.append((f"\n{one_line(str(error))}", "$warning"))
    return Content.assemble(*parts)


def title(printed: dict[str, Any], *, own: bool) -> Content:
    """What is shown of the first request. own: no template was given."""
    what = "first request, of the row's own text" if own else "first request"
    url = printed.get("url")
    return Content.styled(f"{what}  POST {one_line(str(url))}" if url else "no row can be asked", MUTED)


def request(printed: dict[str, Any]) -> Content:
    """The first request's body, as a person reads it."""
    return Content.assemble(*_readable(printed.get("request")))


def key_of(printed: dict[str, Any]) -> tuple[str, bool]:
    """Whether the endpoint's key is set, in words, and whether all is well; never the key."""
    key = printed.get("key")
    if not isinstance(key, dict) or not key.get("name"):
        return "", True
    name, is_set = one_line(str(key["name"])), bool(key.get("set"))
    if is_set:
        return f"✓ {name} is set", True
    return (f"✗ {name} is not set", False) if key.get("needed") else (f"{name} is not set", True)


def columns_of(printed: dict[str, Any]) -> list[str]:
    """The columns of the input, in its order."""
    return [column for column in _list(printed.get("columns")) if isinstance(column, str)]


def _estimated(estimate: dict[str, Any]) -> str:
    price, most = estimate.get("price"), estimate.get("tokens_out_most")
    said = f"≈ {short(_whole(estimate.get('tokens_in')))} tokens in"
    answers = f"at most {short(_whole(most))} tokens out" if most is not None else ""
    if not isinstance(price, list) or len(price) != 2:
        return f"{said}, {answers}, price unknown" if answers else f"{said}, price and length of answers unknown"
    said = f"{said}, {_dollars(estimate.get('cost_in'))} at {_price(price[0])} a million"
    if not answers:
        return f"{said} · out {_price(price[1])} a million, length of answers unknown"
    return f"{said} · {answers} at {_price(price[1])} a million: {_dollars(estimate.get('cost_most'))} in all"


def _readable(body: Any) -> list[Part]:
    """A request body as a person reads it: its messages as text, the rest a line each."""
    if not isinstance(body, dict):
        return [many_lines(str(body))] if body is not None else []
    rest = dict(body)
    parts: list[Part] = []
    for message in _list(rest.pop("messages", None)):
        if isinstance(message, dict):
            parts.append((f"{one_line(str(message.get('role', '?')))}\n", "$primary"))
            parts.append(f"{many_lines(_text(message.get('content')))}\n")
    parts += [(f"{one_line(name)}: {many_lines(_text(value))}\n", MUTED) for name, value in rest.items()]
    return parts


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _dollars(value: Any) -> str:
    return money(float(value) if isinstance(value, int | float) else None)


def _price(value: Any) -> str:
    """``$0.05``, ``$0.075``, ``$2.50``"""
    dollars = float(value) if isinstance(value, int | float) else 0.0
    return f"${dollars:.2f}" if round(dollars, 2) == dollars else f"${dollars:g}"
