#!/usr/bin/env python3
"""Draws the README's pictures: the real console on a real run of the simulated provider, as SVG and as PNG.

    .venv/bin/python screenshots/render.py

Engine processes of their own work through the prompts; the console is opened on it without a terminal, keys are
pressed, and each picture is taken when what it is to show stands on the screen. PNG needs Chromium (or Chrome).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import html
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from palette import reduce
from textual.app import App
from textual.pilot import Pilot

from batchdeck import lock
from batchdeck.cli.demo import prompts
from batchdeck.control.client import ControlClient
from batchdeck.model import ENDINGS, Command, Snapshot
from batchdeck.store.reader import RunReader
from batchdeck_tui.app import BatchdeckApp
from batchdeck_tui.theme import DARK, LIGHT

HERE = Path(__file__).parent
SCREENS = (
    "run-160x48", "run-80x24", "detail", "charts", "events", "limits", "preferences", "runs", "launch", "help", "tune",
)  # fmt: skip
NAMES = (*SCREENS, *(f"{name}-light" for name in SCREENS))
SESSION = "session"
"""A few moments of one run as one picture that moves."""
LARGEST, LARGEST_SESSION = 300_000, 900_000
"""Bytes a picture may have."""
PATIENCE = 120.0
SIM = {"seed": 7, "ttft_ms": 500, "token_rate": 40, "rpm": 600, "tpm": 33_000, "burst": 0.1, "stranger": 0.1}
"""As in ``batchdeck demo``: at 24 in flight it meets the quota."""
SLOTS = {"seed": 7, "ttft_ms": 300, "slots": 16}
"""A server that answers 16 at a time: above that, requests wait for each other."""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
FONT = "DejaVu Sans Mono"
IN_FLIGHT = re.compile(r"attempt \d+ · [a-z ]+ · (\d+) tokens")
"""What the detail pane says of an answer that is on its way."""
Save = Callable[[str, Pilot[None]], Coroutine[Any, Any, None]]
Frame = tuple[str, float]
"""An exported SVG, and for how many seconds it stands."""


# Runs


def batchdeck(*arguments: str) -> dict[str, Any]:
    """What a command prints as JSON; its exit code may tell of failed items."""
    done = subprocess.run([sys.executable, "-m", "batchdeck", *arguments], capture_output=True, text=True, check=False)
    if not done.stdout:
        raise SystemExit(f"batchdeck {' '.join(arguments)}: {done.stderr}")
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def launch(name: str, count: int, how: str, *options: str, **sim: Any) -> Path:
    """Launch a run of the first ``count`` prompts; ``how``: ``--detach`` or ``--headless``."""
    source = Path(f"{name}.jsonl")
    source.write_text("".join(json.dumps(row) + "\n" for row in prompts(count)), encoding="utf-8")
    given = [f"--sim-option={key}={value}" for key, value in sim.items()]
    printed = batchdeck("run", str(source), "--provider", "sim", "--name", name, how, "--json", *options, *given)
    return Path(printed["path"])


def older_runs() -> None:
    """What a list of runs looks like after some days: done, done with failures, and one whose engine was killed."""
    launch("glossary-fr", 40, "--headless", "-c", "40", latency_ms=300)
    launch("support-tickets", 120, "--headless", "-c", "60", latency_ms=400, faults=json.dumps({"400": 0.04}))
    killed = launch("reviews-en", 400, "--detach", "-c", "8", latency_ms=250)
    with RunReader(killed) as reader:
        while reader.counts().done < 60:
            time.sleep(0.1)
    end_engine(killed)


def end_engine(run: Path) -> None:
    """``kill -9`` of the engine that holds this run, if one does, by the process id in its own lock."""
    info = lock.probe(run)
    if info is not None and info.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(info.pid, signal.SIGKILL)


async def snapshot(run: Path) -> Snapshot:
    """How the live run stands. Fails when it is not live any more: the pictures would not show what they should."""
    info = lock.probe(run)
    assert info is not None, "the run ended before the pictures were taken"
    async with ControlClient(info.endpoint) as client:
        now = await client.snapshot()
    assert now.state not in ENDINGS, f"the run is {now.state} already"
    return now


async def cancel(run: Path) -> None:
    info = lock.probe(run)
    if info is not None:
        async with ControlClient(info.endpoint) as client:
            await client.command(Command(name="cancel"))


# The console


def painted(app: App[None]) -> str:
    """The text on the screen, as a picture of now would show it."""
    lines = re.findall(r"<text[^>]*>([^<]*)</text>", app.export_screenshot())
    return html.unescape("\n".join(lines)).replace("\xa0", " ")


async def until(pilot: Pilot[None], condition: Callable[[str], bool], what: str) -> None:
    """Return as soon as the condition holds for the text on the screen."""
    end = time.monotonic() + PATIENCE
    while not condition(text := painted(pilot.app)):
        if time.monotonic() > end:
            raise SystemExit(f"never came true: {what}\n{text}")
        await pilot.pause(0.1)


@asynccontextmanager
async def console(run: Path | None, width: int, height: int) -> AsyncIterator[Pilot[None]]:
    app = BatchdeckApp(run)
    async with app.run_test(size=(width, height)) as pilot:
        yield pilot


def streams(least: int) -> Callable[[str], bool]:
    """Whether at least so many rows in flight stand on the screen with their first words."""
    return lambda text: len(re.findall("in flight .*…", text)) >= least or text.count("▶ in flight") >= least


async def draw(run: Path, save: Save) -> None:
    """Take the pictures, in the order in which one run gives them."""
    async with console(run, 160, 48) as pilot:
        await until(pilot, lambda text: "throughput" in text, "the charts")
        await reached(run, lambda now: now.waiting.held == "tpm" and now.samples >= 14)
        await pilot.press("]")
        turned = await reached(run, lambda now: now.concurrency == 34)
        await reached(
            run,
            lambda now: now.samples >= turned.samples + 9 and now.waiting.held == "tpm" and now.in_flight >= 8,
        )
        await until(pilot, streams(8), "rows in flight")
        await until(pilot, lambda text: "→ 34" in text, "the mark of the new cap")
        await until(pilot, lambda text: "24 → 34" in text and "settling" not in text, "what the turn did")
        await save("run-160x48", pilot)
        await open_streaming(pilot)
        await save("detail", pilot)
        await pilot.press("question_mark")
        await until(pilot, lambda text: "In a run" in text, "the help")
        await save("help", pilot)
        await pilot.press("escape", "escape")
        for key, name, sign in (
            ("C", "charts", "E2E latency"), ("e", "events", "concurrency"), ("L", "limits", "requests a minute"),
            ("comma", "preferences", "ASCII only"),
        ):  # fmt: skip
            await pilot.press(key)
            await until(pilot, lambda text: sign in text, name)  # noqa: B023
            if name == "charts":
                await until(pilot, lambda text: text.count("→ 34") >= 6, "all charts")
            await save(name, pilot)
            await pilot.press("escape")
            await until(pilot, lambda text: "try" in text or "tries" in text, "the run again")
    async with console(run, 80, 24) as pilot:
        await reached(run, lambda now: now.in_flight >= 8)
        await until(pilot, lambda text: streams(4)(text) and "→ 34" in text, "rows in flight and the mark")
        await save("run-80x24", pilot)
    async with console(None, 120, 24) as pilot:
        await until(pilot, lambda text: all(word in text for word in ("questions", "interrupted", "/s")), "the runs")
        await save("runs", pilot)
        await pilot.press("n")
        await until(pilot, lambda text: "New run" in text, "the form")
        await pilot.press(*"support-tickets.jsonl", "tab", *"Answer in French: {{prompt}}")
        await until(pilot, lambda text: "first request" in text and "Answer in French: Summ" in text, "the preview")
        await save("launch", pilot)


async def record(run: Path, frames: list[Frame]) -> None:
    """Some moments of a run in a small terminal."""

    async def keep(seconds: float) -> None:
        frames.append((without_addresses(pilot.app.export_screenshot(title="batchdeck")), seconds))

    async with console(run, 80, 24) as pilot:
        for least in (2, 5, 9):
            await reached(run, lambda now: now.samples >= least and now.in_flight >= 8)  # noqa: B023
            await until(pilot, streams(4), "rows in flight")
            await keep(1.2)
        await pilot.press("]")
        await until(pilot, lambda text: "→ 34" in text, "the mark of the new cap")
        await keep(2.0)
        await open_streaming(pilot)
        await keep(2.0)
        await pilot.press("escape", "t")
        await until(pilot, lambda text: "back" in text and "settles" in text, "the tune screen")
        await keep(2.0)
        await pilot.press("escape", "C")
        await until(pilot, lambda text: "live" in text and "→ 34" in text, "all charts")
        await keep(2.0)
        await pilot.press("escape", "escape")
        await until(pilot, lambda text: "reviews" in text and "new run" in text, "the runs")
        await keep(1.5)


async def draw_tune(run: Path, save: Save) -> None:
    """Find the knee as a person would: return tries the next level, until a curve says what to set."""
    async with console(run, 150, 40) as pilot:
        await until(pilot, lambda text: "throughput" in text and "tune" in text, "the charts, and the engine's word")
        await pilot.press("t")
        for keys in (["enter"], ["enter"], ["enter"], ["right_square_bracket"] * 2, ["enter"]):
            await until(pilot, lambda text: seconds_here(text) >= 12, "a level that is measured")
            before = cap(painted(pilot.app))
            await pilot.press(*keys)
            await until(pilot, lambda text: cap(text) != before, "another level")  # noqa: B023
        await until(
            pilot, lambda text: seconds_here(text) >= 12 and "is enough" in text and said_to_do(text), "the knee"
        )
        await save("tune", pilot)


def said_to_do(text: str) -> bool:
    """Whether the footer is painted, and offers what the head says."""
    return "back" in text and ("set it" in text) == ("⏎ sets" in text)


def cap(text: str) -> str:
    """How many may be in flight, by the head of the screen."""
    found = re.search(r"^/(\d+)", text, re.M)
    return found[1] if found else ""


def seconds_here(text: str) -> int:
    """For how long the present level was measured, by the table of levels."""
    found = re.search(r"◆ now\s*(?:┊ best)?\s+(\d+)", text)
    return int(found[1]) if found else 0


async def open_streaming(pilot: Pilot[None]) -> None:
    """Open the newest row in flight, again and again, until an answer was met that streams and is some lines long."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        await pilot.press("l")
        await until(pilot, streams(3), "rows in flight")
        await pilot.press("enter")
        await until(pilot, lambda text: "attempts" in text or IN_FLIGHT.search(text) is not None, "the detail")
        while found := IN_FLIGHT.search(painted(pilot.app)):
            if int(found[1]) >= 45:
                return
            await pilot.pause(0.1)
        await pilot.press("escape")
    raise SystemExit("no answer was met while it streamed")


async def reached(run: Path, condition: Callable[[Snapshot], bool]) -> Snapshot:
    """Wait until the live run is so far."""
    end = time.monotonic() + PATIENCE
    while not condition(now := await snapshot(run)):
        if time.monotonic() > end:
            raise SystemExit(f"the run never got there: {now}")
        await asyncio.sleep(0.1)
    return now


# Pictures


def without_addresses(svg: str) -> str:
    """An exported SVG that loads nothing: Textual's names a host of web fonts, any monospaced font here will do."""
    svg = re.sub(r"\s*@font-face\s*\{[^}]*\}", "", svg)
    svg = re.sub(r"\s*<!--.*?-->", "", svg, flags=re.S)
    return svg.replace("Fira Code", FONT)


def moving(frames: list[Frame]) -> str:
    """One SVG that shows one frame after the other, for ever; the first one where motion is not wanted."""
    box = re.search(r'viewBox="[^"]+"', frames[0][0])
    assert box is not None
    whole, begun = sum(seconds for _, seconds in frames), 0.0
    rules, groups = [], []
    for number, (svg, seconds) in enumerate(frames):
        first, last = 100 * begun / whole, 100 * (begun + seconds) / whole
        hidden = "" if number == 0 else "0%{visibility:hidden}"
        stands = f"{first:.2f}%{{visibility:visible}}{last:.2f}%{{visibility:hidden}}"
        rules.append(f"@keyframes f{number}{{{hidden}{stands}}}")
        rules.append(f".f{number}{{animation:f{number} {whole:.1f}s step-end infinite}}")
        groups.append(f'<g class="f f{number}">{svg}</g>')
        begun += seconds
    still = "@media(prefers-reduced-motion:reduce){.f{animation:none!important}.f0{visibility:visible}}"
    style = f"<style>.f{{visibility:hidden}}{still}{''.join(rules)}</style>"
    return f'<svg {box[0]} xmlns="http://www.w3.org/2000/svg">{style}{"".join(groups)}</svg>\n'


def check_picture(name: str, svg: str, private: list[str], largest: int = LARGEST) -> None:
    """Refuse a picture that tells of the machine it was drawn on, or that loads something, or that is too large."""
    text = html.unescape(re.sub("<[^>]*>", "", svg)).replace("\xa0", " ")
    # Model names, run names and prompts are ours; a user's name may well be a word in them.
    found = [word for word in private if len(word) > 3 and word in text]
    hosts = set(re.findall(r"https?://[\w.-]+", svg)) - {"http://www.w3.org"}
    if found or hosts or len(svg.encode()) > largest:
        raise SystemExit(f"{name}.svg: {len(svg.encode()):,} bytes, tells of {found}, names {hosts}")


def rasterise(chromium: str, svg: Path, png: Path) -> None:
    """Draw an SVG at its own size with a headless browser: it is the one renderer that keeps braille on its grid."""
    content = svg.read_text(encoding="utf-8")
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', content)
    assert box is not None, f"{svg}: no viewBox"
    size = f"{math.ceil(float(box[1]))},{math.ceil(float(box[2]))}"
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        page.write_text(f'<!doctype html><meta charset="utf-8"><body style="margin:0;background:#000">{content}')
        command = [chromium, "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                   "--force-device-scale-factor=1", f"--window-size={size}", f"--user-data-dir={folder}/profile",
                   f"--screenshot={png}", page.as_uri()]  # fmt: skip
        if os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # Chromium refuses to start as root otherwise
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode or not png.exists():
        raise SystemExit(f"{chromium} did not draw {svg.name}: {done.stderr[-300:]}")
    png.write_bytes(small := reduce(png.read_bytes()))
    if len(small) > LARGEST:
        raise SystemExit(f"{png.name} is larger than {LARGEST:,} bytes")


@contextmanager
def workshop() -> Iterator[Path]:
    """A folder to work in, with a data folder of its own, which is gone afterwards."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="batchdeck-pictures-") as folder:
        os.environ["BATCHDECK_HOME"] = str(Path(folder, "home"))
        os.environ.pop("NO_COLOR", None)
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def picture(run: Path, how: Callable[[Path], Coroutine[Any, Any, None]]) -> None:
    """Have pictures taken of a live run, which is gone afterwards."""
    try:
        asyncio.run(how(run))
        asyncio.run(cancel(run))
    finally:
        end_engine(run)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the README's pictures from the real console on a real run.")
    parser.add_argument("--svg-only", action="store_true", help="no PNG")
    parser.add_argument("--only", choices=["run", "tune", "session"], help="the pictures of one of the runs")
    options = parser.parse_args()
    with workshop() as folder:
        private = [str(folder), str(HERE.parent), str(Path.home()), getpass.getuser(), socket.gethostname()]
        drawn: list[str] = []

        def keep(name: str, svg: str, largest: int = LARGEST) -> None:
            check_picture(name, svg, private, largest)
            (HERE / f"{name}.svg").write_text(svg, encoding="utf-8")
            print(f"{name}.svg  {len(svg.encode()):,} bytes")

        async def save(name: str, pilot: Pilot[None]) -> None:
            """In dark and in light."""
            for theme, ending in ((LIGHT, "-light"), (DARK, "")):
                pilot.app.theme = theme.name
                await pilot.pause(0.3)
                keep(name + ending, without_addresses(pilot.app.export_screenshot(title="batchdeck")))
                drawn.append(name + ending)

        if options.only in (None, "run"):
            older_runs()
            picture(launch("questions", 500, "--detach", "-c", "24", **SIM), lambda run: draw(run, save))
        if options.only in (None, "tune"):
            picture(launch("levels", 4_000, "--detach", "-c", "4", **SLOTS), lambda run: draw_tune(run, save))
        if options.only in (None, "session"):
            frames: list[Frame] = []
            session = {**SIM, "rpm": 6_000, "tpm": 330_000, "seed": 11}
            picture(launch("reviews", 900, "--detach", "-c", "24", **session), lambda run: record(run, frames))
            keep(SESSION, moving(frames), LARGEST_SESSION)
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None and not options.svg_only:
        print("no PNG drawn: it needs Chromium or Chrome, with the DejaVu fonts", file=sys.stderr)
    elif chromium is not None and not options.svg_only:
        for name in drawn:
            rasterise(chromium, HERE / f"{name}.svg", HERE / f"{name}.png")
            print(f"{name}.png  {(HERE / f'{name}.png').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
