"""``batchdeck show``: one run, or one of its items, in full."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from batchdeck.labels import Label
    from batchdeck.model import AttemptRow, Detail, RunConfig, RunMeta
    from batchdeck.store.reader import RunReader

LOG_LINES = 12


@click.command()
@click.argument("run")
@click.option("--item", type=click.IntRange(min=0), metavar="N", help="Show item N (its index, counted from 0).")
@click.option("--json", "as_json", is_flag=True, help="The same as one JSON object.")
def command(run: str, item: int | None, as_json: bool) -> None:
    """Show how RUN (a name from 'batchdeck ls', or a run file) stands: counts, cost, errors by class, settings.

    For a run that was interrupted, the last lines of its engine's log say what happened.

    \b
    Examples:
      batchdeck show translate
      batchdeck show translate --item 41
      batchdeck show run.db --json | jq .counts.done
    """
    from batchdeck.config import find_run
    from batchdeck.errors import UsageError
    from batchdeck.store.reader import RunReader

    with RunReader(find_run(run), still=True) as reader:
        if item is None:
            _show_run(reader, as_json)
            return
        detail = reader.detail(item)
        if detail is None:
            raise UsageError(f"{reader.path} has no item {item}; it has {reader.counts().items:,}, counted from 0")
        _show_item(reader, detail, as_json)


def _show_run(reader: RunReader, as_json: bool) -> None:
    from batchdeck import labels
    from batchdeck.config import known_labels
    from batchdeck.export import inert_json

    meta = reader.meta()
    label = known_labels().get(labels.key(reader.path), labels.NONE)
    log = log_tail(reader.path) if meta.state == "interrupted" else []
    if as_json:
        click.echo(inert_json({**without_secrets(meta), "label": label.name, "tags": label.tags, "log": log}))
    else:
        click.echo("\n".join(_run_lines(meta, label, log)))


def _show_item(reader: RunReader, detail: Detail, as_json: bool) -> None:
    import msgspec

    from batchdeck.export import inert_json

    asked, problem = _asked(reader.meta().config, detail)
    if as_json:
        known = msgspec.to_builtins(detail)
        known["input"] = msgspec.json.decode(known.pop("data"))
        click.echo(inert_json({**known, "messages": asked, "error": detail.error or problem or None}))
    else:
        click.echo("\n".join(_item_lines(detail, asked, problem)))


def log_tail(run: Path, lines: int = LOG_LINES) -> list[str]:
    """The last lines of the engine's log, harmless; empty when there is none."""
    from batchdeck.config import log_path
    from batchdeck.inert import inert

    try:
        with open(log_path(run), "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [inert(line) for line in text.splitlines()[-lines:]]


def without_secrets(meta: RunMeta) -> dict[str, Any]:
    """A run as plain JSON values. A run file holds no secret; what a person put into an address or a header anyway is
    masked."""
    import msgspec

    known: dict[str, Any] = msgspec.to_builtins(meta)
    known["config"] = _masked(known["config"])
    return known


def _masked(value: Any) -> Any:
    import re

    from batchdeck.cli.options import is_reference

    if isinstance(value, dict):
        secret = re.compile(r"authori[sz]ation|api[-_]?key|secret|passw|cookie|(auth|access|^x-.*)[-_]?token", re.I)
        return {
            key: "…" if isinstance(item, str) and secret.search(key) and not is_reference(item) else _masked(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return re.sub(r"(\w+://)[^/@\s]*@", r"\1…@", value) if isinstance(value, str) else value


def _run_lines(meta: RunMeta, label: Label, log: list[str]) -> Iterator[str]:
    from batchdeck.format import count, duration, hedges, percent, rate, some, spent
    from batchdeck.inert import inert
    from batchdeck.labels import written

    counts = meta.counts
    settled = counts.done + counts.failed + counts.skipped
    about = "" if meta.ingest_complete or meta.items_expected is None else "about "
    yield f"{inert(meta.run)}  {meta.state}" + (f"  {inert(meta.message)}" if meta.message else "")
    if label:
        yield _line("label", inert(written(label)))
    yield _line("file", inert(meta.path))
    yield _line("items", f"{about}{count(meta.items_expected)}, {percent(settled, meta.items_expected)} settled")
    yield _line(
        "outcomes", f"{count(counts.done)} done, {count(counts.failed)} failed, {count(counts.skipped)} skipped"
    )
    if counts.bad_lines:
        yield _line("bad lines", count(counts.bad_lines))
    hits = some(counts.rate_limit_hits, "rate-limit hit")
    yield _line("attempts", f"{count(counts.attempts)}, {count(counts.retries)} of them retries, {hits}")
    if counts.hedges:
        yield _line("hedges", hedges(counts))
    if counts.stalls:
        yield _line("stalls", f"{some(counts.stalls, 'stream')} fell silent for long")
    cached = f" ({count(counts.tokens_cached)} cached)" if counts.tokens_cached else ""
    yield _line("tokens", f"{count(counts.tokens_in)} in{cached}, {count(counts.tokens_out)} out")
    yield _line("cost", spent(counts.cost, counts.unpriced))
    mean = f", {rate(settled / counts.seconds)}" if counts.seconds and settled else ""
    yield _line("time", f"{duration(counts.seconds)}{mean}")
    yield from _limit_lines(meta)
    yield from _config_lines(meta)
    if meta.errors:
        yield from ("", "errors")
    for error in meta.errors:
        items = f", {some(error.items, 'item')} failed" if error.items else ""
        yield f"  {inert(error.error_type)}: {some(error.attempts, 'attempt')}{items}"
        yield f"      item {error.example_idx}: {inert(error.example)[:200]}"
    if log:
        yield from ("", "the last lines of the engine's log")
        yield from (f"  {line}" for line in log)
    if meta.state in ("interrupted", "drained", "stopped", "cancelled"):
        yield from ("", f"to go on with it: batchdeck resume {shlex.quote(inert(meta.path))}")


def _limit_lines(meta: RunMeta) -> Iterator[str]:
    """How it met its account's limits, and the limits and budgets that were set."""
    from batchdeck.cli.status import budgets
    from batchdeck.settings import SETTINGS, read, show

    counts, given = meta.counts, read(meta.config)
    if counts.rate_limit_hits:
        yield _line("queue", f"{counts.queue_depth:,.1f} items waited on average")
    for budget in budgets(given, counts):
        yield _line("budget", budget)
    for name, setting in SETTINGS.items():
        value = given[name]
        if setting.field[0] == "quotas" and value is not None:
            yield _line("limit", f"{show(name, value)} {setting.title}")


def _config_lines(meta: RunMeta) -> Iterator[str]:
    """What was asked for; settings that nobody gave are left out."""
    from batchdeck.export import inert_json
    from batchdeck.inert import inert

    yield from ("", "settings")
    for name, value in without_secrets(meta)["config"].items():
        if value in (None, "", {}, False) or name in ("name", "limits", "quotas", "budget"):
            continue
        if name == "priority" and value == 1:
            continue
        text = value if isinstance(value, str) else inert_json(value).decode()
        if name == "hedge":
            text = f"{100 * value:g}% of the requests"
        if name == "price":
            text = f"${value[0]:g} in, ${value[1]:g} out for a million tokens"
        shown = inert(text)
        yield f"  {name.replace('_', ' ')}: {shown if len(shown) <= 200 else shown[:199] + '…'}"


def _asked(config: RunConfig, detail: Detail) -> tuple[Any, str]:
    """What was sent for an item, rendered again: (messages or body, ""), or (None, why it cannot be)."""
    import msgspec

    from batchdeck.errors import BatchdeckError
    from batchdeck.prompts import Prompts

    if detail.error is not None:
        return None, detail.error
    try:
        rendered = Prompts(config.prompt, config.system).render(msgspec.json.decode(detail.data))
    except (BatchdeckError, ValueError) as error:
        return None, str(error)
    return rendered.body if rendered.body is not None else rendered.messages, ""


def _item_lines(detail: Detail, asked: Any, problem: str) -> Iterator[str]:
    from batchdeck.inert import inert

    name = f"  {inert(detail.custom_id)}" if detail.custom_id else ""
    yield f"item {detail.idx}{name}  {detail.state}  (line {detail.line} of the input)"
    if problem:
        yield _line("problem", inert(problem))
    yield from _asked_lines(asked)
    for attempt in detail.attempts:
        yield from _attempt_lines(attempt)
    # A hedged request is cancelled after the good answer, and may have some of its own.
    good = [attempt for attempt in detail.attempts if attempt.outcome == "ok"] or detail.attempts
    answer = next((attempt for attempt in reversed(good) if attempt.text), None)
    if answer is not None:
        yield from _block("answer" if detail.state == "done" else "what came of an answer", answer.text)


def _asked_lines(asked: Any) -> Iterator[str]:
    import msgspec

    if isinstance(asked, dict):
        yield from _block("request", msgspec.json.format(msgspec.json.encode(asked), indent=2).decode())
    for message in asked if isinstance(asked, list) else ():
        content = message.get("content")
        text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
        yield from _block(str(message["role"]), text)


def _attempt_lines(attempt: AttemptRow) -> Iterator[str]:
    from batchdeck.format import count, duration, money
    from batchdeck.inert import inert

    parts = [
        attempt.outcome,
        f"HTTP {attempt.status}" if attempt.status is not None else "",
        inert(attempt.error_type or ""),
        duration(attempt.seconds),
        f"connected {duration(attempt.connect)}" if attempt.connect is not None and attempt.connect >= 0.001 else "",
        f"first token {duration(attempt.ttft)}" if attempt.ttft is not None else "",
        f"{count(attempt.tokens_in)} in, {count(attempt.tokens_out)} out" if attempt.tokens_out is not None else "",
        money(attempt.cost) if attempt.cost is not None else "",
        inert(attempt.finish_reason or ""),
        inert(attempt.model or ""),
        f"sent {attempt.sends} times" if attempt.sends > 1 else "",
    ]
    yield ""
    yield f"attempt {attempt.number}: {', '.join(filter(None, parts))}"
    if attempt.error:
        yield f"  {inert(attempt.error)[:2_000]}"


def _block(title: str, text: str) -> Iterator[str]:
    from batchdeck.inert import inert, inert_lines

    yield from ("", inert(title))
    yield from (f"  {line}" for line in inert_lines(text).split("\n"))


def _line(name: str, text: str) -> str:
    return f"  {name:<10}{text}"
