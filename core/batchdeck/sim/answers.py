"""What a simulated model says: text that admits what it is, takes up the prompt's words, and varies in length."""

from __future__ import annotations

import random
from typing import Any

MARK = "[simulated] "
PIECE = 4
"""Characters a token: the usual rule of thumb for English, used for counting and for cutting streams alike."""
_ECHOED_WORDS = 8
_ECHOED_CHARS = 160

_OPENINGS = (
    "You asked: “{}”.",
    "On “{}”, in short:",
    "Here is an answer to “{}”.",
    "As for “{}”, three things stand out.",
    "“{}” can be read in more than one way.",
)
_SENTENCES = (
    "No model was asked; these words come from a seeded random generator.",
    "The same seed gives the same answer, whatever the order of the requests.",
    "A real model would weigh the context here and come to a conclusion.",
    "The first point is the most important one.",
    "There are exceptions, and they matter less than they seem to.",
    "It depends on what the question is meant to decide.",
    "Compare the two cases side by side before you choose.",
    "Most of the time the simple reading is the right one.",
    "The numbers point the same way.",
    "That said, a small trial would settle it.",
    "Nothing in the prompt rules this out.",
    "In practice the difference is hard to see.",
    "Start with the part that is easiest to check.",
    "The rest follows from it.",
)


def count_tokens(text: str) -> int:
    return -(-len(text) // PIECE)


def cut(text: str) -> list[str]:
    """The text as tokens; there are ``count_tokens(text)`` of them."""
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]


def text_of(content: Any) -> str:
    """The text of one message's content: a string, a list of typed parts, or None."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def compose(prompt: str, tokens: float, rng: random.Random) -> str:
    """An answer of about so many tokens that begins with a few words of the prompt, verbatim."""
    echoed = " ".join(prompt.split(maxsplit=_ECHOED_WORDS)[:_ECHOED_WORDS])[:_ECHOED_CHARS]
    text = MARK + rng.choice(_OPENINGS).format(echoed)
    while count_tokens(text) < tokens:
        text += " " + rng.choice(_SENTENCES)
    return text
