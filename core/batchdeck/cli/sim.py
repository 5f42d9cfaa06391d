"""``batchdeck sim``: the simulated provider as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from typing import Any, get_args

import click

from batchdeck.errors import BatchdeckError
from batchdeck.process import allow_open_files
from batchdeck.sim.options import FAULTS, Shape, SimOptions, Style, build, parse_faults

_DEFAULTS = SimOptions()

_EPILOG = f"""
\b
Examples:
  batchdeck sim
      a provider without limits on any free port
  batchdeck sim --port 8377 --rpm 600 --tpm 60000
      an account quota: x-ratelimit-* headers, 429 and Retry-After beyond it
  batchdeck sim --latency-ms 50 --seed 7
      every response takes exactly 50 ms
  batchdeck sim --slots 16
      a server of one's own: 16 answers at a time, others wait, and it never says 429
  batchdeck sim --slots 16 --backlog 0 --no-retry-after
      a hard limit: the 17th request at a time is a 429 that does not say when to come again
  batchdeck sim --contention 0.02 --coherency 0.0004
      each answer slows the others: most items a second at about 50 at once
  batchdeck sim --rpm 600 --shape fixed --headers none --no-retry-after
      a quota that begins anew each minute, and not a word about it
  batchdeck sim --rpm 600 --stranger 0.5 --shrink-at 300 --shrink-to 0.3
      somebody else uses half of it; after 5 minutes only 30 % of it is left
  batchdeck sim --down-at 60 --down-for 120 --down refuse
      an outage: connections break from second 60 on, for two minutes
  batchdeck sim --fault 500=0.02 --fault hang=0.005
      2 % of the answers are a 500, 0.5 % never come

\b
Faults:
{chr(10).join(f"  {name:<9} {meaning}" for name, meaning in FAULTS.items())}

\b
While it runs:
  curl http://127.0.0.1:PORT/sim/stats
  curl http://127.0.0.1:PORT/sim/options -d '{{"latency_ms": 200}}'
  curl http://127.0.0.1:PORT/sim/release -X POST
"""


@click.command("sim", epilog=_EPILOG, context_settings={"max_content_width": 100})
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; by default any free one.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same answers.")
@click.option("--latency-ms", type=float, help="Each whole response takes exactly this long.")
@click.option("--ttft-ms", type=float, default=_DEFAULTS.ttft_ms, show_default=True, help="Median time to first token.")
@click.option(
    "--token-rate", type=float, default=_DEFAULTS.token_rate, show_default=True, help="Median tokens a second."
)
@click.option(
    "--answer-tokens", type=float, default=_DEFAULTS.answer_tokens, show_default=True, help="Median answer length."
)
@click.option("--slots", type=int, help="Answers made at once; others wait for a slot, as at vLLM or Ollama.")
@click.option(
    "--backlog", type=int, help="How many may wait for a slot; beyond that a request is refused. By default any number."
)
@click.option(
    "--contention",
    type=float,
    default=0.0,
    help="How much slower each other answer makes one, as a share of its time, e.g. 0.02.",
)
@click.option("--coherency", type=float, default=0.0, help="The same for each pair of answers, e.g. 0.0004.")
@click.option("--rpm", type=float, help="Account quota: requests a minute.")
@click.option("--tpm", type=float, help="Account quota: tokens a minute, prompts and answers.")
@click.option("--input-tpm", type=float, help="Account quota: tokens of prompts a minute.")
@click.option("--output-tpm", type=float, help="Account quota: tokens of answers a minute.")
@click.option("--rpd", type=float, help="Account quota: requests a day, counted from the start.")
@click.option("--tpd", type=float, help="Account quota: tokens a day, counted from the start.")
@click.option(
    "--shape",
    type=click.Choice(get_args(Shape)),
    default=_DEFAULTS.shape,
    show_default=True,
    help="How a minute is counted: a bucket that refills, the last 60 s, or one minute after the other.",
)
@click.option(
    "--burst",
    type=float,
    default=_DEFAULTS.burst,
    show_default=True,
    help="Of a bucket: share of a minute's quota that may be used at once.",
)
@click.option("--window-offset", type=float, default=0.0, help="Of fixed minutes: seconds until the first begins.")
@click.option(
    "--headers",
    type=click.Choice(get_args(Style)),
    default=_DEFAULTS.headers,
    show_default=True,
    help="Whose rate-limit headers to send.",
)
@click.option("--retry-after/--no-retry-after", default=True, help="Whether a 429 says how long to wait.")
@click.option("--stranger", type=float, default=0.0, help="Share of the minute quotas that somebody else uses.")
@click.option("--shrink-at", type=float, metavar="SECONDS", help="The quota shrinks so long after the start.")
@click.option(
    "--shrink-to", type=float, default=_DEFAULTS.shrink_to, show_default=True, help="To what share of itself."
)
@click.option("--down-at", type=float, metavar="SECONDS", help="An outage begins so long after the start.")
@click.option(
    "--down-for",
    type=float,
    metavar="SECONDS",
    default=_DEFAULTS.down_for,
    show_default=True,
    help="How long it lasts.",
)
@click.option(
    "--down",
    type=click.Choice(("503", "refuse")),
    default=_DEFAULTS.down,
    show_default=True,
    help="What a request meets then: status 503, or a connection that is reset.",
)
@click.option(
    "--out-of-money-at",
    type=float,
    metavar="SECONDS",
    help="The account is out of money so long after the start: 429 insufficient_quota.",
)
@click.option(
    "--out-of-money-for",
    type=float,
    metavar="SECONDS",
    default=_DEFAULTS.out_of_money_for,
    show_default=True,
    help="Until somebody pays.",
)
@click.option(
    "--fault", "faults", multiple=True, metavar="NAME=RATE", help="Share of answers that fail so; repeatable."
)
@click.option("--require-key", metavar="VAR", help="Clients must send the key that this environment variable holds.")
@click.option("--hold", is_flag=True, help="Answers wait after their first words until POST /sim/release.")
@click.option("--echo", is_flag=True, help="Answer with the whole prompt.")
@click.option("--exit-with-parent", is_flag=True, hidden=True, help="End when stdin does.")
def command(port: int, faults: tuple[str, ...], exit_with_parent: bool, **given: Any) -> None:
    """A simulated OpenAI-compatible provider on loopback, to try things out on without a key and without cost.

    Its first line of output is its base URL. Ctrl+C ends it.
    """
    options = build({**given, "faults": parse_faults(faults)})
    allow_open_files()
    from batchdeck.sim.timers import fine_loop

    with asyncio.Runner(loop_factory=fine_loop) as runner:
        runner.run(_serve(options, port, exit_with_parent))


async def _serve(options: SimOptions, port: int, exit_with_parent: bool) -> None:
    from batchdeck.sim.server import SimServer

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if exit_with_parent:
        threading.Thread(target=_await_end_of_stdin, args=(loop, stop), daemon=True).start()
    async with SimServer(options, port=port) as sim:
        print(sim.base_url, flush=True)
        await stop.wait()


def _await_end_of_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Whoever holds the other end of stdin has ended, however that came about."""
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass  # no stdin at all: the same as its end
    loop.call_soon_threadsafe(stop.set)


if __name__ == "__main__":
    try:
        command()
    except BatchdeckError as error:
        click.echo(f"batchdeck: {error}", err=True)
        sys.exit(error.exit_code)
