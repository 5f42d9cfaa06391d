"""The command line: one verb a file, each loaded when it is used."""

from __future__ import annotations

import importlib
import sys

import click

from batchdeck.cli.consoleoptions import console_options
from batchdeck.version import __version__

VERBS = {
    "run": "Launch a batch: prompts from a file, answers into a run file.",
    "resume": "Go on with a run that was drained, cancelled or interrupted.",
    "watch": "Open the console on a run.",
    "web": "The console in a browser, on this machine.",
    "ctl": "Steer a run that is going: limits, budgets, pause, drain, retry, status.",
    "bench": "Measure which concurrency is best, on part of an input.",
    "models": "List the models that an endpoint offers.",
    "ls": "List the runs known here.",
    "show": "Show one run, or one item of it.",
    "label": "Give a run a name and tags, or take them away.",
    "rm": "Delete runs.",
    "export": "Write a run's results as JSONL or CSV.",
    "demo": "See it work: a simulated provider with a rate limit, 500 prompts.",
    "sim": "Start the simulated provider on loopback.",
}
HIDDEN = {"_engine": "engine"}


class Verbs(click.Group):
    """Knows its verbs by name and imports one only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS and cmd_name not in HIDDEN:
            return None
        module = importlib.import_module(f"batchdeck.cli.{HIDDEN.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="batchdeck")
@console_options
@click.pass_context
def root(ctx: click.Context) -> None:
    """The terminal console for batch LLM runs.

    Without a command it opens the console on the list of runs. The options are for the console, whichever command opens
    it, and are kept when they are turned there (comma).

    \b
    Examples:
      batchdeck demo
      batchdeck run prompts.jsonl --provider openai --model gpt-4o-mini --prompt "Translate: {{text}}"
      batchdeck watch
      batchdeck export prompts --to csv -o answers.csv
    """
    if ctx.invoked_subcommand is None:
        if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
            click.echo(ctx.get_help())
            return
        from batchdeck.cli.watch import open_console

        open_console(None)
