"""What the pieces of a line are painted with: colours of the theme by name, without a node of the style sheet for each.

A component class is applied again with every change of its widget's classes and size. Two hundred of them, for one
screen, took a third of the time in which it opens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from rich.style import Style
from textual.color import Color
from textual.widget import Widget

_WORDS = re.compile(r"(?P<on>on )?\$(?P<name>[a-z-]+)(?: (?P<share>\d+)%)?")


class Inked(Widget):
    """A widget that paints its lines itself.

    ``INKS``: by name a colour of the theme, as style sheets write it, and what else: ``bold $text-success``,
    ``italic $success 55%``, ``$foreground on $panel``.
    """

    INKS: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._inks: dict[str, Style] = {}

    def ink(self, name: str) -> Style:
        """The style of that name, with no background unless it has one of its own."""
        style = self._inks.get(name)
        if style is None:
            style = self._inks[name] = self._mixed(self.INKS[name])
        return style

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._inks = {}

    def _mixed(self, words: str) -> Style:
        behind = self.rich_style.bgcolor
        ground = Color.from_rich_color(behind) if behind is not None else Color(0, 0, 0, 0)
        variables = self.app.theme_variables
        color: Color | None = None
        paper: Color | None = None
        for found in sorted(_WORDS.finditer(words), key=lambda found: found["on"] is None):
            told = variables[found["name"]]
            mixed = Color.parse("black" if told.startswith("auto") else told)
            share = float(found["share"] or 100) / 100
            if told.startswith("auto"):
                mixed = (paper or ground).get_contrast_text(float(told.split()[1].rstrip("%")) / 100)
            elif share < 1:
                mixed = mixed.multiply_alpha(share)
            if found["on"]:
                paper = ground + mixed
            else:
                color = (paper or ground) + mixed
        return Style(
            color=color.rich_color if color is not None else None,
            bgcolor=paper.rich_color if paper is not None else None,
            bold=True if "bold " in words else None,
            italic=True if "italic " in words else None,
        )
