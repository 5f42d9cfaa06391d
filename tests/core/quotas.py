"""A run started far too wide against a provider with a quota, under virtual time: how near it comes, and how politely."""

from __future__ import annotations

import asyncio
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
    minutes: float = 5.0

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
        "burst": rng.choice([0.05, 0.1, 0.5, 1.0]),
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
        options |= {"shrink_at": 100.0, "shrink_to": rng.choice([0.3, 0.6])}
    return SimOptions(**options), rng.choice([64, 128, 300])


def play(path: Path, case: Case) -> Outcome:
    """Run the real engine against it for so many minutes; it never comes to its end."""
    options, width = provider(case)

    async def main() -> Outcome:
        most = (options.rpm or options.tpm or 0) * (case.minutes + 2) / (1 if options.rpm else 15)
        rig = Rig(path, int(most) + width, options, seed=case.seed, concurrency=width, stream=case.seed % 4 != 3)
        run = rig.loop.create_task(rig.engine.run())
        quota, end = rig.sim.model.quota, case.minutes * 60
        await asyncio.sleep(SETTLED)
        before = (quota.accepted_requests, quota.accepted_tokens, rig.tally.by_status.get(429, 0), rig.tally.requests)
        await asyncio.sleep(end - SETTLED)
        requests, tokens = quota.accepted_requests - before[0], quota.accepted_tokens - before[1]
        assert not run.done(), "there was too little to send"
        free = quota.share_left(SETTLED, end)
        shares = [got / all_of_it for got, all_of_it in zip((requests, tokens), free, strict=True) if all_of_it]
        refused = rig.tally.by_status.get(429, 0) - before[2]
        sent = rig.tally.requests - before[3]
        rig.engine.steer.cancel()
        await run
        await rig.close()
        # The scarcer one is what could be used up.
        return Outcome(share=max(shares), refused=refused, sent=sent, seconds=end)

    outcome: Outcome = virtually(main)
    return outcome
