"""``batchdeck run``: launch a batch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from batchdeck import settings
from batchdeck.cli.options import (
    LIMITS,
    Price,
    Seconds,
    Sectioned,
    changes,
    check_price,
    checked_text,
    new_run_path,
    setting_options,
    split_headers,
    split_params,
    whole_path,
)
from batchdeck.errors import InputError, UsageError
from batchdeck.model import Launch, Limits, RunConfig

F = TypeVar("F", bound=Callable[..., Any])

VIEW = ("headless", "detach", "as_json", "follow", "quiet")
SECTIONS = {
    "Limits and budgets ('batchdeck ctl config' changes them while it runs)": (*LIMITS, "price"),
    "Errors and time limits": (
        "max_retries", "max_wait", "connect_timeout", "first_token_timeout", "idle_timeout", "timeout", "strict",
    ),
    "Where it is kept and how it is shown": ("db", "name", "dry_run", *VIEW, "metrics_port"),
}  # fmt: skip

metrics_option = click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    metavar="PORT",
    help="Serve /metrics for Prometheus on this port of 127.0.0.1; 0: any free one, named in the engine's log.",
)


def view_options(function: F) -> F:
    """How a run is shown: shared by ``run``, ``resume`` and ``demo``."""
    for option in (
        click.option("--quiet", is_flag=True, help="No progress on standard error."),
        click.option("--follow", is_flag=True, help="Headless: print each row as JSON as it settles."),
        click.option(
            "--json", "as_json", is_flag=True, help="Headless: print a JSON summary. Detached: the run's path."
        ),
        click.option("--detach", is_flag=True, help="Start the engine and return; 'batchdeck watch' shows it."),
        click.option("--headless", is_flag=True, help="Run in the foreground, without the console."),
    ):
        function = option(function)
    return function


def start(launch: Launch, *, headless: bool, detach: bool, as_json: bool, follow: bool, quiet: bool) -> None:
    """Start an engine in the way the options say: in the foreground, detached, or under the console."""
    from batchdeck.cli.watch import has_terminal, open_console

    if detach and (headless or follow):
        raise UsageError("--detach cannot be combined with --headless or --follow")
    if follow and as_json:
        raise UsageError("--follow and --json both print on standard output; choose one")
    if not detach and (headless or follow or as_json or not has_terminal()):
        from batchdeck.cli.foreground import run_foreground

        os.umask(0o077)
        sys.exit(run_foreground(launch, as_json=as_json, quiet=quiet, follow=follow))
    from batchdeck.spawn import spawn

    spawn(launch, stdin=launch.config is not None and launch.config.input == "-")
    if not detach:
        open_console(Path(launch.path))
    if as_json:
        print(msgspec.json.encode({"run": Path(launch.path).stem, "path": launch.path}).decode())
    else:
        print(f"{launch.path}\nwatch it with: batchdeck watch {Path(launch.path).stem}")


@click.command(cls=Sectioned, sections=SECTIONS)
@click.argument("input")
@click.option("--provider", help="openai, groq, together, mistral, openrouter, deepseek, xai, gemini, ollama, vllm,"
              " llama.cpp, local (a small real model), sim (simulated).")  # fmt: skip
@click.option("--base-url", help="Any OpenAI-compatible endpoint, with its /v1.")
@click.option("--model", "-m", help="The model's name at the provider.")
@click.option("--prompt", "-p", help="Template over the input's columns, e.g. 'Translate: {{text}}'.")
@click.option("--prompt-file", type=click.Path(dir_okay=False), help="The template, from a file.")
@click.option("--system", "-s", help="System prompt; a template too.")
@click.option("--input-format", type=click.Choice(["jsonl", "csv", "text"]), help="If the name does not tell.")
@setting_options("concurrency", default={"concurrency": "10"})
@click.option("--limit", type=click.IntRange(1), help="Only the first N rows.")
@click.option("--max-tokens", type=click.IntRange(1), help="Longest answer.")
@click.option("--param", multiple=True, metavar="K=V", help="Any other field of the request, e.g. temperature=0.")
@click.option("--header", multiple=True, metavar="'NAME: VALUE'",
              help="Extra header; '${VARIABLE}' is filled from the environment, and only that is kept.")  # fmt: skip
@click.option("--stream/--no-stream", default=True, help="Ask for a stream (default) or for one JSON answer.")
@setting_options(*LIMITS)
@click.option("--price", type=Price(), metavar="IN/OUT",
              help="US dollars for a million input and output tokens, e.g. 0.15/0.60.")  # fmt: skip
@click.option("--max-retries", type=click.IntRange(0), default=5, show_default=True,
              help="Tries again after errors that may pass (5xx, timeouts, broken connections).")  # fmt: skip
@click.option("--max-wait", type=Seconds(), metavar="SECONDS",
              help="Fail an item that rate limits held longer than this. Default: wait.")  # fmt: skip
@click.option("--connect-timeout", type=Seconds(), default=10.0, show_default=True,
              help="Seconds until connected.")  # fmt: skip
@click.option("--first-token-timeout", type=Seconds(), default=120.0, show_default=True,
              help="Seconds until a stream's first token.")  # fmt: skip
@click.option("--idle-timeout", type=Seconds(), default=60.0, show_default=True,
              help="Seconds of silence between chunks.")  # fmt: skip
@click.option("--timeout", type=Seconds(), default=600.0, show_default=True,
              help="Seconds for the whole request.")  # fmt: skip
@click.option("--db", type=click.Path(dir_okay=False), help="The run file; default: one in the data folder.")
@click.option("--name", help="The run's name; default: the input's name and the time.")
@click.option("--strict", is_flag=True, help="Refuse to launch if any line of the input is bad.")
@click.option("--dry-run", is_flag=True, help="Read the whole input, show counts and the first request, send nothing.")
@click.option("--sim-option", multiple=True, metavar="K=V", hidden=True, help="Option of --provider sim, e.g. rpm=600.")
@click.option("--model-path", help="With --provider local: a GGUF file of your own.")
@view_options
@metrics_option
def command(**given: Any) -> None:
    """Send every prompt of INPUT (JSONL, CSV, text, or - for standard input) to a model.

    Shows the console; q detaches and the run goes on. Without a terminal it runs headless. Everything is kept in one
    SQLite file, so an interrupted run resumes with 'batchdeck resume'.

    \b
    Examples:
      batchdeck run prompts.txt --provider openai --model gpt-4o-mini
      batchdeck run rows.csv --provider groq -m llama-3.1-8b-instant -p "Translate: {{text}}"
      batchdeck run prompts.jsonl --base-url http://127.0.0.1:8000/v1 -m my-model -c 64
      cat prompts.jsonl | batchdeck run - --provider sim -m sim --json
      batchdeck run rows.jsonl --provider openai -m gpt-4o-mini --dry-run
      batchdeck run rows.jsonl --provider openai -m gpt-4o-mini --max-cost 2.50 --max-errors 5% --deadline 17:30

    \b
    Exit codes: 0 all done, 1 failed, 2 usage, 3 some items failed,
    4 stopped (refused key, used-up budget, provider down), 130 interrupted.
    """
    checked_text(given)
    config, secrets = build_config(given)
    if given["dry_run"] or given["strict"]:
        from batchdeck.cli.dryrun import dry_run

        dry_run(config, show=given["dry_run"], as_json=given["as_json"], strict=given["strict"])
        if given["dry_run"]:
            return
    path = (
        Path(given["db"]) if given["db"] else new_run_path(given["name"], given["input"], datetime.now().astimezone())
    )
    if path.exists():
        raise UsageError(f"{path} exists already; 'batchdeck resume {path}' goes on with it")
    config = msgspec.structs.replace(config, name=path.stem)
    start(
        Launch(path=whole_path(path), config=config, secrets=secrets, metrics_port=given["metrics_port"]),
        headless=given["headless"],
        detach=given["detach"],
        as_json=given["as_json"],
        follow=given["follow"],
        quiet=given["quiet"],
    )


def build_config(given: dict[str, Any]) -> tuple[RunConfig, dict[str, str]]:
    """Options as a config and the headers that must not be kept. Checks what can be checked before anything starts."""
    from batchdeck.inputs.open import open_input
    from batchdeck.prompts import Prompts
    from batchdeck.providers.presets import MANAGED, key, resolve

    prompt = given["prompt"]
    if given["prompt_file"]:
        if prompt:
            raise UsageError("give --prompt or --prompt-file, not both")
        prompt = _read_prompt(given["prompt_file"])
    endpoint = resolve(given["provider"], given["base_url"], os.environ)
    if not given["dry_run"]:
        key(endpoint, os.environ)
    headers, secrets = split_headers(given["header"])
    managed = _managed(given) if endpoint.name in MANAGED else None
    model = given["model"] or ({"sim": "sim", "local": "smollm2"}.get(endpoint.name) if managed is not None else None)
    source = given["input"]
    input_format = given["input_format"]
    if source != "-":
        opened = open_input(source, input_format)
        if opened.size is None:
            raise UsageError(f"{source} is a pipe; give it as standard input: batchdeck run - … < {source}")
        input_format = opened.format
        Prompts(prompt, given["system"], opened.columns)
        model = model or _batch_model(opened)
        source = whole_path(source)
    if not model:
        raise UsageError(f"say which model: --model NAME (as {endpoint.name} calls it)")
    config = RunConfig(
        name="",
        input=source,
        input_format=input_format,
        model=model,
        provider=endpoint.name,
        base_url=endpoint.base_url,
        key_env=endpoint.key_env,
        prompt=prompt,
        system=given["system"],
        headers=headers,
        params=split_params(given["param"]),
        max_tokens=given["max_tokens"],
        stream=given["stream"],
        limit=given["limit"],
        max_retries=given["max_retries"],
        max_wait=given["max_wait"],
        limits=Limits(
            connect=given["connect_timeout"],
            first_token=given["first_token_timeout"],
            idle=given["idle_timeout"],
            total=given["timeout"],
        ),
        strict=given["strict"],
        managed=managed,
        price=given["price"],
    )
    config = settings.apply(config, changes(given))
    check_price(config)
    return config, secrets


def _batch_model(opened: Any) -> str | None:
    """OpenAI batch lines name their model themselves."""
    from batchdeck.inputs.base import SourceState

    if opened.size is None:
        return None
    row = next(iter(opened.rows(SourceState())), None)
    body = row.fields.get("body") if row is not None else None
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) else None


def _managed(given: dict[str, Any]) -> dict[str, Any]:
    managed: dict[str, Any] = {}
    for name, value in split_params(given["sim_option"], "--sim-option").items():
        managed[name] = value
    if given["model_path"]:
        managed["model_path"] = whole_path(given["model_path"])
    return managed


def _read_prompt(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--prompt-file {path}: {error}") from error
