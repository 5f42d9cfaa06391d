"""A run's settings as the launch form takes them, so that one like it can be launched with changes."""

from __future__ import annotations

import json
import shlex
from pathlib import PurePath

from batchdeck import settings
from batchdeck.model import RunConfig
from batchdeck_tui.plan import CUSTOM, OPTIONS, PROVIDERS, Plan

LEFT_OUT = ("concurrency", "deadline")
"""Settings that the form has otherwise, or that are of that one run."""

TOLD = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv", ".txt": "text"}
"""Formats that a file's name tells; of any other name the format is said."""


def plan_of(config: RunConfig) -> Plan:
    """What the form shows for a run like this one, which is sent where it was sent."""
    is_known = config.provider in PROVIDERS
    prompt = config.prompt or ""
    usual = RunConfig(name="", input="", input_format=None, model="", provider="")
    fields = {
        "system": config.system or "",
        "concurrency": "auto" if config.autotune.is_on else str(config.concurrency),
        "limit": _number(config.limit),
        "max_tokens": _number(config.max_tokens),
        "max_wait": _number(config.max_wait),
        "price": "/".join(map(_number, config.price)) if config.price is not None else "",
        **({"max_retries": str(config.max_retries)} if config.max_retries != usual.max_retries else {}),
    }
    for name, field in (
        ("connect_timeout", "connect"), ("first_token_timeout", "first_token"),
        ("idle_timeout", "idle"), ("timeout", "total"),
    ):  # fmt: skip
        if getattr(config.limits, field) != getattr(usual.limits, field):
            fields[name] = _number(getattr(config.limits, field))
    other: list[str] = []
    at_first = settings.read(usual)
    for name, value in settings.read(config).items():
        if value is None or value == at_first[name] or name in LEFT_OUT:
            continue
        if name in OPTIONS:
            fields[name] = settings.show(name, value)
        else:
            other.append(f"--{name.replace('_', '-')}={settings.show(name, value)}")
    other += [f"--param={name}={json.dumps(value, ensure_ascii=False)}" for name, value in config.params.items()]
    other += [f"--header={name}: {value}" for name, value in config.headers.items()]
    for name, value in (config.managed or {}).items():
        if name == "model_path":
            other.append(f"--model-path={value}")
        else:
            other.append(f"--sim-option={name}={json.dumps(value, ensure_ascii=False)}")
    if is_known and config.managed is None and config.base_url:
        other.append(f"--base-url={config.base_url}")
    if config.input_format is not None and TOLD.get(PurePath(config.input).suffix.lower()) != config.input_format:
        other.append(f"--input-format={config.input_format}")
    other += ["--strict"] * config.strict + ["--no-stream"] * (not config.stream)
    return Plan(
        file=config.input,
        prompt=f"@{prompt}" if prompt.startswith("@") else prompt,
        provider=config.provider if is_known else CUSTOM,
        base_url="" if is_known else config.base_url,
        model=config.model,
        other=shlex.join(other),
        **fields,
    )


def _number(value: float | None) -> str:
    return "" if value is None else str(value).removesuffix(".0")
