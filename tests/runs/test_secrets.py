"""A key is sent to the server and kept nowhere else, however the server says it back."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.cli.options import split_headers
from batchdeck.errors import DecodeError, UsageError
from batchdeck.model import Answer, Failure, RunConfig, Settled, Timings, WorkOrder
from batchdeck.providers.chat import ChatDecoder
from batchdeck.providers.connect import connect, fill_headers
from batchdeck.providers.redact import REDACTED, LiveText, Redaction, hidden_strings
from batchdeck.store.reader import RunReader
from tests.runs.echo import Reply, server
from tests.runs.processes import batchdeck

KEY = "sk-canary-7d1f0c55aa"


def config(**changed: object) -> RunConfig:
    settings = {"name": "r", "input": "-", "input_format": "jsonl", "model": "m", "provider": "custom", **changed}
    return RunConfig(**settings)  # type: ignore[arg-type]


def event(text: str, **more: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}], **more}).encode() + b"\n\n"


@pytest.fixture
def one_prompt(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("Which key do I use?\n")
    return path


def run_against(base_url: str, prompt: Path, db: Path, *options: str) -> None:
    done = batchdeck(
        "run", str(prompt), "--base-url", base_url, "-m", "m", "--db", str(db), "--json", "--max-retries", "0", *options
    )
    assert db.exists(), done.stderr
    assert KEY not in done.stdout + done.stderr


def kept(db: Path) -> bytes:
    """Everything that the run left beside its run file, and the raw answers unpacked."""
    files = b"".join(path.read_bytes() for path in db.parent.glob(f"{db.name}*") if path.is_file())
    with RunReader(db) as reader:
        return files + b"".join(reader.raw(attempt.id) for attempt in reader.detail(0).attempts)  # type: ignore[union-attr]


def test_a_server_that_names_the_key_of_a_header_without_its_scheme_leaves_no_trace(
    tmp_path: Path, one_prompt: Path
) -> None:
    def refuse(headers: dict[str, str]) -> Reply:
        said = headers["authorization"].removeprefix("Bearer ")
        return 401, {"x-request-id": f"for {said}"}, json.dumps({"error": {"message": f"Invalid key {said}"}}).encode()

    db = tmp_path / "run.db"
    with server(refuse) as base_url:
        run_against(base_url, one_prompt, db, "--header", f"Authorization: Bearer {KEY}")
    assert KEY.encode() not in kept(db)
    with RunReader(db) as reader:
        assert f"Invalid key {REDACTED}" in reader.meta().message + reader.errors()[0].example


def test_the_key_is_struck_out_of_every_field_of_an_answer(
    tmp_path: Path, one_prompt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def repeat(headers: dict[str, str]) -> Reply:
        said = headers["authorization"].removeprefix("Bearer ")
        choice = {"index": 0, "message": {"content": f"You use {said}."}, "finish_reason": f"stop {said}"}
        return 200, {"x-request-id": said}, json.dumps({"model": f"m-{said}", "choices": [choice]}).encode()

    db = tmp_path / "run.db"
    with server(repeat) as base_url:
        run_against(base_url, one_prompt, db)
    assert KEY.encode() not in kept(db)
    with RunReader(db) as reader:
        attempt = reader.detail(0).attempts[0]  # type: ignore[union-attr]
    assert (attempt.text, attempt.model, attempt.finish_reason) == (
        f"You use {REDACTED}.", f"m-{REDACTED}", f"stop {REDACTED}"
    )  # fmt: skip


async def test_a_failures_class_and_the_json_form_of_a_key_are_struck_out_as_well() -> None:
    key = 'sk-"quoted"/and\\more'
    async with connect(config(base_url="http://x/v1"), {"X-Api-Key": key}, {}) as connection:
        settled = connection.redact(
            Settled(
                order=WorkOrder(idx=0, variant=0, revision=0, number=1, path="/", body=b"", stream=True),
                timings=Timings(started_at=0.0, seconds=1.0),
                status=400,
                headers=(("x-echo", key),),
                raw=json.dumps({"a": key}).encode() + json.dumps(key).replace("/", "\\/").encode(),
                answer=Answer(text=key),
                failure=Failure(outcome="permanent", error_type=f"bad {key}", message=key),
                sends=1,
            )
        )
    assert settled.failure == Failure(outcome="permanent", error_type=f"bad {REDACTED}", message=REDACTED)
    assert settled.raw == f'{{"a": "{REDACTED}"}}"{REDACTED}"'.encode()
    assert settled.headers == (("x-echo", REDACTED),)


class TestHeaders:
    @pytest.mark.parametrize("value", ["${KEY}", "Bearer ${KEY}", "token ${A}${B}", "Basic ${USER_AND_PASSWORD}"])
    def test_a_reference_is_kept(self, value: str) -> None:
        assert split_headers((f"X-Api-Key: {value}",)) == ({"X-Api-Key": value}, {})

    @pytest.mark.parametrize("value", ["sk-LIT${HOME}", "${HOME}sk-LIT", "Bearer sk-LIT${HOME}", "sk-LIT ${HOME}"])
    def test_a_literal_beside_a_reference_is_a_secret_and_the_reference_is_filled_when_sent(self, value: str) -> None:
        name, secrets = "X-Api-Key", {"X-Api-Key": value}
        assert split_headers((f"{name}: {value}",)) == ({name: ""}, secrets)
        filled = value.replace("${HOME}", "/home/ada")
        headers, hidden = fill_headers(config(headers={name: ""}), secrets, {"HOME": "/home/ada"})
        assert list(headers.values()) == [filled]
        assert filled in hidden_strings(hidden)

    def test_a_header_may_be_given_again_in_other_letters(self) -> None:
        headers, _ = fill_headers(config(headers={"X-Team-Key": ""}), {"x-team-key": KEY}, {})
        assert list(headers.values()) == [KEY]
        with pytest.raises(UsageError, match="X-Team-Key"):
            fill_headers(config(headers={"X-Team-Key": ""}), {}, {})

    def test_a_key_is_hidden_alone_and_words_of_a_language_are_not(self) -> None:
        assert hidden_strings(["Bearer supersecret"]) == ("Bearer supersecret", "supersecret")
        assert "0123456789" in hidden_strings(["session=0123456789; HttpOnly"])
        assert hidden_strings(["translation experiments"]) == ("translation experiments",)


class TestLiveText:
    @given(cuts=st.lists(st.integers(0, 100), max_size=12))
    def test_a_key_cut_over_chunks_is_never_shown_and_nothing_else_is_lost(self, cuts: list[int]) -> None:
        text = f"so: {KEY}, Bearer {KEY} and sk-canary-other sk"
        places = sorted({0, *(cut % len(text) for cut in cuts), len(text)})
        decoder = ChatDecoder(redact=Redaction(hidden_strings([f"Bearer {KEY}"])))
        shown = [decoder.feed(event(text[start:end])) for start, end in pairwise(places)]
        shown.append(decoder.feed(b"data: [DONE]\n\n"))
        assert "".join(shown) == f"so: {REDACTED}, {REDACTED} and sk-canary-other sk" == decoder.finish().text

    @given(
        text=st.text("abc", max_size=30),
        hidden=st.lists(st.text("abc", min_size=1, max_size=5), max_size=3),
        cuts=st.lists(st.integers(0, 29), max_size=10),
    )
    def test_where_it_is_cut_makes_no_difference(self, text: str, hidden: list[str], cuts: list[int]) -> None:
        def shown(places: list[int]) -> str:
            live = LiveText(Redaction(hidden))
            return "".join(live.feed(text[start:end]) for start, end in pairwise(places)) + live.flush()

        assert shown(sorted({0, *(min(cut, len(text)) for cut in cuts), len(text)})) == shown([0, len(text)])

    def test_text_that_begins_no_key_is_shown_at_once(self) -> None:
        live = LiveText(Redaction([KEY]))
        assert [live.feed(piece) for piece in ("Mind", " the", " gap", " s")] == ["Mind", " the", " gap", " "]
        assert live.feed("o") == "so"

    def test_a_long_key_in_what_does_not_parse_is_not_cut_before_it_is_found(self) -> None:
        key = "ey" + "J0x9" * 200
        decoder = ChatDecoder(redact=Redaction([key]))
        with pytest.raises(DecodeError) as failed:
            decoder.feed(f"data: [{key}\n\n".encode())
        assert key[:12] not in str(failed.value)


def test_a_run_file_of_a_half_secret_header_holds_nothing_of_it(tmp_path: Path, one_prompt: Path) -> None:
    seen: list[str] = []

    def answer(headers: dict[str, str]) -> Reply:
        seen.append(headers["x-api-key"])
        return 200, {}, event("ok") + event("", usage={}) + b"data: [DONE]\n\n"

    db = tmp_path / "run.db"
    with server(answer) as base_url:
        run_against(base_url, one_prompt, db, "--header", f"X-Api-Key: {KEY}-${{HOME}}")
    assert seen == [f"{KEY}-{os.environ['HOME']}"]
    assert KEY.encode() not in kept(db)
