"""Strikes secrets out of what a server says, also where it says them in pieces.

What counts as a secret is a whole value that was sent, and each word of it: a server that was given
``Authorization: Bearer sk-…`` speaks of ``sk-…`` alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from batchdeck.providers.failures import SHORTEST_SECRET

REDACTED = "[redacted]"
SHORTEST_WORD = 8
SCHEMES = ("bearer", "basic", "token", "key", "apikey", "api-key")
"""Words that may stand before a key in a header."""
_BETWEEN_WORDS = re.compile(r"[\s,;=\"']+")
_PLAIN_WORD = re.compile(r"[A-Z]?[a-z]{1,15}")


def hidden_strings(values: Iterable[str]) -> tuple[str, ...]:
    """All strings that must not be kept for these secret values, the longest first."""
    hidden: set[str] = set()
    for value in values:
        hidden.add(value.strip())
        words = _BETWEEN_WORDS.split(value.strip())
        after_scheme = words[0].lower() in SCHEMES
        # A word of a language in a header that is prose would be struck out of every answer.
        hidden.update(
            word
            for word in [*words, *value.split()]
            if len(word) >= SHORTEST_WORD and (after_scheme or not _PLAIN_WORD.fullmatch(word))
        )
    return tuple(sorted((text for text in hidden if len(text) >= SHORTEST_SECRET), key=lambda text: (-len(text), text)))


class Redaction:
    """The strings to strike out of one run's answers. One serves all requests."""

    def __init__(self, hidden: Iterable[str] = ()) -> None:
        """hidden: as ``hidden_strings`` gives them."""
        self.hidden = tuple(sorted((text for text in hidden if text), key=len, reverse=True))
        self.longest = len(self.hidden[0]) if self.hidden else 0
        self._raw = tuple(form.encode() for text in self.hidden for form in _written(text))
        self._any = re.compile("|".join(map(re.escape, self.hidden)))
        firsts = "".join({re.escape(text[0]) for text in self.hidden})
        self._first = re.compile(f"[{firsts}]") if firsts else None

    def __repr__(self) -> str:
        return f"<Redaction of {len(self.hidden)}>"

    def text(self, text: str) -> str:
        """The same without secrets."""
        for secret in self.hidden:
            if secret in text:
                text = text.replace(secret, REDACTED)
        return text

    def raw(self, raw: bytes) -> bytes:
        """The same for bytes, where a secret may also stand as JSON writes it."""
        for secret in self._raw:
            if secret in raw:
                raw = raw.replace(secret, REDACTED.encode())
        return raw

    def split(self, text: str) -> tuple[str, str]:
        """The beginning of a text, without secrets, and the rest: what could be the beginning of a secret."""
        if self._first is None or not self._first.search(text):
            return text, ""
        shown: list[str] = []
        place = 0
        while True:
            found = self._any.search(text, place)
            end = found.start() if found else len(text)
            held = self._beginning(text, place, end)
            if held is not None:
                return "".join([*shown, text[place:held]]), text[held:]
            if found is None:
                return "".join([*shown, text[place:]]), ""
            shown += [text[place:end], REDACTED]
            place = found.end()

    def _beginning(self, text: str, start: int, end: int) -> int | None:
        """The first place up to ``end`` from where all the rest of a text is the beginning of a longer secret."""
        for place in range(max(start, len(text) - self.longest + 1), min(end + 1, len(text))):
            rest = text[place:]
            if any(len(secret) > len(rest) and secret.startswith(rest) for secret in self.hidden):
                return place
        return None


class LiveText:
    """Text that arrives in pieces and is shown as it comes: no piece holds a secret, nor the beginning of one."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._held = ""

    def feed(self, piece: str) -> str:
        """What may be shown now; the end of it is held back as long as it could be the beginning of a secret."""
        if not piece or not self._redaction.hidden:
            return piece
        shown, self._held = self._redaction.split(self._held + piece)
        return shown

    def flush(self) -> str:
        """What was held back, now that nothing more will come."""
        held, self._held = self._held, ""
        return self._redaction.text(held)


def _written(text: str) -> list[str]:
    """A secret as it stands in plain text, and as JSON writers in the field put it."""
    in_json = json.dumps(text)[1:-1]
    return list(dict.fromkeys((text, in_json, json.dumps(text, ensure_ascii=False)[1:-1], in_json.replace("/", "\\/"))))
