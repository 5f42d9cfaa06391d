"""The providers that batchdeck knows by name: where they are, where their key is, and what they do differently."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from batchdeck.errors import UsageError
from batchdeck.model import RunConfig


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One provider of the OpenAI protocol. ``base_url`` holds everything before ``/chat/completions``."""

    name: str
    base_url: str = ""
    """Empty: known only when the run starts (``sim``, ``local``) or given by the user (``custom``)."""
    key_env: tuple[str, ...] = ()
    """Environment variables of the key, the first that is set counts."""
    base_url_env: str | None = None
    key_required: bool = False
    stream_options: bool = True
    """Whether ``stream_options.include_usage`` is understood; without it the usage comes by itself."""
    max_tokens_name: str = "max_tokens"
    total_holds_reasoning: bool = False
    """``completion_tokens`` leave the reasoning out, ``total_tokens`` hold it. It is billed as output."""
    prices: str | None = None
    """The provider's id in genai-prices."""


def _cloud(name: str, base_url: str, *key_env: str, **quirks: object) -> Preset:
    known = {"name": name, "base_url": base_url, "key_env": key_env, "key_required": True, "prices": name}
    return msgspec.convert(known | quirks, Preset)


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        _cloud(
            "openai",
            "https://api.openai.com/v1",
            "OPENAI_API_KEY",
            base_url_env="OPENAI_BASE_URL",
            # the reasoning models refuse max_tokens, the older models take both
            max_tokens_name="max_completion_tokens",
        ),
        _cloud("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", max_tokens_name="max_completion_tokens"),
        _cloud("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", base_url_env="TOGETHER_BASE_URL"),
        # refuses fields that it does not know with 422, and sends the usage unasked
        _cloud("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", stream_options=False),
        _cloud("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        _cloud("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
        _cloud("xai", "https://api.x.ai/v1", "XAI_API_KEY", prices="x-ai", total_holds_reasoning=True),
        _cloud(
            "gemini",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            "GEMINI_API_KEY",
            "GOOGLE_API_KEY",
            prices="google",
            total_holds_reasoning=True,
        ),
        Preset(
            name="ollama",
            base_url="http://127.0.0.1:11434/v1",
            key_env=("OLLAMA_API_KEY",),
            base_url_env="OLLAMA_HOST",
        ),
        Preset(name="vllm", base_url="http://127.0.0.1:8000/v1", key_env=("VLLM_API_KEY",)),
        Preset(name="llama.cpp", base_url="http://127.0.0.1:8080/v1", key_env=("LLAMA_API_KEY",)),
        Preset(name="sim"),
        Preset(name="local"),
        Preset(name="custom", key_env=("OPENAI_API_KEY",)),
    )
}
MANAGED = ("sim", "local")
"""Presets whose server batchdeck itself starts, see ``providers.managed``."""

_ALIASES = {"llamacpp": "llama.cpp", "llama-cpp": "llama.cpp", "google": "gemini", "x-ai": "xai", "grok": "xai"}


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run goes. ``base_url`` is empty for a managed provider until it is started.

    ``key_env``: the variable to take the key from, None when there is none to take.
    """

    name: str
    base_url: str
    key_env: str | None
    key_required: bool


def preset(name: str) -> Preset:
    """Raises ``UsageError`` naming the known ones."""
    lower = name.strip().lower()
    found = PRESETS.get(_ALIASES.get(lower, lower))
    if found is None:
        raise UsageError(f"unknown provider '{name}'; known are {', '.join(PRESETS)}, or give --base-url")
    return found


def resolve(provider: str | None, base_url: str | None, environ: Mapping[str, str]) -> Endpoint:
    """The endpoint that a person means by ``--provider`` and ``--base-url``. Raises ``UsageError``."""
    if provider:
        chosen = preset(provider)
    elif base_url:
        chosen = _by_host(clean_url(base_url, "--base-url"))
    elif environ.get("OPENAI_BASE_URL"):
        chosen = PRESETS["openai"]
    else:
        raise UsageError(f"say where to send: --provider NAME ({', '.join(PRESETS)}) or --base-url URL")
    url = _url(chosen, base_url, environ)
    if not url and chosen.name not in MANAGED:
        raise UsageError(f"--provider {chosen.name} needs --base-url")
    return Endpoint(
        name=chosen.name,
        base_url=url,
        key_env=next((name for name in chosen.key_env if environ.get(name)), next(iter(chosen.key_env), None)),
        # somebody's own server or proxy may want no key, or another one
        key_required=chosen.key_required and url == chosen.base_url,
    )


def endpoint_of(config: RunConfig) -> Endpoint:
    """The endpoint that a run was made for."""
    chosen = preset(config.provider)
    return Endpoint(
        name=chosen.name,
        base_url=config.base_url,
        key_env=config.key_env,
        key_required=chosen.key_required and config.base_url == chosen.base_url,
    )


def key(endpoint: Endpoint, environ: Mapping[str, str]) -> str | None:
    """The key to send, None when none is set and none is needed. Raises ``UsageError``, which never shows the key."""
    names = [endpoint.key_env] if endpoint.key_env else []
    names += [name for name in preset(endpoint.name).key_env if name not in names]
    for name in names:
        value = environ.get(name)
        if value:
            if not re.fullmatch(r"[\x21-\x7e]+", value):
                raise UsageError(
                    f"{name} holds a blank, a line break or a special character, so it is not a key; set it again"
                )
            return value
    if endpoint.key_required:
        raise UsageError(f"{endpoint.name} needs a key: set {' or '.join(names)}")
    return None


def clean_url(url: str, source: str) -> str:
    """A base URL as it is used: no slash at its end. source: who gave it, for the error. Raises ``UsageError``."""
    url = url.strip().rstrip("/").removesuffix("/chat/completions")
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise UsageError(f"{source}: '{_shown(url)}' is not an http(s) URL such as http://127.0.0.1:8000/v1")
    if "@" in parts.netloc:
        raise UsageError(f"{source} holds a user or password; put the key into an environment variable instead")
    if parts.query or parts.fragment:
        raise UsageError(f"{source}: '{_shown(url)}' must end before '?' and '#'")
    return url


def _shown(url: str) -> str:
    """A URL fit for an error: whatever could be a secret in it is left out."""
    return re.sub(r"//[^/]*@", "//…@", url.partition("?")[0])[:200]


def _url(chosen: Preset, base_url: str | None, environ: Mapping[str, str]) -> str:
    if base_url:
        return clean_url(base_url, "--base-url")
    given = environ.get(chosen.base_url_env, "") if chosen.base_url_env else ""
    if not given or chosen.base_url_env is None:
        return chosen.base_url
    if chosen.base_url_env == "OLLAMA_HOST":
        given = ollama_url(given)
    return clean_url(given, chosen.base_url_env)


def ollama_url(host: str) -> str:
    """``OLLAMA_HOST`` as a base URL: host, port or both, with or without a scheme; a bind-all address is loopback."""
    host = host.strip().rstrip("/")
    if "://" not in host:
        host = f"http://{host}" if not host.startswith(":") else f"http://127.0.0.1{host}"
    parts = urlsplit(host)
    name = parts.hostname or "127.0.0.1"
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(name, f"[{name}]" if ":" in name else name)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 11434)
    except ValueError:
        raise UsageError(f"OLLAMA_HOST: '{host}' has no port that is a number") from None
    path = parts.path if parts.path.endswith("/v1") else f"{parts.path}/v1"
    return f"{parts.scheme}://{name}:{port}{path}"


def _by_host(url: str) -> Preset:
    """A known provider's own host, given as a URL, is that provider: its key and its quirks count."""
    host = urlsplit(url).hostname
    for known in PRESETS.values():
        if known.key_required and urlsplit(known.base_url).hostname == host:
            return known
    return PRESETS["custom"]
