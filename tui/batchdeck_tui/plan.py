"""What a person fills in to launch a run, as the command line that does it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from os.path import expanduser
from typing import Any

import msgspec
from textual.content import Content

from batchdeck.inert import inert, inert_lines
from batchdeck_tui.theme import MUTED

CUSTOM = "custom base URL"
PROVIDERS = (
    "sim",
    "openai",
    "groq",
    "together",
    "mistral",
    "openrouter",
    "deepseek",
    "xai",
    "gemini",
    "ollama",
    "vllm",
    "llama.cpp",
    "local",
    CUSTOM,
)


MODELS = {"sim": "sim"}
"""The model of a provider that has but one."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The fields of the form, as typed. ``prompt`` that begins with ``@`` names a file with the template."""

    file: str = ""
    prompt: str = ""
    system: str = ""
    provider: str = "sim"
    base_url: str = ""
    model: str = ""
    concurrency: str = ""
    limit: str = ""

    @property
    def missing(self) -> str:
        """What must still be filled in, as a sentence; empty when nothing must."""
        if not self.file:
            return "Name a file of prompts: .jsonl, .csv, or .txt with a prompt a line"
        if self.file == "-":
            return "Standard input is the keyboard here: name a file of prompts"
        if self.prompt == "@":
            return "Name the file with the template behind the @"
        if self.provider == CUSTOM and not self.base_url:
            return "Give the base URL, with its /v1"
        return ""

    def arguments(self) -> list[str]:
        """``batchdeck``'s arguments that launch this run."""
        where = ["--base-url", self.base_url] if self.provider == CUSTOM else ["--provider", self.provider]
        # A name that begins with a dash would be taken for an option.
        file = f"./{self.file}" if self.file.startswith("-") else self.file
        words = ["run", file, *where, *(["--model", self.model] if self.model else [])]
        if self.prompt:
            template = self.prompt.removeprefix("@")
            words += ["--prompt", template] if template == self.prompt else ["--prompt-file", expanduser(template)]
        for option, value in (("--system", self.system), ("--concurrency", self.concurrency), ("--limit", self.limit)):
            if value:
                words += [option, value]
        return words

    def command(self) -> str:
        """The same, to paste into a shell."""
        return shlex.join(["batchdeck", *(word or "…" for word in self.arguments())])


def describe(printed: dict[str, Any]) -> Content:
    """What ``run --dry-run --json`` found, for the preview pane. Nothing of it is markup."""
    bad = int(printed.get("bad") or 0)
    parts: list[Content | str | tuple[str, str]] = [(f"{int(printed.get('items') or 0):,} items", "bold $success")]
    if bad:
        parts.append((f"   {bad:,} bad line{'s' * (bad > 1)}", "bold $warning"))
    columns = printed.get("columns") or []
    if columns:
        parts.append((f"   columns {inert(', '.join(map(str, columns)))}", MUTED))
    parts.append("\n")
    for line in (printed.get("bad_lines") or [])[:3]:
        parts.append((f"{inert(str(line.get('error', line)))}\n", "$warning"))
    request = printed.get("request")
    if request is not None:
        parts.append((f"\nfirst request  POST {inert(str(printed.get('url', '')))}\n", MUTED))
        parts.append(Content(inert_lines(readable(request))))
    return Content.assemble(*parts)


def readable(request: Any) -> str:
    """A request body as a person reads it: indented, its messages as text."""
    if not isinstance(request, dict):
        return str(request)
    rest = dict(request)
    lines: list[str] = []
    messages = rest.pop("messages", None)
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict):
            content = message.get("content")
            text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
            lines.append(f"[{message.get('role', '?')}] {text}")
    for name, value in rest.items():
        lines.append(f"{name}: {value if isinstance(value, str) else msgspec.json.encode(value).decode()}")
    return "\n".join(lines)
