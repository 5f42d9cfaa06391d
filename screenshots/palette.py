"""Makes a screenshot small: PNG with a palette of at most 256 colours, a third of what a browser writes.

PNG (ISO/IEC 15948): section 9 has the filters, section 11 the chunks.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 6: 4}


def reduce(png: bytes) -> bytes:
    """An 8-bit RGB or RGBA picture, without transparency, as the same picture with a palette.

    Rare shades (the edges of letters) become the nearest one that is kept. Raises ``ValueError`` for any other PNG.
    """
    width, height, rows = _pixels(png)
    pixels = [row[at : at + 3] for row, size in rows for at in range(0, len(row), size)]
    counted = Counter(pixels)
    frequent = _palette(counted)
    place = {colour: number for number, colour in enumerate(frequent)}
    place |= {colour: _nearest(frequent, colour) for colour in counted.keys() - place.keys()}
    indexed = bytes(map(place.__getitem__, pixels))
    lines = b"".join(b"\0" + indexed[y * width : (y + 1) * width] for y in range(height))
    return (
        _SIGNATURE
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + _chunk(b"PLTE", b"".join(frequent))
        + _chunk(b"IDAT", zlib.compress(lines, 9))
        + _chunk(b"IEND", b"")
    )


def _palette(counted: Counter[bytes]) -> list[bytes]:
    """The most frequent colour of each neighbourhood (16 shades a channel), of the 256 most frequent neighbourhoods.

    Not simply the most frequent colours: those are shades of grey, and a single red word would lose its colour.
    """
    near: Counter[bytes] = Counter()
    best: dict[bytes, bytes] = {}
    for colour, count in counted.most_common():
        corner = bytes(channel >> 4 for channel in colour)
        near[corner] += count
        best.setdefault(corner, colour)
    return [best[corner] for corner, _ in near.most_common(256)]


def _nearest(frequent: list[bytes], colour: bytes) -> int:
    red, green, blue = colour
    away = [(r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2 for r, g, b in frequent]
    return away.index(min(away))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    while at < len(png):
        size, kind = struct.unpack_from(">I4s", png, at)
        yield kind, png[at + 8 : at + 8 + size]
        at += size + 12


def _pixels(png: bytes) -> tuple[int, int, Iterator[tuple[bytes, int]]]:
    """Width, height, and each row with its bytes a pixel."""
    chunks = list(_chunks(png))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if depth != 8 or kind not in _CHANNELS or interlaced:
        raise ValueError("only 8-bit RGB and RGBA without interlacing are read")
    data = zlib.decompress(b"".join(content for name, content in chunks if name == b"IDAT"))
    return width, height, _rows(data, width * _CHANNELS[kind], _CHANNELS[kind])


def _rows(data: bytes, stride: int, size: int) -> Iterator[tuple[bytes, int]]:
    above = bytes(stride)
    for start in range(0, len(data), stride + 1):
        above = _unfilter(data[start], data[start + 1 : start + 1 + stride], above, size)
        yield above, size


def _unfilter(kind: int, line: bytes, above: bytes, size: int) -> bytes:
    if kind == 0:
        return line
    if kind == 2:
        return bytes((a + b) & 255 for a, b in zip(line, above, strict=True))
    row = bytearray(size) + line
    up = bytes(size) + above
    for at in range(size, len(row)):
        left, over, corner = row[at - size], up[at], up[at - size]
        if kind == 1:
            guess = left
        elif kind == 3:
            guess = (left + over) // 2
        else:
            guess = _paeth(left, over, corner)
        row[at] = (row[at] + guess) & 255
    return bytes(row[size:])


def _paeth(left: int, over: int, corner: int) -> int:
    to_left, to_over, to_corner = abs(over - corner), abs(left - corner), abs(left + over - 2 * corner)
    if to_left <= to_over and to_left <= to_corner:
        return left
    return over if to_over <= to_corner else corner
