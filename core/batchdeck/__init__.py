"""batchdeck: launch batch LLM runs, watch them live, lose nothing, resume them."""

from __future__ import annotations

__version__ = "0.1.0"
