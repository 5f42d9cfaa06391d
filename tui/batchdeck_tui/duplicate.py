"""A run's settings as the launch form takes them, so that one like it can be launched with changes."""

from __future__ import annotations

from batchdeck.model import RunConfig
from batchdeck_tui.plan import CUSTOM, PROVIDERS, Plan


def plan_of(config: RunConfig) -> Plan:
    """What the form shows for a run like this one. What was sent to an address of one's own is sent there again."""
    is_started_here = config.managed is not None and config.provider in PROVIDERS
    prompt = config.prompt or ""
    return Plan(
        file=config.input,
        prompt=f"@{prompt}" if prompt.startswith("@") else prompt,
        system=config.system or "",
        provider=config.provider if is_started_here else CUSTOM,
        base_url="" if is_started_here else config.base_url,
        model=config.model,
        concurrency="auto" if config.autotune.is_on else str(config.concurrency),
        limit="" if config.limit is None else str(config.limit),
    )
