"""Markdown as lines for a pane: what a model wrote, easier to read, and as inert as before. Pure.

CommonMark with tables, by markdown-it. Links are shown with their address and lead nowhere, HTML is shown as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from rich.cells import cell_len

from batchdeck_tui.widgets.cells import fit, many_lines, one_line
from batchdeck_tui.widgets.styled import Line, Part, indented, wrapped

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

DEEPEST = 8
"""Levels of lists and quotes that are set in; those within stand below each other."""
NESTED = 40
"""Blocks in blocks beyond which the parser leaves out what is within."""
BRACKETS = 1_000
"""Beyond so many ``[`` the parser takes long: each may begin a link, and all that follows is looked at for its end."""
_MARKS = {"strong": "strong", "em": "emphasis", "s": "label"}


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # loaded beside the loop, after the first paint

    return MarkdownIt("commonmark", {"maxNesting": NESTED}).enable(["table", "strikethrough"])


def markdown_lines(text: str, width: int) -> list[Line] | None:
    """The text in lines of at most ``width`` cells (8 or more); None: it is nested so deep that some would be lost,
    or would take long to read."""
    if text.count("[") > BRACKETS:
        return None
    tokens = _parser().parse(many_lines(text))
    levels = (one.level for token in tokens for one in (token, *(token.children or ())))
    return _Page(width).read(tokens) if max(levels, default=0) < NESTED - 2 else None


class _Page:
    """Goes through the blocks and keeps what stands before the next line: quotes and items of lists."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._lines: list[Line] = []
        self._margins: list[tuple[Part, Part]] = []
        """Of each block that is open: before its first line, and before the others."""
        self._numbers: list[int | None] = []
        """Of each list that is open: the number of its next item, None where it has bullets."""

    def read(self, tokens: Sequence[Token]) -> list[Line]:
        heading = False
        place = 0
        while place < len(tokens):
            token = tokens[place]
            match token.type:
                case "heading_open":
                    heading = True
                case "heading_close" | "paragraph_close":
                    heading = False
                case "inline":
                    for parts in _inline(token, "title" if heading else "text"):
                        self._put(wrapped(parts, self._room))
                case "fence" | "code_block":
                    self._code(token)
                case "html_block":
                    for line in token.content.rstrip("\n").split("\n"):
                        self._put(wrapped([(one_line(line), "label")], self._room))
                case "hr":
                    self._put([(("─" * self._room, "rule"),)])
                case "bullet_list_open" | "ordered_list_open":
                    start = token.attrGet("start")
                    is_numbered = token.type == "ordered_list_open"
                    self._numbers.append((int(start) if start is not None else 1) if is_numbered else None)
                case "bullet_list_close" | "ordered_list_close":
                    self._numbers.pop()
                case "list_item_open":
                    self._open_item()
                case "blockquote_open":
                    self._margins.append((("▌ ", "rule"), ("▌ ", "rule")))
                case "list_item_close" | "blockquote_close":
                    self._margins.pop()
                case "table_open":
                    end = next(n for n in range(place, len(tokens)) if tokens[n].type == "table_close")
                    self._table(tokens[place:end])
                    place = end
                case _:
                    pass
            if token.type in _ENDS and self._lines and self._lines[-1] and not self._is_tight(tokens, place):
                self._lines.append(())
            place += 1
        while self._lines and not self._lines[-1]:
            self._lines.pop()
        return self._lines

    def _is_tight(self, tokens: Sequence[Token], place: int) -> bool:
        """Within a list whose items stand close together."""
        closed = tokens[place]
        if closed.type == "paragraph_close":
            return closed.hidden
        follows = tokens[place + 1].type if place + 1 < len(tokens) else ""
        return bool(self._numbers) and follows == "list_item_close"

    @property
    def _room(self) -> int:
        taken = sum(cell_len(rest[0]) for _, rest in self._margins[:DEEPEST])
        return max(8, self._width - taken)

    def _put(self, lines: Sequence[Line]) -> None:
        for level in range(min(len(self._margins), DEEPEST) - 1, -1, -1):
            first, rest = self._margins[level]
            lines = indented(lines, first, rest)
            self._margins[level] = (rest, rest)
        self._lines.extend(tuple(line)[:] for line in lines)

    def _open_item(self) -> None:
        number = self._numbers[-1]
        sign = "• "
        if number is not None:
            sign, self._numbers[-1] = f"{number}. ", number + 1
        self._margins.append(((sign, "label"), (" " * len(sign), "text")))

    def _code(self, token: Token) -> None:
        name = one_line(token.info.split()[0]) if token.info.split() else ""
        if name:
            self._put([((fit(f"  {name}", min(self._room, len(name) + 2)), "label"),)])
        for line in token.content.rstrip("\n").split("\n"):
            rows = wrapped([(one_line(line), "code")], self._room - 2)
            self._put(indented(rows, ("  ", "code"), ("  ", "code")))

    def _table(self, tokens: Sequence[Token]) -> None:
        rows: list[list[Line]] = []
        for token in tokens:
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "inline":
                title = "name" if len(rows) == 1 else "text"
                paragraphs = _inline(token, title)
                rows[-1].append(tuple(part for parts in paragraphs for part in (*parts, (" ", "text")))[:-1])
        columns = max((len(row) for row in rows), default=0)
        wanted = [max(_size(row[n]) if n < len(row) else 1 for row in rows) for n in range(columns)]
        sizes = _shared(wanted, self._room - 3 * (columns - 1))
        if any(size < min(4, want) for size, want in zip(sizes, wanted, strict=True)):
            for row in rows:  # no room for columns: a line a cell
                for cell in row:
                    self._put(wrapped(cell, self._room))
            return
        for number, row in enumerate(rows):
            cells = [wrapped(row[n] if n < len(row) else (), size) for n, size in enumerate(sizes)]
            for y in range(max(len(cell) for cell in cells)):
                line: list[Part] = []
                for n, size in enumerate(sizes):
                    piece = cells[n][y] if y < len(cells[n]) else ()
                    line += [*([(" │ ", "rule")] if n else []), *piece, (" " * (size - _size(piece)), "text")]
                self._put([tuple(line)])
            if number == 0:
                self._put([(("─┼─".join("─" * size for size in sizes), "rule"),)])


_ENDS = (
    "heading_close", "paragraph_close", "fence", "code_block", "html_block", "hr", "blockquote_close",
    "bullet_list_close", "ordered_list_close", "table_close",
)  # fmt: skip
"""Blocks after which a line stays free."""


def _size(line: Line) -> int:
    return sum(cell_len(text) for text, _ in line)


def _shared(wanted: Sequence[int], room: int) -> list[int]:
    """Widths of columns: what each wants, the widest giving way first."""
    sizes = list(wanted)
    while sum(sizes) > max(room, len(sizes)):
        widest = max(sizes)
        if widest <= 1:
            break
        next_widest = max((size for size in sizes if size < widest), default=1)
        number = sizes.count(widest)
        over = sum(sizes) - room
        cut = max(1, min(widest - next_widest, -(-over // number)))
        sizes = [size - cut if size == widest else size for size in sizes]
    return sizes


def _inline(token: Token, usual: str) -> list[list[Part]]:
    """The paragraphs of a piece of running text: models break lines and mean it."""
    paragraphs: list[list[Part]] = [[]]
    open_marks: list[str] = []
    address = ""
    for child in token.children or []:
        style = open_marks[-1] if open_marks else usual
        match child.type:
            case "text" | "text_special":
                paragraphs[-1].append((one_line(child.content), style))
            case "code_inline":
                paragraphs[-1].append((one_line(child.content), "code"))
            case "softbreak" | "hardbreak":
                paragraphs.append([])
            case "html_inline":
                paragraphs[-1].append((one_line(child.content), "label"))
            case "strong_open" | "em_open" | "s_open":
                open_marks.append(_MARKS[child.tag])
            case "strong_close" | "em_close" | "s_close":
                open_marks.pop()
            case "link_open":
                address = str(child.attrGet("href") or "")
                open_marks.append("link")
            case "link_close":
                open_marks.pop()
                shown = "".join(text for text, _ in paragraphs[-1])
                if address and one_line(address) not in shown:
                    paragraphs[-1].append((f" ({one_line(address)})", "label"))
            case "image":
                said = one_line(child.content or "picture")
                paragraphs[-1].append((f"[{said}: {one_line(str(child.attrGet('src') or ''))}]", "label"))
            case _:
                paragraphs[-1].append((one_line(child.content), style))
    return paragraphs
