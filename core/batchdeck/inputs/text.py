"""Plain text: a prompt a line, as the column ``text``. Empty lines are no prompts."""

from __future__ import annotations

from collections.abc import Iterator

from batchdeck.inputs.base import SourceState
from batchdeck.inputs.lines import ByteStream, read_lines
from batchdeck.inputs.records import NUL, TOO_LONG, Records
from batchdeck.model import InputRow


class Text(Records):
    format = "text"

    def _parse(self, stream: ByteStream, start: SourceState) -> Iterator[InputRow]:
        index = start.index
        for number, end, content in read_lines(stream, start.line, start.offset):
            if content is None:
                yield self._bad(index, number, end, TOO_LONG)
            elif not content.strip():
                continue
            elif b"\x00" in content:
                yield self._bad(index, number, end, NUL)
            else:
                try:
                    text = content.rstrip(b"\r\n").decode()
                except UnicodeDecodeError:
                    yield self._bad(index, number, end, "not UTF-8")
                else:
                    yield InputRow(index=index, line=number, offset=end, fields={"text": text})
            index += 1
