"""batchdeck: launch batch LLM runs, watch them live, lose nothing, resume them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchdeck.version import __version__

if TYPE_CHECKING:
    from batchdeck.api import WorkerError, run_batch

__all__ = ["WorkerError", "__version__", "run_batch"]


def __getattr__(name: str) -> Any:
    """The Python API, loaded when it is first asked for: every command imports this package."""
    if name in ("WorkerError", "run_batch"):
        from importlib import import_module

        return getattr(import_module("batchdeck.api"), name)
    raise AttributeError(f"module 'batchdeck' has no attribute '{name}'")
