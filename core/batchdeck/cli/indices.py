"""Items that are named by their indices, one a line."""

from __future__ import annotations

from array import array

from batchdeck.errors import BatchdeckError, UsageError

CHOSEN = 10_000
"""As many as an engine takes at a time."""


def read_indices(source: str) -> array[int]:
    """source: a file's name, or ``-`` for standard input. Raises ``UsageError`` for a line that is no index."""
    indices = array("q")
    try:
        with open(0 if source == "-" else source, "rb", closefd=source != "-") as file:
            for number, line in enumerate(file, start=1):
                text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
                if text and not (text.isdigit() and len(text) < 19):
                    where = "standard input" if source == "-" else source
                    raise UsageError(f"{where}:{number}: {text[:40].decode(errors='replace')!r} is no index of an item")
                if text:
                    indices.append(int(text))
    except OSError as error:
        raise BatchdeckError(f"{source} cannot be read: {error.strerror}") from error
    return indices
