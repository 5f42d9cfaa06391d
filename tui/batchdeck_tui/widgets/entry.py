"""Fields in which a person writes. What stands in them may come from elsewhere, so it is shown inert."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from rich.text import Text
from textual.suggester import Suggester
from textual.widgets import Input, TextArea

from batchdeck.inert import inert

INPUTS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")


class Entry(Input):
    """A field of one line."""

    @property
    def _value(self) -> Text:
        return Text(_same_length(self.value), no_wrap=True, overflow="ignore", end="")


class Template(TextArea):
    """A field of a few lines; tab goes on to the next one."""

    def __init__(self, text: str, *, id: str, hint: str) -> None:
        super().__init__(text, id=id, placeholder=hint, compact=True, highlight_cursor_line=False)

    def get_line(self, line_index: int) -> Text:
        return Text(_same_length(self.document.get_line(line_index)), end="", no_wrap=True)

    def put(self, text: str) -> None:
        """Insert at the cursor, and stand behind it."""
        end = self.replace(text, *self.selection, maintain_selection_offset=False).end_location
        self.move_cursor(end)


class PathSuggester(Suggester):
    """Completes a path: folders, and files that look like prompts."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        return await asyncio.to_thread(complete, value) if value else None


def complete(value: str) -> str | None:
    """The first folder or file of prompts that begins so, in the writing of ``value``. Blocks."""
    typed = Path(os.path.expanduser(value))
    folder, begun = (typed, "") if value.endswith("/") else (typed.parent, typed.name)
    try:
        with os.scandir(folder) as entries:
            fitting = sorted(
                entry.name + ("/" if entry.is_dir() else "")
                for entry in entries
                if entry.name.startswith(begun)
                # what is suggested is painted as it is
                and inert(entry.name) == entry.name
                and (begun.startswith(".") or not entry.name.startswith("."))
                and (entry.is_dir() or entry.name.lower().endswith(INPUTS))
            )
    except (OSError, ValueError):
        return None
    return value + fitting[0][len(begun) :] if fitting else None


def _same_length(text: str) -> str:
    """Inert, and as many characters as before: the cursor stands at a number of them."""
    shown = inert(text)
    return shown if len(shown) == len(text) else "".join(inert(char) for char in text)
