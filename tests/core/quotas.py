"""A run that is started far too wide for its quota, under virtual time: how near it comes, and how politely."""

from __future__ import annotations

import asyncio
import math
import random
from pathlib import Path
from typing import Any

import msgspec

from batchdeck.sim.options import SimOptions
from tests.core.simulated import Rig, virtually

SETTLED = 30.0
"""Seconds that a run has to find its quota."""
SHAPES = ("bucket", "sliding", "fixed")
TWISTS = ("plain", "stranger", "shrinking")
METERS = ("requests", "tokens", "both")


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One provider. ``headers``: whether its answers tell its limits; ``told``: whether a 429 says how long to wait."""

    seed: int
    shape: str
    twist: str = "plain"
    meter: str = "requests"
    headers: bool = True
    told: bool = True
    minutes: float = 10.0

    def __str__(self) -> str:
        words = [self.shape, self.twist, self.meter, "headers" if self.headers else "silent"]
        return "-".join([*words, *([] if self.told else ["untold"]), str(self.seed)])


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """After the first 30 s: what was let in of what could have been, and the share of 429s among all that was sent."""

    share: float
    refused: int
    sent: int
    seconds: float

    @property
    def refused_share(self) -> float:
        return self.refused / self.sent if self.sent else 0.0

    @property
    def is_good(self) -> bool:
        return self.share >= 0.95 and (self.refused_share <= 0.01 or self.refused <= 2)

    @property
    def is_fair(self) -> bool:
        """What is asked where no header tells."""
        return self.share >= 0.85 and (self.refused_share <= 0.05 or self.refused <= 2)


def provider(case: Case) -> tuple[SimOptions, int]:
    """What the case's provider is like, and how wide the run is started. Drawn from the seed."""
    rng = random.Random(f"{case}")
    rpm = rng.choice([120.0, 180.0, 240.0, 360.0, 600.0])
    tokens = rng.choice([6.0, 12.0, 24.0])
    # About 15 tokens of a prompt, and the mean of the simulator's answers is above their median.
    tpm = rpm * (15 + 1.2 * tokens)
    options: dict[str, Any] = {
        "seed": case.seed,
        "shape": case.shape,
        "ttft_ms": rng.choice([80.0, 300.0, 900.0]),
        "token_rate": rng.choice([30.0, 100.0]),
        "answer_tokens": tokens,
        "burst": rng.choice([0.1, 0.5, 1.0]),
        "window_offset": rng.choice([0.0, 17.0, 41.0]),
        "headers": "openai" if case.headers else "none",
        "retry_after": case.told,
    }
    if case.meter in ("requests", "both"):
        options["rpm"] = rpm
    if case.meter in ("tokens", "both"):
        options["tpm"] = tpm
    if case.twist == "stranger":
        options["stranger"] = rng.choice([0.2, 0.5])
    if case.twist == "shrinking":
        options |= {"shrink_at": 240.0, "shrink_to": rng.choice([0.3, 0.6])}
    return SimOptions(**options), rng.choice([64, 128, 300])


def spans(case: Case, options: SimOptions) -> list[tuple[float, float]]:
    """When it is measured: from 30 s on, but for the one minute and a half in which a quota that shrank is found anew.

    With fixed windows from one window's beginning to another's end: half a window tells nothing.
    """
    found = [(SETTLED, case.minutes * 60)]
    if options.shrink_at is not None:
        found = [(SETTLED, options.shrink_at), (options.shrink_at + 90.0, case.minutes * 60)]
    if case.shape != "fixed":
        return found
    phase = -options.window_offset % 60
    return [
        (math.ceil((begin - phase) / 60) * 60 + phase, math.floor((end - phase) / 60) * 60 + phase)
        for begin, end in found
    ]


def play(path: Path, case: Case) -> Outcome:
    """Run the real engine against it for so many minutes; it never comes to its end."""
    options, width = provider(case)
    measured = spans(case, options)

    async def main() -> Outcome:
        most = (options.rpm or options.tpm or 0) * (case.minutes + 2) / (1 if options.rpm else 15)
        rig = Rig(path, int(most) + width, options, seed=case.seed, concurrency=width, stream=case.seed % 4 != 3)
        run = rig.loop.create_task(rig.engine.run())
        quota, tally = rig.sim.model.quota, rig.tally
        got = [0.0, 0.0]
        free = [0.0, 0.0]
        refused = sent = 0
        for begin, end in measured:
            await asyncio.sleep(begin - rig.loop.time())
            before = (quota.accepted_requests, quota.accepted_tokens, tally.by_status[429], tally.requests)
            await asyncio.sleep(end - rig.loop.time())
            got[0] += quota.accepted_requests - before[0]
            got[1] += quota.accepted_tokens - before[1]
            refused += tally.by_status[429] - before[2]
            sent += tally.requests - before[3]
            for place, spare in enumerate(quota.share_left(begin, end)):
                free[place] += spare or 0.0
        assert not run.done(), f"{case}: there was too little to send: {rig.engine!r}, {rig.engine.message}"
        rig.engine.steer.cancel()
        await run
        await rig.close()
        # The scarcer one is what could be used up.
        share = max(taken / spare for taken, spare in zip(got, free, strict=True) if spare)
        return Outcome(share=share, refused=refused, sent=sent, seconds=sum(end - begin for begin, end in measured))

    outcome: Outcome = virtually(main)
    return outcome
