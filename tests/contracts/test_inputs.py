"""What every input must keep, whatever its format, and what each format adds."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchdeck.errors import InputError
from batchdeck.inputs import lines as lines_module
from batchdeck.inputs.base import Input, SourceState
from batchdeck.inputs.check import check
from batchdeck.inputs.csv import Csv
from batchdeck.inputs.jsonl import Jsonl
from batchdeck.inputs.open import open_input
from batchdeck.inputs.records import Records
from batchdeck.inputs.source import FileSource
from batchdeck.inputs.stdin import StreamSource
from batchdeck.inputs.text import Text
from batchdeck.model import InputRow
from batchdeck.prompts import Prompts

START = SourceState()
FORMATS: dict[str, type[Records]] = {"jsonl": Jsonl, "csv": Csv, "text": Text}

GOOD: dict[str, bytes] = {
    "jsonl": b'{"text": "one"}\n\n{"text": "two\\nlines"}\nnot json\n{"text": "three"}',
    "csv": b'id,text\n1,one\n2,"two\nlines"\n\n3\n4,"say ""four"""\n',
    "text": b"one\r\n\n  \ntwo\n\xff bad\nthree",
}


@pytest.fixture(params=sorted(FORMATS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def written(folder: Path, content: bytes, name: str = "prompts") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def opened(kind: str, folder: Path, content: bytes) -> Input:
    return FORMATS[kind](FileSource(written(folder, content), "prompts"))


def after(row: InputRow) -> SourceState:
    """The state that ingest commits with a row."""
    return SourceState(offset=row.offset, line=row.line, index=row.index + 1)


class TestEveryInput:
    def test_rows_are_numbered_from_0_and_lines_from_1(self, kind: str, tmp_path: Path) -> None:
        content = GOOD[kind]
        rows = list(opened(kind, tmp_path, content).rows(START))
        assert [row.index for row in rows] == list(range(4))
        assert [row.error is None for row in rows] == {
            "jsonl": [True, True, False, True],
            "csv": [True, True, False, True],
            "text": [True, True, False, True],
        }[kind]
        assert [row.line for row in rows] == {"jsonl": [1, 3, 4, 5], "csv": [2, 3, 6, 7], "text": [1, 4, 5, 6]}[kind]
        assert rows[-1].offset == len(content)

    def test_a_bad_line_names_file_line_and_reason_and_has_no_fields(self, kind: str, tmp_path: Path) -> None:
        (bad,) = [row for row in opened(kind, tmp_path, GOOD[kind]).rows(START) if row.error]
        assert bad.fields == {}
        assert bad.error is not None
        assert bad.error.startswith(f"prompts:{bad.line}: ")

    def test_reading_goes_on_after_any_row(self, kind: str, tmp_path: Path) -> None:
        source = opened(kind, tmp_path, GOOD[kind])
        rows = list(source.rows(START))
        for row in rows:
            assert list(source.rows(after(row))) == rows[row.index + 1 :]

    def test_a_byte_order_mark_is_no_part_of_the_text(self, kind: str, tmp_path: Path) -> None:
        plain = list(opened(kind, tmp_path, GOOD[kind]).rows(START))
        marked = list(opened(kind, tmp_path, b"\xef\xbb\xbf" + GOOD[kind]).rows(START))
        assert [row.fields for row in marked] == [row.fields for row in plain]
        assert [row.offset - 3 for row in marked] == [row.offset for row in plain]

    def test_a_stream_has_the_rows_of_the_file(self, kind: str, tmp_path: Path) -> None:
        from_file = list(opened(kind, tmp_path, GOOD[kind]).rows(START))
        stream = FORMATS[kind](StreamSource(io.BytesIO(GOOD[kind]), "prompts"))
        assert stream.columns == opened(kind, tmp_path, GOOD[kind]).columns
        assert (stream.size, stream.fingerprint()) == (None, "")
        assert list(stream.rows(START)) == from_file

    def test_a_stream_is_read_once_and_never_gone_on_with(self, kind: str) -> None:
        stream = FORMATS[kind](StreamSource(io.BytesIO(GOOD[kind])))
        first = next(stream.rows(START))
        with pytest.raises(InputError, match="second time"):
            list(stream.rows(START))
        with pytest.raises(InputError, match="second time"):
            list(FORMATS[kind](StreamSource(io.BytesIO(GOOD[kind]))).rows(after(first)))

    def test_rows_come_before_a_stream_has_ended(self, kind: str) -> None:
        """``tail -f prompts | batchdeck run -``: the first prompts are sent while the next ones are not yet known."""
        outside, inside = os.pipe()
        begin = {"jsonl": b'{"text":"a"}\n', "csv": b"text,n\na,1\n", "text": b"a\n"}[kind]
        os.write(inside, begin)
        with os.fdopen(outside, "rb", buffering=0) as raw:
            rows = open_input("-", None if kind == "jsonl" else kind, stdin=raw).rows(START)
            first = next(rows)
            os.close(inside)
            assert first.fields["text"] == "a"
            assert list(rows) == []

    def test_the_fingerprint_tells_a_changed_file(self, kind: str, tmp_path: Path) -> None:
        content = GOOD[kind]
        first = opened(kind, tmp_path, content).fingerprint()
        assert opened(kind, tmp_path, content).fingerprint() == first
        assert opened(kind, tmp_path, content + b"\n").fingerprint() != first
        assert opened(kind, tmp_path, content.replace(b"two", b"TWO")).fingerprint() != first

    def test_a_nul_byte_makes_a_bad_line_only(self, kind: str, tmp_path: Path) -> None:
        content = {
            "jsonl": b'{"text":"a"}\n{"text":"\x00"}\n{"text":"c"}\n',
            "csv": b"id,text\n1,a\n2,\x00\n3,c\n",
            "text": b"a\n\x00\nc\n",
        }[kind]
        rows = list(opened(kind, tmp_path, content).rows(START))
        assert [row.fields.get("text") for row in rows] == ["a", None, "c"]
        assert rows[1].error is not None
        assert "NUL" in rows[1].error

    def test_a_line_without_end_costs_one_row_and_no_memory(
        self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lines_module, "MAX_LINE", 1_000)
        long = b"x" * 5_000
        content = {
            "jsonl": b'{"text":"a"}\n{"text":"' + long + b'"}\n{"text":"c"}\n',
            "csv": b"id,text\n1,a\n2," + long + b"\n3,c\n",
            "text": b"a\n" + long + b"\nc\n",
        }[kind]
        source = opened(kind, tmp_path, content)
        rows = list(source.rows(START))
        assert [row.fields.get("text") for row in rows] == ["a", None, "c"]
        assert rows[1].error is not None
        assert "longer than" in rows[1].error
        assert list(source.rows(after(rows[1]))) == rows[2:]

    def test_an_unreadable_name_stays_inert_in_errors(self, kind: str, tmp_path: Path) -> None:
        source = FORMATS[kind](FileSource(written(tmp_path, GOOD[kind]), "a\x1b]0;x\x07"))
        errors = [row.error for row in source.rows(START) if row.error]
        assert errors
        assert all(error.isprintable() for error in errors)


class Dribble(io.BytesIO):
    """A pipe whose other end writes a few bytes at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(3)


def some_lines(kind: str) -> st.SearchStrategy[bytes]:
    """Files of the format with good, bad, blank and half lines in any order."""
    text = st.text(st.characters(codec="utf-8"), max_size=12)
    cell = text.map(lambda value: _csv_line([value, "x"]).rstrip(b"\r\n"))
    piece = {
        "jsonl": text.map(lambda value: json.dumps({"text": value, "id": len(value)}).encode()),
        "csv": cell,
        "text": text.map(str.encode),
    }[kind]
    junk = st.sampled_from(
        [b"", b" ", b"{", b"[1]", b'"', b'"a', b'a"b",', b"\xff\xfe", b"\x00", b"null", b'"text"', b"a,b", b"\r", b"1"]
    )
    ends = st.sampled_from([b"\n", b"\r\n"])
    body = st.lists(st.tuples(piece | junk, ends).map(b"".join), max_size=12).map(b"".join)
    head = b"text,more\n" if kind == "csv" else b""
    return st.tuples(st.sampled_from([b"", b"\xef\xbb\xbf"]), body, st.sampled_from([b"", b"{}", b"end"])).map(
        lambda parts: parts[0] + head + parts[1] + parts[2]
    )


def _csv_line(values: list[str]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerow(values)
    return out.getvalue().encode()


@pytest.mark.parametrize("kind", sorted(FORMATS))
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_reading_from_any_row_on_gives_the_rest(kind: str, data: st.DataObject, tmp_path_factory: Any) -> None:
    content = data.draw(some_lines(kind))
    source = opened(kind, tmp_path_factory.getbasetemp(), content)
    rows = list(source.rows(START))
    assert [row.index for row in rows] == list(range(len(rows)))
    ends = [row.offset for row in rows]
    assert ends == sorted(set(ends))
    assert not ends or ends[-1] <= len(content)
    for row in rows:
        assert list(source.rows(after(row))) == rows[row.index + 1 :]
    assert list(FORMATS[kind](StreamSource(Dribble(content), "prompts")).rows(START)) == rows


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00")), min_size=2, max_size=2)))
@settings(max_examples=60, deadline=None)
def test_what_a_csv_writer_wrote_is_read_back(tmp_path_factory: Any, table: list[list[str]]) -> None:
    content = b"a,b\r\n" + b"".join(_csv_line(cells) for cells in table)
    rows = list(opened("csv", tmp_path_factory.getbasetemp(), content).rows(START))
    assert [[row.fields["a"], row.fields["b"]] for row in rows] == table


class TestJsonl:
    def rows(self, folder: Path, *lines: str) -> list[InputRow]:
        return list(opened("jsonl", folder, "\n".join(lines).encode()).rows(START))

    def test_an_object_is_columns_and_a_string_is_text(self, tmp_path: Path) -> None:
        rows = self.rows(tmp_path, '{"q": "why?", "n": [1, {"x": null}]}', '"just this"')
        assert [row.fields for row in rows] == [{"q": "why?", "n": [1, {"x": None}]}, {"text": "just this"}]

    def test_rows_take_the_name_that_the_input_gives_them(self, tmp_path: Path) -> None:
        lines = [
            '{"custom_id": "a", "id": 7}',
            '{"id": 7}',
            '{"id": "b"}',
            '{"id": true}',
            '{"id": 1.5}',
            '{"id":""}',
        ]
        assert [row.custom_id for row in self.rows(tmp_path, *lines)] == ["a", "7", "b", None, None, None]

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("[1, 2]", "not a JSON object but a list"),
            ("17", "not a JSON object but a number"),
            ("true", "not a JSON object but true or false"),
            ("null", "not a JSON object but null"),
            ('{"a": 1', "not JSON: "),
            ("{'a': 1}", "not JSON: "),
            ('{"a": NaN}', "NaN"),
            ('{"a": "\\ud83d"}', "surrogate"),
            ('{"a": 1} {"b": 2}', "not JSON: "),
            ("[" * 100_000, "nested too deeply"),
        ],
    )
    def test_a_bad_line_says_what_is_wrong(self, tmp_path: Path, line: str, reason: str) -> None:
        good, bad, rest = self.rows(tmp_path, '{"a": 1}', line, '{"a": 2}')
        assert (good.fields, rest.fields) == ({"a": 1}, {"a": 2})
        assert bad.error is not None
        assert bad.error.startswith("prompts:2: ")
        assert reason in bad.error

    def test_columns_are_those_of_the_first_good_row(self, tmp_path: Path) -> None:
        assert opened("jsonl", tmp_path, b'oops\n\n{"b": 1, "a": 2}\n{"c": 3}\n').columns == ("b", "a")


class TestCsv:
    def fields(self, folder: Path, content: str, delimiter: str | None = None) -> list[dict[str, Any]]:
        source = Csv(FileSource(written(folder, content.encode()), "prompts"), delimiter)
        return [row.fields for row in source.rows(START)]

    def test_quoted_cells_hold_separators_quotes_and_line_breaks(self, tmp_path: Path) -> None:
        content = 'id,text\r\n1,"a, b"\r\n2,"say ""hi"""\r\n3,"two\r\nlines"\r\n'
        assert [row["text"] for row in self.fields(tmp_path, content)] == ["a, b", 'say "hi"', "two\r\nlines"]

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    def test_the_header_shows_the_separator(self, tmp_path: Path, separator: str) -> None:
        content = f"id{separator}text\n1{separator}hello\n"
        assert self.fields(tmp_path, content) == [{"id": "1", "text": "hello"}]

    def test_a_forgotten_quote_costs_one_line_not_the_rest_of_the_file(self, tmp_path: Path) -> None:
        content = 'id,text\n1,a\n2,"oops\n3,c\n4,d\n'
        rows = list(opened("csv", tmp_path, content.encode()).rows(START))
        assert [row.fields.get("id") for row in rows] == ["1", None, "3", "4"]
        assert rows[1].error == "prompts:3: a quote opens that is never closed"

    def test_a_quote_that_swallows_megabytes_is_given_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("batchdeck.inputs.csv.MAX_LINE", 10_000)
        content = 'id,text\n1,"oops\n' + "2,fine\n" * 5_000
        rows = list(opened("csv", tmp_path, content.encode()).rows(START))
        assert [row.error is None for row in rows] == [False] + [True] * 5_000

    def test_a_cell_may_be_longer_than_the_csv_module_allows_by_itself(self, tmp_path: Path) -> None:
        (row,) = self.fields(tmp_path, f"id,text\n1,{'x' * 500_000}\n")
        assert len(row["text"]) == 500_000

    def test_a_row_of_another_width_is_bad(self, tmp_path: Path) -> None:
        rows = list(opened("csv", tmp_path, b"id,text\n1\n2,b\n3,c,d\n").rows(START))
        assert [row.error for row in rows] == [
            "prompts:2: has 1 columns where the header has 2",
            None,
            "prompts:4: has 3 columns where the header has 2",
        ]

    def test_a_column_that_is_there_twice_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="'text' twice"):
            opened("csv", tmp_path, b"text,text\n1,2\n")

    def test_a_column_without_a_name_gets_one(self, tmp_path: Path) -> None:
        assert opened("csv", tmp_path, b",text\n0,a\n").columns == ("column_1", "text")


class TestOpening:
    @pytest.mark.parametrize(
        ("name", "content", "format"),
        [
            ("a.jsonl", '{"text": 1}\n', "jsonl"),
            ("a.NDJSON", '{"text": 1}\n', "jsonl"),
            ("a.json", '{"text": 1}\n{"text": 2}\n', "jsonl"),
            ("a.csv", "text\nhello\n", "csv"),
            ("a.tsv", "text\tn\nhello\t1\n", "csv"),
            ("a.txt", "{not json}\n", "text"),
            ("a", '\n{"text": 1}\n', "jsonl"),
            ("a", '{"text": 1,}\n', "jsonl"),
            ("a", '"a string"\n', "jsonl"),
            ("a", "id,text\n1,hello\n", "csv"),
            ("a", '"id","text"\n1,hello\n', "csv"),
            ("a", "Hello, world\nHow are you, then?\n", "text"),
            ("a", "[INST] hi\n", "text"),
            ("prompts.md", "why?\n", "text"),
        ],
    )
    def test_the_format_is_found(self, tmp_path: Path, name: str, content: str, format: str) -> None:
        path = written(tmp_path, content.encode(), name)
        assert open_input(path).format == format
        assert open_input(path).name == str(path)

    def test_standard_input_is_told_by_its_first_lines_or_by_the_caller(self) -> None:
        assert open_input("-", stdin=io.BytesIO(b'{"a": 1}\n')).columns == ("a",)
        assert open_input("-", "text", stdin=io.BytesIO(b'{"a": 1}\n')).columns == ("text",)
        rows = list(open_input("-", stdin=io.BytesIO(b"id,text\n1,x\nbad\n")).rows(START))
        assert rows[0].fields == {"id": "1", "text": "x"}
        assert rows[1].error == "stdin:3: has 1 columns where the header has 2"

    def test_standard_input_may_be_non_blocking(self) -> None:
        """The flag belongs to the pipe: whoever shares it can set it."""
        outside, inside = os.pipe()
        os.set_blocking(outside, False)

        class Late(io.FileIO):
            """Its row comes only after it was found empty."""

            def read(self, size: int | None = -1, /) -> Any:
                piece = super().read(size)
                if piece is None:
                    os.write(inside, b'{"a": 1}\n')
                    os.close(inside)
                return piece

        with Late(outside) as raw:
            assert [row.fields for row in open_input("-", stdin=raw).rows(START)] == [{"a": 1}]

    def test_a_terminal_is_asked_no_more_after_its_end(self) -> None:
        """Ctrl+D ends what is typed once; a second read would wait for more."""
        master, slave = pty.openpty()
        os.write(master, b"id,text\n\x04typed,later\n\x04")
        with os.fdopen(slave, "rb", buffering=0) as raw:
            assert [row.fields for row in open_input("-", stdin=raw).rows(START)] == [{"text": "id,text"}]
        os.close(master)

    def test_standard_input_that_cannot_be_read_says_so(self, tmp_path: Path) -> None:
        folder = os.open(tmp_path, os.O_RDONLY)

        class Folder:
            """``batchdeck run - < folder``"""

            def read(self, size: int, /) -> bytes:
                return os.read(folder, size)

            def fileno(self) -> int:
                return folder

        with pytest.raises(InputError, match="stdin: cannot be read"):
            open_input("-", stdin=Folder())
        os.close(folder)

    def test_a_named_pipe_is_read_like_standard_input(self, tmp_path: Path) -> None:
        pipe = tmp_path / "prompts.jsonl"
        os.mkfifo(pipe)
        feeder = threading.Thread(target=pipe.write_bytes, args=(GOOD["jsonl"],))
        feeder.start()
        source = open_input(pipe)
        feeder.join()
        assert source.size is None
        assert len(list(source.rows(START))) == 4

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("gone.jsonl", None, "no such file"),
            ("empty.jsonl", b"", "is empty"),
            ("blank.txt", b"\n \n\n", "is empty"),
            ("header.csv", b"id,text\n", "no prompt"),
            ("a.json", b'[\n  {"text": 1},\n  {"text": 2}\n]\n', r"one JSON array.*jq -c '\.\[\]'"),
            ("a.json", b'[{"text": 1}, {"text": 2}]', "one JSON array"),
            ("a.jsonl", b'[{"text": 1}, {"text": 2}]', "one JSON array"),
            ("a.json", b'{\n  "text": 1\n}\n', "over many lines"),
            ("a.jsonl.gz", b"\x1f\x8b\x08\x00rest", r"gzip.*gunzip < .*batchdeck run -"),
            ("a.csv", b"PK\x03\x04rest", "spreadsheet"),
            ("a.parquet", b"PAR1rest", "Parquet"),
            ("run.db", b"SQLite format 3\x00rest", "SQLite"),
            ("a.txt", "hello".encode("utf-16"), "UTF-16.*iconv"),
        ],
    )
    def test_what_is_no_input_says_so_and_how_to_mend_it(
        self, tmp_path: Path, name: str, content: bytes | None, words: str
    ) -> None:
        path = tmp_path / name if content is None else written(tmp_path, content, name)
        with pytest.raises(InputError, match=words) as caught:
            open_input(path)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_folder_is_no_input(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="is a folder"):
            open_input(tmp_path)

    def test_an_unknown_format_lists_those_there_are(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="jsonl, csv, text"):
            open_input(written(tmp_path, b"x"), "yaml")


class TestDryRun:
    def test_it_counts_rows_and_names_the_bad_ones(self, tmp_path: Path) -> None:
        path = written(tmp_path, b'oops\n{"q": "why?"}\n{"z": 1}\n{"q": ""}\n', "p.jsonl")
        source = open_input(path)
        found = check(source, Prompts("Q: {{q}}", None, source.columns))
        assert (found.rows, found.bad_count, found.columns) == (4, 2, ("q",))
        assert found.first is not None
        assert found.first.messages == [{"role": "user", "content": "Q: why?"}]
        assert [line for line, _ in found.bad] == [1, 3]
        assert all(reason.startswith(f"{path}:{line}: ") for line, reason in found.bad)

    def test_it_reads_no_further_than_the_limit(self, tmp_path: Path) -> None:
        source = open_input(written(tmp_path, b"a\nb\n\xff\n", "p.txt"))
        found = check(source, Prompts(None, None, source.columns), limit=2)
        assert (found.rows, found.bad_count) == (2, 0)

    def test_only_the_first_bad_lines_are_kept(self) -> None:
        class Bad:
            name, format, columns, size = "p", "text", (), None

            def fingerprint(self) -> str:
                return ""

            def rows(self, start: SourceState) -> Iterator[InputRow]:
                for n in range(50_000):
                    yield InputRow(index=n, line=n + 1, offset=n, fields={}, error=f"p:{n + 1}: bad")

        found = check(Bad(), Prompts(None, None))  # type: ignore[arg-type]
        assert (found.rows, found.bad_count, len(found.bad), found.first) == (50_000, 50_000, 20, None)
