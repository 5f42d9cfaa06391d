"""The committed pictures load nothing, tell of no machine, and are small."""

from __future__ import annotations

import importlib.util
import re
import struct
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pytest
from textual.app import App, ComposeResult
from textual.widgets import Static

FOLDER = Path(__file__).parent.parent / "screenshots"


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_every_picture_that_is_drawn_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    render = module("render", monkeypatch)
    drawn = {f"{name}.{kind}" for name in render.NAMES for kind in ("svg", "png")} | {f"{render.SESSION}.svg"}
    assert {path.name for path in FOLDER.iterdir() if path.suffix in (".svg", ".png")} == drawn


@pytest.mark.parametrize("picture", sorted(FOLDER.glob("*.svg")), ids=lambda path: path.name)
def test_a_picture_loads_nothing_and_tells_of_no_machine(picture: Path) -> None:
    svg = picture.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"' )<]+", svg)) == {"http://www.w3.org/2000/svg"}
    assert "@font-face" not in svg
    text = re.sub("<[^>]*>", "", svg)
    assert not re.search(r"/(home|Users|root|tmp|var|work)/|@\w+:", text)
    assert picture.stat().st_size < (900_000 if picture.stem == "session" else 300_000)


def test_one_frame_stands_at_each_moment_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    render = module("render", monkeypatch)
    frame = '<svg viewBox="0 0 10 10" xmlns="http://www.w3.org/2000/svg"><text>{}</text></svg>'
    svg = render.moving([(frame.format(name), seconds) for name, seconds in (("a", 1.0), ("b", 2.0), ("c", 1.0))])
    assert 'viewBox="0 0 10 10"' in svg
    spans = re.findall(r"([\d.]+)%\{visibility:visible\}([\d.]+)%\{visibility:hidden\}", svg)
    assert spans == [("0.00", "25.00"), ("25.00", "75.00"), ("75.00", "100.00")]
    assert "prefers-reduced-motion" in svg


@pytest.mark.parametrize("picture", sorted(FOLDER.glob("*.png")), ids=lambda path: path.name)
def test_a_png_has_the_size_of_its_svg(picture: Path) -> None:
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', picture.with_suffix(".svg").read_text(encoding="utf-8"))
    assert box is not None
    assert abs(width - float(box[1])) < 1
    assert abs(height - float(box[2])) < 1
    assert picture.stat().st_size < 300_000


class Words(App[None]):
    def compose(self) -> ComposeResult:
        yield Static("⣿ words", markup=False)


async def test_what_textual_exports_is_freed_of_its_web_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    render = module("render", monkeypatch)
    app = Words()
    async with app.run_test(size=(30, 4)):
        exported = app.export_screenshot()
        assert "⣿ words" in render.painted(app)
    assert "url(" in exported  # else there is nothing to strip, and the stripping can go
    svg = render.without_addresses(exported)
    assert "url(http" not in svg.replace('"', "")
    assert set(re.findall(r"https?://[\w.-]+", svg)) == {"http://www.w3.org"}
    with pytest.raises(SystemExit, match="words"):
        render.check_picture("words", svg, ["words"])


def test_a_palette_keeps_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few colours come through exactly, whatever filter each row was written with."""
    palette = module("palette", monkeypatch)
    width, rows = 4, [bytes([r, 40, 200, 9, 9, 9, 250, r, 0, 9, 9, 9]) for r in (10, 90, 90, 170, 250)]
    above, lines = bytes(12), b""
    for kind, row in enumerate(rows):
        lines += bytes([kind]) + filtered(kind, row, above)
        above = row
    header = struct.pack(">IIBBBBB", width, len(rows), 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")

    parts = dict(palette._chunks(palette.reduce(png)))
    assert struct.unpack(">IIBB", parts[b"IHDR"][:10]) == (width, len(rows), 8, 3)
    colours = [parts[b"PLTE"][at : at + 3] for at in range(0, len(parts[b"PLTE"]), 3)]
    places = zlib.decompress(parts[b"IDAT"])
    read = [
        b"".join(colours[place] for place in places[start + 1 : start + 1 + width])
        for start in range(0, len(places), width + 1)
    ]
    assert read == rows


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def filtered(kind: int, row: bytes, above: bytes) -> bytes:
    """One row as PNG's filter types 0 to 4 write it (ISO/IEC 15948, 9.2), three bytes a pixel."""
    left, corner = bytes(3) + row, bytes(3) + above
    out = []
    for at, value in enumerate(row):
        a, b, c = left[at], above[at], corner[at]
        nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
        out.append((value - (0, a, b, (a + b) // 2, nearest)[kind]) & 255)
    return bytes(out)
