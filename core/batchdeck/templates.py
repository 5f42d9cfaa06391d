"""One sandboxed Jinja template over the columns of a row. Values are data: what is in them is never a template.

The template is the user's own, so the sandbox guards against slips (a loop that never ends in sight, a string times a
billion), not against an enemy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jinja2
import msgspec
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from batchdeck.errors import InputError, UsageError

MAX_OUTPUT = 4 * 1024 * 1024
"""Characters that one row may render to."""
ROW = "row"
"""The name of the whole row in a template, for columns whose names are no identifiers: ``{{ row["first name"] }}``."""


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and not (abs(left) < 10_000 and abs(right) < 1_000):
            raise OverflowError("the power is too large")
        if operator == "*":
            for text, times in ((left, right), (right, left)):
                if isinstance(text, str | list | tuple) and isinstance(times, int) and len(text) * times > MAX_OUTPUT:
                    raise OverflowError("the product is too long")
        return super().call_binop(context, operator, left, right)


def _as_text(value: Any) -> Any:
    """What ``{{ value }}`` puts out: JSON values as JSON, not as Python writes them; null as nothing."""
    if isinstance(value, str | jinja2.Undefined):
        return value
    if value is None:
        return ""
    if isinstance(value, bool | dict | list | tuple):
        return msgspec.json.encode(value).decode()
    return value


_ENVIRONMENT = _Environment(
    undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_as_text, cache_size=0
)
_ENVIRONMENT.globals.pop("lipsum")


class Template:
    """Compiled once, rendered for every row.

    ``names``: the columns it reads; ``needed``: those of them that it reads without ``default`` or ``is defined``.
    """

    def __init__(self, text: str, what: str) -> None:
        """what: how a message calls it, e.g. ``--prompt``. Raises ``UsageError`` for a template that does not parse."""
        self._what = what
        try:
            tree = _ENVIRONMENT.parse(text)
            self.names = frozenset(meta.find_undeclared_variables(tree)) - set(_ENVIRONMENT.globals) - {ROW}
            self.needed = self.names - set(_guarded(tree))
            self._template = _ENVIRONMENT.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise UsageError(f"{what} is not a valid template: {error.message} (line {error.lineno})") from error
        except RecursionError as error:
            raise UsageError(f"{what} is not a valid template: nested too deeply") from error

    def render(self, fields: Mapping[str, Any]) -> str:
        """The text for one row. Raises ``InputError`` with the reason."""
        pieces: list[str] = []
        size = 0
        try:
            context = self._template.new_context({ROW: fields, **fields})
            for piece in self._template.root_render_func(context):
                size += len(piece)
                if size > MAX_OUTPUT:
                    raise OverflowError(f"it becomes longer than {MAX_OUTPUT // (1 << 20)} MB")
                pieces.append(piece)
        except jinja2.UndefinedError as error:
            raise InputError(f"{self._what}: {error.message}; this row has {_listed(fields)}") from error
        except Exception as error:  # an expression of the user's may raise anything
            raise InputError(f"{self._what} cannot be rendered: {error or type(error).__name__}") from error
        return "".join(pieces)


def _listed(fields: Mapping[str, Any]) -> str:
    return ", ".join(fields) or "no columns"


def _guarded(tree: nodes.Template) -> Iterator[str]:
    """Names that the template itself asks about before it uses them."""
    for kind, words in ((nodes.Filter, ("default", "d")), (nodes.Test, ("defined", "undefined"))):
        for node in tree.find_all(kind):
            if node.name in words and isinstance(node.node, nodes.Name):
                yield node.node.name
