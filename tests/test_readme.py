"""The README tells the truth: its session is carried out as a reader would, and every other command is a valid one."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from batchdeck.cli import VERBS, root
from batchdeck_tui.commands import verbs
from tests.runs.processes import batchdeck, kill, wait_for

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
KINDS = ("tests", "install", "session", "examples", "sql", "python")


def blocks(kind: str) -> list[str]:
    """The code blocks that follow the mark ``<!-- kind -->``."""
    return re.findall(rf"<!-- {kind} -->\n```\w+\n(.*?)```", README, re.S)


def commands(kind: str) -> list[str]:
    """Every line of these blocks that is a command."""
    return [line for block in blocks(kind) for line in block.splitlines() if line.strip()]


def words(line: str) -> list[str]:
    """A command's words from ``batchdeck`` on; empty for any other command."""
    split = shlex.split(line)
    names = [word.removeprefix(".venv/bin/") for word in split]
    return split[names.index("batchdeck") + 1 :] if "batchdeck" in names else []


def parse(arguments: list[str]) -> click.Context:
    """What click makes of a command line. Raises ``click.UsageError`` for an option or a value that there is not."""
    name, command, rest = root.resolve_command(click.Context(root), arguments)
    assert name is not None
    assert command is not None
    return command.make_context(name, rest)


def test_every_code_block_is_of_a_kind_that_is_tested() -> None:
    assert README.count("```") == 2 * sum(len(blocks(kind)) for kind in KINDS)


def test_the_command_that_runs_the_tests_is_the_one_that_ci_runs() -> None:
    (block,) = blocks("tests")
    assert block.strip() == (
        "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/python -m pytest -n 4"
    )
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (pattern,) = re.findall(r're\.search\(r"(.*?)", text, re\.S\)', ci)
    found = re.search(pattern, README, re.S)
    assert found is not None
    assert found[1] == block


def test_what_is_installed_is_what_the_project_offers() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = " && ".join(commands("install") + commands("tests")).split(" && ")
    extras = re.findall(r"'\.\[(\w+)\]'", "\n".join(lines))
    assert sorted(extras) == ["dev", "local"]
    assert set(extras) <= set(project["optional-dependencies"])
    assert any(need.startswith("pytest-xdist") for need in project["optional-dependencies"]["dev"])
    assert project["requires-python"] == ">=3.11"
    assert "Python 3.11 or newer" in README
    others = [line for line in lines if "pip install" not in line and "-m venv" not in line and "pytest" not in line]
    assert [words(line) for line in others] == [["demo"], ["demo", "--local"]]


@pytest.mark.parametrize("line", [*commands("examples"), *commands("session"), *commands("install")])
def test_every_command_is_a_valid_one(line: str) -> None:
    given = words(line)
    if given:
        assert parse(given).command.name
    else:
        assert re.match(r"export \w+=…|seq |sqlite-utils |python3 |\.venv/bin/(pip|python) ", line), line


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_told_of(verb: str) -> None:
    assert re.search(rf"batchdeck {verb}\b|`{verb}`", README)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_says_what_it_does(verb: str) -> None:
    """``batchdeck VERB --help`` leaves nobody guessing."""
    command = root.get_command(click.Context(root), verb)
    assert command is not None
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.hidden and not option.help] == []


def test_every_option_that_is_named_exists() -> None:
    text = re.sub(r"```.*?```", "", README, flags=re.S)
    named = set(re.findall(r"`(--[a-z-]+)", text))
    known = {
        name
        for verb in VERBS
        for parameter in getattr(root.get_command(click.Context(root), verb), "params", [])
        for name in (*parameter.opts, *parameter.secondary_opts)
    } | {"--help", "--version"}
    assert named
    assert named <= known


def test_every_key_of_a_run_is_in_the_table() -> None:
    rows = re.findall(r"^\| ((?:`\S+` ?)+)\|", README.partition("## The console")[2].partition("\n## ")[0], re.M)
    told = {key for row in rows for key in re.findall(r"`(\S+)`", row)}
    names = {"escape": "esc", "enter": "enter"}
    there = {names.get(key, key) for verb in verbs("run") for key in verb.keys.split(",")}
    assert told == there - {"="}


def test_every_picture_is_there() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert shown
    assert [name for name in shown if not (ROOT / name).is_file()] == []


def test_the_exit_codes_are_those_of_the_program() -> None:
    from batchdeck import errors

    told = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.M)}
    assert told == {value for name, value in vars(errors).items() if name.startswith("EXIT_")}


def test_the_python_example_prints_what_it_says() -> None:
    (code,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (said,) = re.findall(r"^# (.*)$", code, re.M)
    assert done.stdout.strip() == said


def test_nothing_tells_of_a_machine() -> None:
    for text in (README, (ROOT / "SECURITY.md").read_text(encoding="utf-8")):
        assert not re.search(r"/(home|Users|root|tmp|work)/|index-url|pypi\.", text)


def shell(line: str, folder: Path, **more: str) -> subprocess.Popen[str]:
    """Start a line of the README in a shell, with the commands that an activated environment would have."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, "PATH": path, **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def put_on_path(folder: Path, **modules: str) -> None:
    (folder / "bin").mkdir()
    for name, module in modules.items():
        script = folder / "bin" / name.replace("_", "-")
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        script.chmod(0o755)


async def test_the_session_goes_as_the_readme_says(tmp_path: Path) -> None:
    """Line by line, in order; Ctrl+C comes where the README says so, and the console's place is taken by ``--json``."""
    put_on_path(tmp_path, batchdeck="batchdeck", sqlite_utils="sqlite_utils")
    session = iter(commands("session"))
    said: dict[str, str] = {}

    def run(line: str, code: int = 0) -> str:
        process = shell(line, tmp_path)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == code, f"{line}\n{output}{errors}"
        said[line] = output
        return output

    run(next(session))
    assert len((tmp_path / "numbers.jsonl").read_text().splitlines()) == 200
    assert "200 items" in run(next(session))
    assert not (tmp_path / "facts.db").exists()

    line = next(session)
    assert "--headless" in line
    process = shell(line, tmp_path)
    assert process.stderr is not None
    first = process.stderr.readline()
    assert first == f"run file: {tmp_path / 'facts.db'}\n"  # from here on it answers on its control socket
    await wait_for(tmp_path / "facts.db", lambda snapshot: snapshot.counts.done >= 20)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl+C does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "batchdeck resume" in errors

    assert next(session) == "batchdeck resume facts.db --headless"
    run("batchdeck resume facts.db --headless")
    rest = list(session)
    for line in rest:
        run(f"{line} --json" if line.startswith("batchdeck watch") else line)

    assert "200 done" in said["batchdeck show facts.db"]
    assert "One fact about the number 42." in said["batchdeck show facts.db --item 41"]
    assert said["batchdeck export facts.db --state failed"] == ""
    assert "facts" in said["batchdeck ls"]
    assert json.loads(said["batchdeck watch facts.db --json"])["state"] == "done"
    assert len((tmp_path / "facts.jsonl").read_text().splitlines()) == 200
    assert "900" in said["batchdeck ctl status words.db"]
    assert "40 → 20" in next(words for line, words in said.items() if "ctl config" in line)
    assert "batchdeck_" in said["batchdeck ctl metrics words.db"]
    assert "draining" in said["batchdeck ctl drain words.db"]
    assert "tokens_out" in said[next(line for line in rest if line.startswith("sqlite-utils"))]

    with sqlite3.connect(f"file:{tmp_path / 'facts.db'}?mode=ro", uri=True) as db:
        (query,) = blocks("sql")
        ((state, error_type, items, tokens, ttft, slowest),) = db.execute(query).fetchall()
        assert (state, error_type, items) == ("done", None, 200)
        assert tokens > 300
        assert 0 < ttft < slowest
        # nothing was paid for twice: each item was asked exactly once, over both sessions
        assert db.execute("SELECT count(*), sum(sends) FROM attempts").fetchone() == (200, 200)
        columns = [column[1] for column in db.execute("PRAGMA table_info(results)")]
    told = README.partition("The view `results`")[2].partition("\n\n")[0]
    assert re.findall(r"`(\w+)`", told) == columns


async def test_the_demo_starts_and_keeps_within_its_rate_limit(home: Path) -> None:
    """The first command of the README, without its terminal."""
    done = batchdeck("demo", "--detach", "--json")
    assert done.returncode == 0, done.stderr
    run = Path(json.loads(done.stdout)["path"])
    try:
        snapshot = await wait_for(
            run, lambda snapshot: snapshot.waiting.held == "rpm" and snapshot.mode == "rate-limited"
        )
        assert "RPM" in snapshot.waiting.sentence
        assert snapshot.counts.done > 0
        assert snapshot.counts.failed == 0
    finally:
        kill(run)
