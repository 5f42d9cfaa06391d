"""CSV with a header row (RFC 4180), separated by commas, semicolons or tabs.

A quoted cell may hold line breaks, so a record may span many lines. A record that does not parse costs only its first
line: reading goes on with the second, so that one forgotten quote does not swallow the rest of the file.
"""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Iterator

from batchdeck.errors import InputError
from batchdeck.inert import inert
from batchdeck.inputs.base import SourceState
from batchdeck.inputs.lines import MAX_LINE, ByteStream, Line, read_lines
from batchdeck.inputs.records import NUL, TOO_LONG, Records, custom_id
from batchdeck.inputs.source import Source
from batchdeck.model import InputRow

# The module's own limit of 128 KB a cell is for the whole process and would refuse a long prompt.
csv.field_size_limit(2 * MAX_LINE)


class Csv(Records):
    format = "csv"

    def __init__(self, source: Source, delimiter: str | None = None) -> None:
        """delimiter: None finds it in the header. Raises ``InputError`` for a header that cannot be one."""
        self.name = source.name
        with source.peek() as stream:
            first = next((line for line in read_lines(stream, 0, 0) if line.content and line.content.strip()), None)
        self._delimiter = delimiter or _sniff(first)
        with source.peek() as stream:
            self._header = self._read_header(_Records(stream, 0, 0, self._delimiter))
        super().__init__(source)

    def _find_columns(self) -> tuple[str, ...]:
        return self._header

    def _read_header(self, records: _Records) -> tuple[str, ...]:
        for record in records:
            if record.error:
                raise InputError(f"{self.name}:{record.line}: the header is not CSV: {record.error}")
            if record.cells:
                names = tuple(cell.strip() or f"column_{n}" for n, cell in enumerate(record.cells, 1))
                for name, count in Counter(names).items():
                    if count > 1:
                        raise InputError(f"{self.name}:{record.line}: the header has the column '{inert(name)}' twice")
                return names
        return ()

    def _parse(self, stream: ByteStream, start: SourceState) -> Iterator[InputRow]:
        # ``start.line`` is where the last record began; it may have ended lines later, so the lines are counted again.
        lines = self._source.lines_before(start.offset) if start.offset else 0
        records = _Records(stream, lines, start.offset, self._delimiter)
        if start.offset == 0:
            self._read_header(records)
        index = start.index
        for record in records:
            error = record.error
            if not error and not record.cells:
                continue
            if not error and len(record.cells) != len(self._header):
                error = f"has {len(record.cells)} columns where the header has {len(self._header)}"
            if error:
                yield self._bad(index, record.line, record.end, error)
            else:
                fields = dict(zip(self._header, record.cells, strict=True))
                yield InputRow(
                    index=index, line=record.line, offset=record.end, fields=fields, custom_id=custom_id(fields)
                )
            index += 1


class _Record:
    """One record: where it begins and ends, and its cells, or why it has none. A blank line has neither."""

    __slots__ = ("cells", "end", "error", "line")

    def __init__(self, line: int, end: int, cells: list[str], error: str = "") -> None:
        self.line = line
        self.end = end
        self.cells = cells
        self.error = error


class _Records:
    """Feeds lines to ``csv.reader`` one at a time, which takes no more of them than one record needs."""

    def __init__(self, stream: ByteStream, number: int, offset: int, delimiter: str) -> None:
        self._lines = read_lines(stream, number, offset)
        self._again: deque[Line] = deque()
        self._taken: list[Line] = []
        self._size = 0
        self._flaw = ""
        self._delimiter = delimiter
        self._reader = csv.reader(self._feed(), delimiter=delimiter, strict=True)

    def __iter__(self) -> Iterator[_Record]:
        while True:
            self._taken.clear()
            self._size, self._flaw = 0, ""
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._give_up(self._flaw or _in_words(error))
            else:
                yield _Record(self._taken[0].number, self._taken[-1].end, cells, self._flaw)

    def _feed(self) -> Iterator[str]:
        while line := (self._again.popleft() if self._again else next(self._lines, None)):
            self._taken.append(line)
            self._size += len(line.content or b"")
            if self._size > MAX_LINE and len(self._taken) > 1:
                self._flaw = f"a quote opens that is not closed within {MAX_LINE // (1 << 20)} MB"
                return  # to the reader this is the end of the file inside a quote: an error
            yield self._decode(line.content)

    def _decode(self, content: bytes | None) -> str:
        """Text even of a bad line, so that the reader keeps count of the quotes; the flaw is remembered."""
        if content is None:
            self._flaw = TOO_LONG
            return "\n"
        if b"\x00" in content:
            self._flaw = NUL
        try:
            return content.decode()
        except UnicodeDecodeError:
            self._flaw = "not UTF-8"
            return content.decode(errors="replace")

    def _give_up(self, reason: str) -> _Record:
        first, *rest = self._taken
        self._again.extendleft(reversed(rest))
        self._reader = csv.reader(self._feed(), delimiter=self._delimiter, strict=True)
        return _Record(first.number, first.end, [], reason)


def _in_words(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quote opens that is never closed"
    if "expected after" in str(error):
        return 'a quote in the middle of a quoted cell; write it twice ("")'
    if "new-line character" in str(error):
        return "a bare carriage return outside of quotes; lines must end in LF or CR LF"
    return f"not CSV: {error}"


def _sniff(header: Line | None) -> str:
    """The separator of which the header has most; a comma when there is none."""
    text = (header.content or b"").decode(errors="replace") if header else ""
    return max(",;\t", key=text.count)
