"""The reasons for which an item waits, as the console says and paints them: one table for strip, sentence and help."""

from __future__ import annotations

from dataclasses import dataclass

from batchdeck.model import Reason


@dataclass(frozen=True, kw_only=True)
class Word:
    """One reason. ``title``, ``letters`` and ``glyph`` name it in ever less room, each like no other; the glyph is one
    cell in every terminal. ``ink``: a colour of the theme. ``by``: what holds the run, after “held by”."""

    title: str
    letters: str
    glyph: str
    ink: str
    by: str
    means: str


REASONS: dict[Reason, Word] = {
    "streaming": Word(title="streaming", letters="str", glyph="»", ink="$success 45%",
                      by="slow answers", means="in flight: its answer is coming"),
    "first_token": Word(title="first token", letters="1st", glyph="·", ink="$primary 45%",
                        by="slow first tokens", means="in flight: sent, no word of the answer yet"),
    "connecting": Word(title="connecting", letters="con", glyph="-", ink="$secondary 50%",
                       by="connections", means="in flight: a connection is being opened"),
    "store": Word(title="store", letters="sto", glyph="=", ink="$secondary 25%",
                  by="the disk", means="answered, and not yet on the disk; or held because the disk is behind"),
    "cooldown": Word(title="cooldown", letters="cool", glyph="×", ink="$error 50%",
                     by="429s", means="a 429 holds every request of this account until the time it named"),
    "backoff": Word(title="backoff", letters="back", glyph="~", ink="$error 25%",
                    by="items in backoff", means="this item failed once and is tried again after a pause of its own"),
    "rpm": Word(title="rpm", letters="rpm", glyph="|", ink="$warning 45%",
                by="RPM", means="the account's requests a minute are used up"),
    "tpm": Word(title="tpm", letters="tpm", glyph=":", ink="$accent 60%",
                by="TPM", means="the account's tokens a minute are used up; the next request would go over"),
    "daily": Word(title="daily", letters="day", glyph="%", ink="$warning 25%",
                  by="the daily limit", means="the account's requests or tokens of the day are used up"),
    "breaker": Word(title="breaker", letters="brk", glyph="!", ink="$error 75%",
                    by="the provider's outage", means="the provider is down or out of quota; one request probes it"),
    "budget": Word(title="budget", letters="bud", glyph="$", ink="$accent 30%",
                   by="the budget", means="what is in flight may use the rest of the budget up"),
    "machine": Word(title="machine", letters="mach", glyph="#", ink="$secondary 75%",
                    by="this machine", means="this machine is too busy to send more"),
    "cap": Word(title="cap", letters="cap", glyph="+", ink="$foreground 14%",
                by="the cap", means="behind the concurrency: + sends more at a time"),
    "input": Word(title="input", letters="in", glyph="<", ink="$primary 20%",
                  by="the input", means="the input is still being read"),
    "sweep": Word(title="sweep", letters="swp", glyph="^", ink="$accent 55%",
                  by="the sweep", means="a level of a sweep is measured; the next one begins when it has ended"),
    "paused": Word(title="paused", letters="pau", glyph="‖", ink="$foreground 26%",
                   by="a pause", means="somebody paused the run; space goes on"),
    "stopping": Word(title="stopping", letters="end", glyph="■", ink="$foreground 38%",
                     by="its end", means="the run is ending and sends nothing new"),
}  # fmt: skip
"""In the order in which the strip shows them: what is in flight first."""
