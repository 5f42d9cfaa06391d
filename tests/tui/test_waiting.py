"""Why a run waits, as the console shows it: the bar of reasons, the sentence, the quotas, and a sum at the end."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult

from batchdeck.model import Counts, QuotaState, Reason, RunMeta, ServerLoad, Snapshot, Waiting
from batchdeck.store.reader import RunReader
from batchdeck_tui.messages import SnapshotReady
from batchdeck_tui.reasons import REASONS
from batchdeck_tui.screens.help import HelpScreen
from batchdeck_tui.widgets.linewise import Line
from batchdeck_tui.widgets.progress import RunHeader, lines
from batchdeck_tui.widgets.segments import apportion, floors, segments
from batchdeck_tui.widgets.waiting import WaitingStrip, bar, quota, summary, told
from tests.tui.console import console, page, read, until
from tests.tui.held import COUNTS, SENTENCE, held_by_tpm
from tests.tui.runfile import HOSTILE, make_run, make_samples

replace = msgspec.structs.replace
HELD = held_by_tpm(Path("translate.db"))
counted = st.dictionaries(st.sampled_from(list(REASONS)), st.integers(0, 2_000_000), max_size=16)


class StripApp(App[None]):
    def compose(self) -> ComposeResult:
        yield WaitingStrip()

    @property
    def strip(self) -> WaitingStrip:
        return self.query_one(WaitingStrip)


def text(line: Line) -> str:
    return "".join(part for part, _ in line)


def sized(counts: dict[Reason, int], width: int) -> dict[Reason, int]:
    return {reason: size for reason, _, size in segments(counts, width)}


def saying(sentence: str, held: Reason | None = "tpm") -> Snapshot:
    return replace(HELD, waiting=Waiting(counts=COUNTS, held=held, sentence=sentence))


# The arithmetic of the bar


@given(counts=counted, width=st.integers(16, 240))
def test_the_parts_fill_the_bar_exactly_and_none_is_lost(counts: dict[Reason, int], width: int) -> None:
    parts = segments(counts, width)
    there = [reason for reason in REASONS if counts.get(reason)]
    assert [reason for reason, _, _ in parts] == there, "each that is there, in the one order of the strip"
    assert sum(size for _, _, size in parts) == (width if there else 0)
    assert all(size >= 1 for _, _, size in parts)
    assert all(0 < cell_len(said) <= size for _, said, size in parts)
    assert cell_len(text(bar(counts, width))) == (width if there else 0)


@given(counts=counted, width=st.integers(0, 15))
def test_a_bar_with_too_few_cells_keeps_the_largest_parts(counts: dict[Reason, int], width: int) -> None:
    parts = sized(counts, width)
    there = {reason: count for reason, count in counts.items() if count}
    assert sum(parts.values()) == (width if there else 0)
    left_out = [count for reason, count in there.items() if reason not in parts]
    assert not left_out or not parts or max(left_out) <= min(there[reason] for reason in parts)


@given(counts=st.lists(st.integers(1, 10**7), min_size=1, max_size=16), width=st.integers(16, 400), data=st.data())
def test_cells_follow_the_counts_as_far_as_the_least_of_each_allows(
    counts: list[int], width: int, data: st.DataObject
) -> None:
    spare = width // len(counts)
    least = data.draw(st.lists(st.integers(1, spare), min_size=len(counts), max_size=len(counts)))
    sizes = apportion(counts, least, width)
    assert sum(sizes) == width
    assert all(size >= low for size, low in zip(sizes, least, strict=True))
    grown = [place for place in range(len(counts)) if sizes[place] > least[place]]
    for one in grown:
        for other in grown:
            if counts[one] > counts[other]:
                assert sizes[one] >= sizes[other], "of two that have more than they must, the larger has not less"


def test_without_least_sizes_the_cells_are_the_shares_by_largest_remainders() -> None:
    assert apportion([1, 1, 1], [1, 1, 1], 10) == [4, 3, 3]
    assert apportion([50, 30, 20], [1, 1, 1], 10) == [5, 3, 2]
    assert apportion([1_000_000, 1], [1, 1], 10) == [9, 1]
    assert apportion([7], [1], 78) == [78]


def test_a_million_queued_leave_those_in_flight_their_names() -> None:
    counts: dict[Reason, int] = {"cap": 999_950, "streaming": 24, "first_token": 3, "connecting": 1}
    said = text(bar(counts, 78))
    for name in (" streaming 24 ", " first token 3 ", " connecting 1 ", " cap 1.0M "):
        assert name in said
    assert sized(counts, 78)["cap"] == 78 - len(" streaming 24  first token 3  connecting 1 ")


def test_names_become_letters_and_at_last_glyphs_where_room_is_scarce() -> None:
    every = dict.fromkeys(get_args(Reason), 7)
    at_80 = [said for _, said, _ in segments(every, 78)]
    assert all(said.strip().split()[0] in (REASONS[r].letters, REASONS[r].title.split()[0]) for r, said in
               zip(REASONS, at_80, strict=True))  # fmt: skip
    assert [said for _, said, _ in segments(every, len(REASONS))] == [word.glyph for word in REASONS.values()]
    assert floors([["     ", "   ", "  ", "  ", "x"]] * 2, 5) == [2, 2], "letters for all, before a name for one"


def test_a_reason_is_known_by_its_name_its_letters_and_its_glyph_alone() -> None:
    """Never by colour alone: nobody else has the same, and a glyph is one cell."""
    assert set(REASONS) == set(get_args(Reason))
    for names in (
        [word.title for word in REASONS.values()],
        [word.letters for word in REASONS.values()],
        [word.glyph for word in REASONS.values()],
        [word.ink for word in REASONS.values()],
        [word.means for word in REASONS.values()],
    ):
        assert len(set(names)) == len(names)
    assert all(cell_len(word.glyph) == 1 for word in REASONS.values())


# The sentence and the quotas


@pytest.mark.parametrize(("width", "shown"), [
    (158, SENTENCE),
    (108, "held by TPM: 92 % of the last minute; more concurrency will not help"),
    (78, "held by TPM: 92 % of the last minute; more concurrency will not help"),
])  # fmt: skip
def test_the_sentence_says_what_holds_it_and_what_to_do_at_any_width(width: int, shown: str) -> None:
    line = text(told(HELD, width))
    assert line.startswith(shown)
    assert ("rpm 412/500 header" in line) == (width >= 98)
    assert cell_len(line) <= width


def test_advice_after_the_first_gives_way_and_what_is_too_long_ends_in_an_ellipsis() -> None:
    long = saying(f"{SENTENCE}; shorter prompts or answers would")
    assert text(told(long, 158)).startswith(long.waiting.sentence)
    assert text(told(long, 78)) == "held by TPM: 92 % of the last minute; more concurrency will not help"
    assert text(told(saying("x" * 100), 78)) == "x" * 77 + "…"


def test_quotas_say_how_near_they_are_and_who_says_so() -> None:
    known = QuotaState(meter="requests", limit=500, source="header", remaining=88, rate=500)
    assert quota(known) == "rpm 412/500 header"
    assert quota(replace(known, meter="tokens", limit=90_000, remaining=30_000, rate=90_000, source="flag")) == (
        "tpm 90k flag"
    ), "what the provider would take of its own limit says nothing about that of a person"
    day = replace(known, meter="requests_day", source="flag")
    assert quota(day) == "rpd 412/500 flag", "those of a day are counted here"
    assert quota(replace(known, remaining=None, source="learned")) == "rpm 500 learned"
    assert quota(replace(known, rate=250)) == "rpm 412/500 (250 here) header"
    assert quota(replace(known, remaining=900.0)) == "rpm 0/500 header", "a burst may hold more than a minute's limit"
    assert text(told(replace(HELD, shared_by=2), 158)).endswith("rpm 412/500 header  tpm 90k flag  shared by 2 runs")
    quiet = replace(HELD, waiting=Waiting(counts=COUNTS))
    assert text(told(quiet, 78)) == "rpm 412/500 header  tpm 90k flag", "where no sentence stands, in any width"


def test_a_server_that_tells_how_busy_it_is_stands_before_the_quotas() -> None:
    busy = replace(HELD, waiting=Waiting(counts=COUNTS), server=ServerLoad(running=16, waiting=4, cache=0.8331, at=1.0))
    said = "server: 16 running, 4 waiting, cache 83 %"
    assert text(told(busy, 78)) == f"{said}  rpm 412/500 header  tpm 90k flag"
    assert text(told(busy, 45)) == said
    assert text(told(replace(busy, quotas=()), 78)) == said
    assert text(told(replace(busy, server=ServerLoad(running=1, waiting=0, cache=None, at=1.0), quotas=()), 78)) == (
        "server: 1 running, 0 waiting"
    )


def test_a_provider_that_talks_much_does_not_hide_when_it_is_tried_again() -> None:
    words = "the provider is down (The engine is overloaded; please (really) try again later.); tried again in 8 s"
    down = saying(words, "breaker")
    assert text(told(down, 158)).startswith(words)
    assert text(told(down, 78)) == "the provider is down; tried again in 8 s"


@given(sentence=st.sampled_from((*HOSTILE, "", SENTENCE)) | st.text(max_size=200), width=st.integers(20, 240))
def test_no_sentence_is_wider_than_the_terminal_or_steers_it(sentence: str, width: int) -> None:
    line = text(told(saying(sentence), width))
    assert "\x1b" not in line
    assert cell_len(line) <= width


def test_what_held_a_run_that_ended_is_summed_up() -> None:
    held = {"rpm": 152.5, "cap": 75.0, "tpm": 0.4}
    assert summary(held, 250.0) == "held by RPM 61 % of 4m 10s, by the cap 30 %"
    assert summary({}, 250.0) == summary({"cap": 1.0}, 0.0) == ""
    assert summary({"some new \x1b[31mreason": 10.0}, 10.0) == "held by some new ␛[31mreason 100 % of 10s"


def test_the_head_does_not_say_again_what_the_strip_says() -> None:
    def plain(view: Snapshot | RunMeta) -> str:
        return "\n".join(text(line) for line in lines(view, 100))

    held = replace(HELD, cooldown=4.2)
    assert "held" not in plain(held)
    assert "held by rate limit, 4 s" in plain(replace(held, waiting=Waiting(counts=COUNTS), message=""))
    assert "the disk is full" in plain(replace(held, message="the disk is full"))


def test_the_head_of_a_rate_limited_run_tells_cap_hits_and_average_queue() -> None:
    for width in (78, 158):
        said = "\n".join(text(line) for line in lines(HELD, width))
        for figure in ("rate-limited", "in flight 40/64", "429s 16", "queue ø 212", "cost $0.22 of $5.00"):
            assert figure in said
    calm = "\n".join(text(line) for line in lines(replace(HELD, mode="open"), 158))
    assert "queue ø" not in calm
    assert "rate-limited" not in calm


def test_the_average_queue_is_told_of_an_ended_run_that_met_a_rate_limit(tmp_path: Path) -> None:
    with RunReader(make_run(tmp_path / "run.db", 5, ending="done")) as reader:
        meta = reader.meta()
    counts = Counts(items=5, done=5, rate_limit_hits=3, seconds=10.0, queue_seconds=2_124.0)
    said = "\n".join(text(line) for line in lines(replace(meta, counts=counts), 100))
    assert "queue ø 212" in said


# The widget


@pytest.mark.parametrize("width", [80, 160])
async def test_the_strip_takes_two_lines_and_repaints_only_what_reads_differently(width: int) -> None:
    app = StripApp()
    async with app.run_test(size=(width, 24)) as pilot:
        assert app.strip.size.height == 0
        app.strip.show(HELD)
        await pilot.pause()
        assert app.strip.size.height == 2
        assert "streaming 24" in read(app.strip)
        assert "held by TPM" in read(app.strip)
        painted = app.strip.paints
        app.strip.show(replace(HELD, at=2.0, seq=9))
        await pilot.pause()
        assert app.strip.paints == painted
        app.strip.show(saying(SENTENCE.replace("92", "93")))
        await pilot.pause()
        assert app.strip.paints == painted + 1
        app.strip.show(replace(HELD, waiting=Waiting(counts=COUNTS), quotas=()))
        await pilot.pause()
        assert app.strip.size.height == 2, "the table below does not jump when a sentence ends"


async def test_a_run_that_nothing_ever_held_has_no_strip(tmp_path: Path) -> None:
    app = StripApp()
    with RunReader(make_run(tmp_path / "run.db", 5, ending="done")) as reader:
        meta = reader.meta()
    async with app.run_test(size=(80, 24)) as pilot:
        app.strip.show(meta)
        app.strip.sum_up({}, 12.0)
        await pilot.pause()
        assert app.strip.size.height == 0
        app.strip.sum_up({"cap": 6.0}, 12.0)
        await pilot.pause()
        assert read(app.strip).strip() == "held by the cap 50 % of 12s"
        app.strip.show(replace(HELD, state="drained"))  # its engine lingers, and nothing waits any more
        await pilot.pause()
        assert read(app.strip).strip() == "held by the cap 50 % of 12s"


async def test_the_samples_of_a_run_that_ended_tell_what_held_it(tmp_path: Path) -> None:
    samples, events = make_samples(40)
    samples = [replace(s, held={"tpm": 0.75, "cap": 0.25}, waits={"tpm": 3}, queue_depth=2.5) for s in samples]
    run = make_run(tmp_path / "run.db", 40, samples=samples, events=events, ending="done")
    async with console(run, (100, 30)) as (pilot, screen):
        await until(pilot, lambda: "held by TPM 75 % of 40s, by the cap 25 %" in page(pilot.app))
        assert screen.query_one(WaitingStrip).size.height == 1


@pytest.mark.parametrize("size", [(80, 24), (160, 48), (80, 14)])
async def test_the_table_keeps_its_room_beside_the_strip(tmp_path: Path, size: tuple[int, int]) -> None:
    samples, events = make_samples(40)
    run = make_run(tmp_path / "run.db", 640, settled=220, failed=(3, 7), samples=samples, events=events)
    async with console(run, size) as (pilot, screen):
        await until(pilot, lambda: screen.table.visible_indices())
        screen.on_snapshot_ready(SnapshotReady(held_by_tpm(run)))
        await until(pilot, lambda: "streaming 24" in page(pilot.app))
        await until(pilot, lambda: "429s 16" in read(screen.query_one(RunHeader)))
        assert len(screen.table.visible_indices()) >= (30 if size[1] > 40 else 6)
        assert screen.query_one(WaitingStrip).size.height == (1 if size[1] < 16 else 2)


async def test_the_help_explains_every_reason(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run.db", 5)
    async with console(run, (120, 300)) as (pilot, _):
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))
        await until(pilot, lambda: all(word.means in page(pilot.app) for word in REASONS.values()))
