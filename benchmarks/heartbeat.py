"""The console with a heart that beats beside it: ``heartbeat.py RUN_FILE FIGURES`` writes how late its beats were."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from batchdeck_tui.app import BatchdeckApp

BEAT = 0.005
"""Seconds between two beats."""
WARM = 600
"""Beats before those that count."""


async def main(run: Path, figures: Path) -> None:
    app = BatchdeckApp(run)
    late: list[float] = []
    beats = asyncio.create_task(beat(late))
    await app.run_async()
    beats.cancel()
    found = sorted(late[WARM:])
    at = {f"p{share:g}": found[int(len(found) * share / 100)] for share in (50, 90, 99)} if found else {}
    figures.write_text(json.dumps({"beats": len(found), **at, "most": found[-1] if found else None}))


async def beat(late: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + BEAT
        await asyncio.sleep(BEAT)
        late.append(loop.time() - due)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN_FILE")
    parser.add_argument("figures", type=Path, metavar="FIGURES")
    given = parser.parse_args()
    asyncio.run(main(given.run, given.figures))
