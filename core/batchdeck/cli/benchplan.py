"""What ``batchdeck bench`` is to measure: its levels, and whether the input has the items for them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from batchdeck import config as places
from batchdeck.cli.sweeps import BATCH, LEVELS
from batchdeck.errors import UsageError
from batchdeck.model import RunConfig

MODES: dict[str, tuple[tuple[int, ...], int]] = {
    "simple": ((1, 4), 8),
    "large": ((10,), 150),
    "rate-limited": ((5,), 50),
    "benchmark": (LEVELS, BATCH),
}
"""Levels, and items a level."""
COUNTS = (10, 50, 100, 200)
BUILT_IN = 1_200
"""Prompts of ours, for a simulated provider."""
SIM: dict[str, Any] = {"latency_ms": 500}
SIM_LIMITED: dict[str, Any] = {"latency_ms": 500, "rpm": 300, "burst": 0.05, "headers": "none"}
"""As the account of ``--mode rate-limited`` is simulated."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``levels``: (concurrency, items). ``fewer``: whether a level may have fewer items when the input is short."""

    levels: tuple[tuple[int, int], ...]
    fewer: bool

    @property
    def items(self) -> int:
        return sum(items for _, items in self.levels)


def planned(
    mode: str | None, levels: Sequence[int] | None, batch: int | None, most: int | None, *, table: bool
) -> Plan:
    """The levels that the options ask for. Raises ``UsageError``."""
    if table:
        if mode or levels or batch or most:
            raise UsageError("--table has levels and numbers of items of its own; give it alone")
        return Plan(levels=tuple((cap, items) for items in COUNTS for cap in LEVELS), fewer=False)
    own, items = MODES[mode or "benchmark"]
    if levels is None and most is not None:
        # The mode's highest level is so many instead.
        levels = [*(cap for cap in own[:-1] if cap < most), most]
    elif levels is not None and most is not None and max(levels) > most:
        raise UsageError(f"--levels goes up to {max(levels):,}, and --max-concurrent allows {most:,}")
    caps = levels or own
    top = max(caps)
    if batch is not None and batch < top:
        raise UsageError(f"{top:,} at once needs {top:,} items at least, and --batch-size is {batch:,}")
    return Plan(levels=tuple((cap, batch or max(items, top)) for cap in caps), fewer=batch is None)


def fitted(plan: Plan, there: int, name: str) -> tuple[Plan, bool]:
    """The plan as far as the input goes, and whether an item is left to warm up with. Raises ``UsageError``.

    there: items that can be sent; counted up to one more than the plan takes.
    """
    if there >= plan.items:
        return plan, there > plan.items
    each, top = (there - 1) // len(plan.levels), max(cap for cap, _ in plan.levels)
    if plan.fewer and 1 <= each < top:
        raise UsageError(
            f"{name} has {there:,} items to send: {each:,} a level, and {top:,} at once needs {top:,} at least"
            " (every item is sent once only)"
        )
    if plan.fewer and each >= 1:
        return Plan(levels=tuple((cap, each) for cap, _ in plan.levels), fewer=True), True
    mend = f"; --batch-size {each} would fit" if each >= top and len({items for _, items in plan.levels}) == 1 else ""
    raise UsageError(
        f"{name} has {there:,} items to send, and {len(plan.levels)} levels take {plan.items:,}{mend}"
        " (every item is sent once only)"
    )


def counted(config: RunConfig, most: int) -> int:
    """How many items of the input can be sent, up to ``most``. No more is read than that takes."""
    from batchdeck.inputs.base import SourceState
    from batchdeck.inputs.check import render_row
    from batchdeck.inputs.open import open_input
    from batchdeck.prompts import Prompts

    source = open_input(config.input, config.input_format)
    prompts = Prompts(config.prompt, config.system, source.columns)
    rows = islice(source.rows(SourceState()), config.limit)
    good = (row for row in rows if render_row(row, prompts, source.name)[1] is None)
    return sum(1 for _ in islice(good, most))


def write_prompts() -> Path:
    """A list of our own, for a provider that makes its answers up."""
    from batchdeck.cli.demo import prompts

    folder = places.home() / "bench"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"prompts-{BUILT_IN}.jsonl"
    rows = prompts(BUILT_IN)
    for number, row in enumerate(rows):
        # The demo's pairs come to an end; no prompt is to be asked twice.
        row["prompt"] += f" (No. {number + 1})"
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return path


def simulated(given: dict[str, Any]) -> dict[str, Any]:
    """The same with prompts of our own, and a simulated account to fit where none is described."""
    if given["provider"] != "sim" or given["base_url"]:
        raise UsageError("name an INPUT; only 'batchdeck bench --provider sim' brings prompts of its own")
    options = SIM_LIMITED if given["mode"] == "rate-limited" else SIM
    own = given["sim_option"] or tuple(f"{name}={value}" for name, value in options.items())
    return {**given, "input": str(write_prompts()), "sim_option": own}


def check_files(plan: Plan) -> None:
    from batchdeck.daemon import OWN_FILES
    from batchdeck.process import allow_open_files

    most = allow_open_files() - OWN_FILES
    top = max(cap for cap, _ in plan.levels)
    if top > most:
        raise UsageError(f"{top:,} at once is more than this process may open files for ({most:,}): ulimit -n")
