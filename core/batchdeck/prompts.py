"""What is asked of the model for one row: a template over its columns, or what the row itself says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from batchdeck.errors import InputError, UsageError
from batchdeck.inert import inert
from batchdeck.model import Rendered

if TYPE_CHECKING:
    from batchdeck.templates import Template

LABEL = 200
"""Characters of a label at most."""
_IDS = ("custom_id", "id")
_WAY = "say which one with --prompt, e.g. --prompt 'Summarise: {{%s}}'"


class Prompts:
    """Renders rows. ``columns``: those of the input, to find mistakes before anything is sent; () when unknown.

    Without a prompt template a row speaks for itself: an OpenAI batch line (``url`` and ``body``), else the column
    ``messages``, ``prompt`` or ``text``, else the only column there is besides ``custom_id`` and ``id``.
    """

    def __init__(self, prompt: str | None, system: str | None, columns: tuple[str, ...] = ()) -> None:
        """Raises ``UsageError`` for a template that does not parse or names a column that the input does not have."""
        if prompt is not None and not prompt.strip():
            raise UsageError("--prompt is empty")
        self._columns = columns
        self._prompt = _template(prompt, "--prompt", columns)
        self._system = _template(system or None, "--system", columns)
        if prompt is None and columns and not _speaks(columns):
            raise UsageError(
                f"the input has the columns {_listed(columns)}, and none of them is called 'messages', 'prompt' or"
                f" 'text'; {_WAY % _first(columns)}"
            )

    def render(self, fields: dict[str, Any]) -> Rendered:
        """Raises ``InputError`` with the reason why this row cannot be asked; the caller adds file and line."""
        system = self._system(fields) if self._system else ""
        if self._prompt:
            return _ask(self._prompt(fields), system)
        if isinstance(fields.get("body"), dict) and isinstance(fields.get("url"), str):
            return _batch_line(fields, system)
        if fields.get("messages") is not None:
            return _chat(_messages(fields["messages"]), system)
        return _ask(_text(_own_prompt(fields, self._columns)), system)


def _template(text: str | None, what: str, columns: tuple[str, ...]) -> Callable[[Mapping[str, Any]], str] | None:
    if text is None:
        return None
    if not any(mark in text for mark in ("{{", "{%", "{#")):
        return lambda fields: text
    from batchdeck.templates import Template

    template = Template(text, what)
    _check_columns(template, what, columns)
    return template.render


def _check_columns(template: Template, what: str, columns: tuple[str, ...]) -> None:
    missing = sorted(template.needed - set(columns))
    if columns and missing:
        raise UsageError(
            f"{what} names the column '{missing[0]}', which the input does not have; it has {_listed(columns)}"
            f" (for a column that only some rows have: {{{{ {missing[0]} | default('') }}}})"
        )


def _speaks(columns: tuple[str, ...]) -> bool:
    named = {"messages", "prompt", "text"} & set(columns) or {"url", "body"} <= set(columns)
    return bool(named) or len(_content(columns)) == 1


def _own_prompt(fields: dict[str, Any], columns: tuple[str, ...]) -> Any:
    for column in ("prompt", "text"):
        if fields.get(column) is not None:
            return fields[column]
    content = _content(tuple(fields))
    # A row with one odd column in a file of others is a mistake to show, not a prompt to pay for.
    if len(content) == 1 and (not columns or content[0] in columns):
        return fields[content[0]]
    if not content:
        raise InputError("the row has no column to ask")
    raise InputError(f"the row has the columns {_listed(tuple(fields))}; {_WAY % _first(tuple(fields))}")


def _content(columns: tuple[str, ...]) -> list[str]:
    """The columns that can be a prompt: a single ``id`` is one too."""
    return [column for column in columns if column not in _IDS] or (list(columns) if len(columns) == 1 else [])


def _first(columns: tuple[str, ...]) -> str:
    name = (_content(columns) or list(columns))[0]
    return inert(name) if name.isidentifier() else f'row["{inert(name)}"]'


def _listed(columns: tuple[str, ...]) -> str:
    shown = ", ".join(inert(column) for column in columns[:30])
    return f"{shown} and {len(columns) - 30} more" if len(columns) > 30 else shown


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def _ask(prompt: str, system: str) -> Rendered:
    if not prompt or prompt.isspace():
        raise InputError("the prompt is empty")
    messages = [{"role": "user", "content": prompt}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    return Rendered(messages=messages, label=label(prompt))


def _chat(messages: list[dict[str, Any]], system: str) -> Rendered:
    if system:
        messages = [{"role": "system", "content": system}, *messages]
    return Rendered(messages=messages, label=label(_last_said(messages)))


def _messages(value: Any) -> list[dict[str, Any]]:
    """A conversation: a list of messages, or JSON text of one (CSV)."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (ValueError, RecursionError) as error:
            raise InputError("'messages' is text that is not a JSON list of messages") from error
    if not isinstance(value, list) or not value:
        raise InputError("'messages' must be a list of {role, content}, and not empty")
    for number, message in enumerate(value, start=1):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InputError(f"message {number} of 'messages' is not a {{role, content}}")
        if not isinstance(message.get("content"), str | list) and "tool_calls" not in message:
            raise InputError(f"message {number} of 'messages' has no content")
    return value


def _batch_line(fields: dict[str, Any], system: str) -> Rendered:
    """A line of an OpenAI batch file: https://platform.openai.com/docs/guides/batch"""
    url, body, method = fields["url"], fields["body"], fields.get("method", "POST")
    if method != "POST":
        raise InputError(f"the method is {_text(method)[:20]}; only POST can be asked")
    if not url.startswith("/") or not url.isascii() or not url.isprintable() or any(c in url for c in " ?#\\"):
        raise InputError("'url' must be a path such as /v1/chat/completions")
    if system:
        if not isinstance(body.get("messages"), list):
            raise InputError("--system has no place in this body, which has no messages")
        body = {**body, "messages": [{"role": "system", "content": system}, *body["messages"]]}
    # Base URLs end in /v1 already.
    path = url.removeprefix("/v1") if url.startswith("/v1/") else url
    said = _last_said(body["messages"]) if isinstance(body.get("messages"), list) else body.get("input", "")
    return Rendered(body=body, path=path, label=label(_text(said)))


def _last_said(messages: list[Any]) -> str:
    """The text of the last user message, else of the last message."""
    said = [message for message in messages if isinstance(message, dict)]
    last = next((message for message in reversed(said) if message.get("role") == "user"), said[-1] if said else {})
    content = last.get("content")
    if isinstance(content, list):
        parts = [part.get("text") or f"[{part.get('type')}]" for part in content if isinstance(part, dict)]
        return " ".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def label(prompt: str) -> str:
    """One harmless line of at most ``LABEL`` characters."""
    line = inert(prompt[: 2 * LABEL].strip())
    return line if len(line) <= LABEL and len(prompt) <= 2 * LABEL else line[: LABEL - 1] + "…"
