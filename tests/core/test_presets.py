"""Which provider, which URL, which key, and how a request to it looks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchdeck.errors import UsageError
from batchdeck.model import Rendered, RunConfig
from batchdeck.providers.failures import failure
from batchdeck.providers.openai import OpenAIChat
from batchdeck.providers.presets import MANAGED, PRESETS, endpoint_of, key, ollama_url, preset, resolve

MESSAGES = [{"role": "user", "content": "hi"}]


def config(provider: str = "custom", **changed: Any) -> RunConfig:
    settings = {"name": "r", "input": "-", "input_format": "jsonl", "model": "m", "provider": provider, **changed}
    return RunConfig(**settings)


def body(provider: str, rendered: Rendered | None = None, **changed: Any) -> dict[str, Any]:
    said = OpenAIChat(preset(provider), environ={}).body(rendered or Rendered(messages=MESSAGES), config(**changed))
    found: dict[str, Any] = json.loads(said)
    return found


# -- where to


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in (*MANAGED, "custom")])
def test_a_name_is_enough(name: str) -> None:
    found = resolve(name, None, {})
    assert found.base_url.startswith(("https://", "http://127.0.0.1:"))
    assert found.key_env is not None
    assert found.key_required is found.base_url.startswith("https://")


def test_other_spellings_and_an_unknown_name() -> None:
    assert preset("llamacpp") is preset("LLAMA.CPP")
    with pytest.raises(
        UsageError, match=r"unknown provider 'opnai'; known are openai, groq, .*custom, or give --base-url"
    ):
        resolve("opnai", None, {})
    with pytest.raises(UsageError, match="--provider NAME"):
        resolve(None, None, {})
    with pytest.raises(UsageError, match="custom needs --base-url"):
        resolve("custom", None, {})


def test_a_url_alone_is_a_custom_server_that_may_want_the_usual_key() -> None:
    found = resolve(None, "http://127.0.0.1:9000/v1/", {})
    assert (found.name, found.base_url, found.key_required) == ("custom", "http://127.0.0.1:9000/v1", False)
    assert key(found, {}) is None
    assert key(found, {"OPENAI_API_KEY": "sk-1"}) == "sk-1"


def test_the_url_of_a_known_host_is_that_provider() -> None:
    found = resolve(None, "https://api.groq.com/openai/v1", {"OPENAI_API_KEY": "sk-openai", "GROQ_API_KEY": "gsk-1"})
    assert (found.name, key(found, {"OPENAI_API_KEY": "sk-openai", "GROQ_API_KEY": "gsk-1"})) == ("groq", "gsk-1")


def test_variables_of_the_base_url_are_honoured() -> None:
    assert resolve("openai", None, {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}).base_url == "http://127.0.0.1:1/v1"
    assert resolve(None, None, {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}).name == "openai"
    assert resolve("groq", None, {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}).base_url == PRESETS["groq"].base_url
    given = resolve("openai", "http://127.0.0.1:2/v1", {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"})
    assert given.base_url == "http://127.0.0.1:2/v1", "what is said beats what is set"
    assert resolve("ollama", None, {"OLLAMA_HOST": "0.0.0.0:9999"}).base_url == "http://127.0.0.1:9999/v1"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
        ("gpu.lan", "http://gpu.lan:11434/v1"),
        (":8080", "http://127.0.0.1:8080/v1"),
        ("https://ollama.example.com", "https://ollama.example.com:443/v1"),
        ("http://gpu.lan:1234/", "http://gpu.lan:1234/v1"),
        ("http://gpu.lan:1234/v1", "http://gpu.lan:1234/v1"),
        ("[::]:11434", "http://[::1]:11434/v1"),
    ],
)
def test_ollama_host(host: str, url: str) -> None:
    assert ollama_url(host) == url


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000/v1", "ftp://x/v1", "http://", "http://x:port/v1", "https://x/v1?key=k3y", "http://a b/v1"]
)
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        resolve(None, url, {})
    assert "--base-url" in str(refused.value)
    assert "k3y" not in str(refused.value)


def test_a_password_in_a_url_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError, match="user or password") as refused:
        resolve(None, "https://me:s3cret@example.com/v1", {})
    assert "s3cret" not in str(refused.value)


def test_the_path_of_the_request_is_no_part_of_the_base_url() -> None:
    assert resolve(None, "http://h/v1/chat/completions", {}).base_url == "http://h/v1"


# -- the key


def test_a_missing_key_names_its_variable() -> None:
    with pytest.raises(UsageError, match="groq needs a key: set GROQ_API_KEY"):
        key(resolve("groq", None, {}), {})
    with pytest.raises(UsageError, match="GEMINI_API_KEY or GOOGLE_API_KEY"):
        key(resolve("gemini", None, {"GEMINI_API_KEY": ""}), {"GEMINI_API_KEY": ""})


def test_the_first_variable_that_is_set_counts() -> None:
    environ = {"GOOGLE_API_KEY": "g-2"}
    assert key(resolve("gemini", None, environ), environ) == "g-2"
    environ = {"GOOGLE_API_KEY": "g-2", "GEMINI_API_KEY": "g-1"}
    assert key(resolve("gemini", None, environ), environ) == "g-1"


def test_a_resumed_run_finds_its_key_under_the_other_variable_too() -> None:
    resumed = endpoint_of(config("gemini", base_url=PRESETS["gemini"].base_url, key_env="GEMINI_API_KEY"))
    assert key(resumed, {"GOOGLE_API_KEY": "g-2"}) == "g-2"
    assert resumed.key_required


@pytest.mark.parametrize("bad", ["sk-1\n", "sk\r\nX-Evil: 1", "sk 1", "sk-ключ"])
def test_a_key_that_could_break_a_header_is_refused_and_not_shown(bad: str) -> None:
    with pytest.raises(UsageError, match="OPENAI_API_KEY holds") as refused:
        key(resolve("openai", None, {}), {"OPENAI_API_KEY": bad})
    assert bad.strip() not in str(refused.value)


def test_a_server_of_ones_own_behind_a_known_name_needs_no_key() -> None:
    assert key(resolve("openai", "http://127.0.0.1:1/v1", {}), {}) is None


# -- the request


def test_each_provider_gets_the_names_it_knows() -> None:
    assert body("openai", max_tokens=5)["max_completion_tokens"] == 5
    assert body("mistral", max_tokens=5)["max_tokens"] == 5
    assert body("openai")["stream_options"] == {"include_usage": True}
    assert "stream_options" not in body("mistral"), "it refuses what it does not know"
    assert "stream_options" not in body("openai", stream=False)


def test_a_parameter_that_the_user_spelled_out_is_the_one_sent() -> None:
    said = body("custom", max_tokens=5, params={"max_completion_tokens": 9})
    assert (said.get("max_tokens"), said["max_completion_tokens"]) == (None, 9)


def test_a_batch_line_is_taken_as_it_is_and_only_filled_up() -> None:
    line = {
        "model": "theirs",
        "messages": MESSAGES,
        "max_tokens": 3,
        "temperature": 0,
        "stream": False,
        "logit_bias": {},
    }
    rendered = Rendered(body=line, path="/v1/chat/completions")
    said = body("openai", rendered, model="ours", max_tokens=99, params={"temperature": 1, "seed": 4})
    assert said == {
        "model": "theirs", "messages": MESSAGES, "max_tokens": 3, "temperature": 0, "logit_bias": {}, "seed": 4,
        "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    assert "stream" not in body("openai", rendered, stream=False)
    assert line["stream"] is False, "the input's own line is left alone"
    assert OpenAIChat(preset("openai")).path(rendered) == "/chat/completions"
    assert body("openai", Rendered(body={"messages": MESSAGES}))["model"] == "m"


def test_headers_are_filled_from_the_environment_when_sent() -> None:
    provider = OpenAIChat(preset("custom"), environ={"TEAM_TOKEN": "t-1"})
    headers = dict(provider.headers(config(headers={"X-Token": "Bearer ${TEAM_TOKEN}"}), None, {}))
    assert headers["x-token"] == "Bearer t-1"
    assert "authorization" not in headers
    with pytest.raises(UsageError, match="'X-Other' asks for the environment variable NOT_SET"):
        provider.headers(config(headers={"X-Other": "${NOT_SET}"}), None, {})
    literal = dict(provider.headers(config(headers={"x-a": ""}), None, {"X-A": "${TEAM_TOKEN}"}))
    assert literal["x-a"] == "${TEAM_TOKEN}", "a secret's value is sent as it is"


@pytest.mark.parametrize("name", ["", "a b", "x:y", "Content-Length", "transfer-encoding"])
def test_a_name_that_is_none_and_one_that_frames_the_body_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        OpenAIChat(preset("custom")).headers(config(headers={name: "1"}), None, {})


# -- errors as the providers word them


@pytest.mark.parametrize(
    ("status", "said", "outcome", "error_type", "message"),
    [
        (400, {"code": "x", "error": "Incorrect API key provided: xa***"}, "fatal", "auth", "Incorrect API key"),
        (400, [{"error": {"code": 400, "message": "API key not valid."}}], "fatal", "auth", "API key not valid"),
        (400, {"error": {"message": "Bad prompt: invalid api key, he said"}}, "permanent", "http_400", "Bad prompt"),
        (401, {"object": "error", "message": "No API key", "type": "invalid_request"}, "fatal", "auth", "No API key"),
        (403, {"error": {"message": "no", "metadata": {"flagged_input": "x"}}}, "permanent", "http_403", "no"),
        (404, {"detail": "Not Found"}, "permanent", "http_404", "Not Found"),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "Required"}]}, "permanent", "http_422", "body.n: Required"),
        (429, {"error": {"message": "Upstream", "metadata": {"raw": "slow"}}}, "rate_limited", "rate_limited",
         "Upstream: slow"),
        (429, {"error": {"message": "pay", "type": "insufficient_quota"}}, "fatal", "quota_exhausted", "pay"),
        (498, {"error": {"message": "capacity_exceeded"}}, "transient", "http_498", "capacity"),
        (503, {"error": {"code": 503, "message": "Loading model"}}, "transient", "http_503", "Loading model"),
    ],
)  # fmt: skip
def test_errors_as_the_servers_word_them(status: int, said: Any, outcome: str, error_type: str, message: str) -> None:
    found = failure(status, (), json.dumps(said).encode(), 0.0)
    assert (found.outcome, found.error_type) == (outcome, error_type)
    assert found.message.startswith(message)


def test_what_points_at_a_wrong_base_url_says_so() -> None:
    moved = failure(308, (("location", "https://api.example.com/v1"),), b"", 0.0)
    assert (moved.outcome, moved.error_type) == ("permanent", "http_308")
    assert "https://api.example.com/v1" in moved.message
    assert "base URL" in moved.message
    assert "/v1" in failure(404, (("content-type", "text/html"),), b"<html></html>", 0.0).message
