"""Whether the engine turns the concurrency of a run by itself."""

from __future__ import annotations

from batchdeck.model import RunMeta, Snapshot


def is_auto(now: Snapshot | RunMeta) -> bool:
    """As its engine says it while there is one, else as its file has it for the next."""
    if isinstance(now, RunMeta):
        return now.config.autotune.is_on
    return now.tuning.is_on or now.settings.get("concurrency", 0.0) is None
