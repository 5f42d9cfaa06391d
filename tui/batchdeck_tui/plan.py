"""What a person fills in to launch a run, as the command line that does it."""

from __future__ import annotations

import json
import keyword
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from os.path import expanduser

CUSTOM = "custom base URL"
KEYS: dict[str, tuple[str, ...]] = {
    "sim": (),
    "openai": ("OPENAI_API_KEY",),
    "groq": ("GROQ_API_KEY",),
    "together": ("TOGETHER_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "ollama": ("OLLAMA_API_KEY",),
    "vllm": ("VLLM_API_KEY",),
    "llama.cpp": ("LLAMA_API_KEY",),
    "local": (),
}
"""The environment variables of each provider's key; the first that is set counts."""
KEYLESS = ("ollama", "vllm", "llama.cpp")
"""Providers that answer without one, too."""
PROVIDERS = (*KEYS, CUSTOM)
MODELS = {"sim": "sim"}
"""The model of a provider that has but one."""
OPTIONS = (
    "system", "concurrency", "limit", "rpm", "tpm", "max_cost", "price", "max_errors", "deadline", "max_tokens",
    "max_retries", "max_wait", "connect_timeout", "first_token_timeout", "idle_timeout", "timeout", "name",
)  # fmt: skip
"""Fields that are an option of ``batchdeck run`` of the same name."""
_TEMPLATE_WORDS = frozenset(
    ("true", "false", "none", "and", "or", "not", "if", "else", "in", "is", "self", "import", "recursive")
)
"""Names that mean something else inside a template."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The fields of the form, as typed.

    ``prompt`` that begins with ``@`` names a file with the template; ``@@`` is a template that begins with one ``@``.
    ``other``: more options of ``batchdeck run``, as in a shell.
    """

    file: str = ""
    prompt: str = ""
    system: str = ""
    provider: str = "sim"
    base_url: str = ""
    model: str = ""
    concurrency: str = ""
    limit: str = ""
    rpm: str = ""
    tpm: str = ""
    max_cost: str = ""
    price: str = ""
    max_errors: str = ""
    deadline: str = ""
    max_tokens: str = ""
    max_retries: str = ""
    max_wait: str = ""
    connect_timeout: str = ""
    first_token_timeout: str = ""
    idle_timeout: str = ""
    timeout: str = ""
    name: str = ""
    other: str = ""

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
        try:
            words = self.arguments()
        except ValueError:
            return "Other options: a quote is opened that is not closed"
        if any("\0" in word for word in words):
            return "A field holds a NUL character, which no command line can carry"
        return ""

    @property
    def endpoint(self) -> list[str]:
        """The options that say where to send."""
        return ["--base-url", self.base_url] if self.provider == CUSTOM else ["--provider", self.provider]

    def arguments(self) -> list[str]:
        """``batchdeck``'s arguments that launch this run. Raises ``ValueError`` for an open quote in ``other``."""
        words = ["run", self._input, *self.endpoint, *(["--model", self.model] if self.model else [])]
        if self.prompt.startswith("@") and not self.prompt.startswith("@@"):
            words += ["--prompt-file", expanduser(self.prompt[1:])]
        elif self.prompt:
            words += ["--prompt", self.prompt.removeprefix("@")]
        for name in OPTIONS:
            value = getattr(self, name)
            if value:
                words += [f"--{name.replace('_', '-')}", value]
        return [*words, *shlex.split(self.other)]

    def command(self) -> str:
        """The same, to paste into a shell."""
        return shlex.join(["batchdeck", *(word or "…" for word in self.arguments())])

    def look(self) -> list[str]:
        """Arguments that show the first rows of the file, whatever the other fields say."""
        return ["run", self._input, "--provider", "sim", "--prompt", ".", "--limit", "20", "--dry-run", "--json"]

    @property
    def _input(self) -> str:
        # A name that begins with a dash would be taken for an option.
        return f"./{self.file}" if self.file.startswith("-") else self.file


def placeholder(column: str) -> str:
    """What stands for a column in a template: ``{{ text }}``, ``{{ row["first name"] }}``."""
    plain = column.isidentifier() and column.isascii() and not keyword.iskeyword(column)
    if plain and column.lower() not in _TEMPLATE_WORDS:
        return f"{{{{ {column} }}}}"
    return f"{{{{ row[{json.dumps(column, ensure_ascii=False)}] }}}}"


def key_told(provider: str, environ: Mapping[str, str]) -> tuple[str, bool]:
    """Whether a provider's key is set, in words, and whether all is well; never the key."""
    names = KEYS.get(provider, ())
    if not names:
        return "", True
    found = next((name for name in names if environ.get(name)), None)
    if found is not None:
        return f"✓ {found} is set", True
    if provider in KEYLESS:
        return f"{names[0]} is not set, none is needed", True
    return f"✗ {' or '.join(names)} is not set", False
