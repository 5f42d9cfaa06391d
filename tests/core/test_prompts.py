"""What is asked of the model for a row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchdeck.errors import InputError, UsageError
from batchdeck.model import Rendered
from batchdeck.prompts import LABEL, Prompts, label


def asked(fields: dict[str, Any], prompt: str | None = None, system: str | None = None) -> list[dict[str, Any]]:
    messages = Prompts(prompt, system, tuple(fields)).render(fields).messages
    assert messages is not None
    return messages


def said(fields: dict[str, Any], prompt: str) -> str:
    (message,) = asked(fields, prompt)
    assert message["role"] == "user"
    return str(message["content"])


class TestTemplates:
    def test_a_template_reads_columns(self) -> None:
        assert said({"text": "Haus", "to": "English"}, "Translate to {{to}}: {{ text }}\n") == (
            "Translate to English: Haus\n"
        )

    def test_the_system_prompt_comes_first_and_is_a_template_too(self) -> None:
        assert asked({"q": "why?", "tone": "dry"}, "{{q}}", "Be {{tone}}.") == [
            {"role": "system", "content": "Be dry."},
            {"role": "user", "content": "why?"},
        ]

    @given(st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: not text.isspace()))
    @settings(deadline=None)
    def test_a_value_is_data_whatever_it_looks_like(self, text: str) -> None:
        assert said({"text": text}, "{{text}}") == text

    def test_a_value_that_looks_like_a_template_is_not_run(self) -> None:
        hostile = "{{ 7 * 7 }} {% for i in range(9) %}x{% endfor %} {{ ''.__class__ }}"
        assert said({"text": hostile}, "Say: {{text}}") == f"Say: {hostile}"

    @pytest.mark.parametrize(
        ("value", "text"),
        [(None, ""), (True, "true"), (1.5, "1.5"), ([1, "a"], '[1,"a"]'), ({"k": None}, '{"k":null}'), (7, "7")],
    )
    def test_json_values_are_put_in_as_json(self, value: Any, text: str) -> None:
        assert said({"v": value}, "<{{v}}>") == f"<{text}>"

    def test_filters_and_columns_with_odd_names(self) -> None:
        assert said({"first name": "Ada", "tags": ["a"]}, '{{ row["first name"] | upper }} {{ tags | tojson }}') == (
            'ADA ["a"]'
        )

    def test_a_column_that_the_input_does_not_have_stops_the_launch(self) -> None:
        with pytest.raises(UsageError, match="'texd', which the input does not have; it has id, text") as caught:
            Prompts("Translate {{texd}}", None, ("id", "text"))
        assert "default('')" in str(caught.value)
        with pytest.raises(UsageError, match="--system names the column 'tone'"):
            Prompts(None, "Be {{tone}}", ("text",))

    def test_a_column_that_only_some_rows_have_can_be_asked_for(self) -> None:
        prompts = Prompts(
            "{{text}}{% if hint is defined %} ({{hint}}){% endif %}{{ end | default('') }}", None, ("text",)
        )
        assert prompts.render({"text": "a"}).label == "a"
        assert prompts.render({"text": "a", "hint": "b", "end": "!"}).label == "a (b)!"

    def test_a_row_without_the_column_is_an_error_of_that_row(self) -> None:
        prompts = Prompts("{{text}}", None, ("text",))
        with pytest.raises(InputError, match="'text' is undefined; this row has id"):
            prompts.render({"id": 1})

    @pytest.mark.parametrize("prompt", ["{{text", "{% if text %}", "{{ text | nofilter }}", "{{ }}", "", "  "])
    def test_a_template_that_does_not_parse_stops_the_launch(self, prompt: str) -> None:
        with pytest.raises(UsageError, match="--prompt") as caught:
            Prompts(prompt, None, ("text",))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "prompt",
        [
            "{{ text.nope }}",
            "{{ text / 0 }}",
            "{{ 1 // 0 }}",
            "{{ ''.__class__.__mro__ }}{{ text }}",
            "{{ text * 1000000000 }}",
            "{{ 9 ** 9 ** 9 }}",
            "{% for i in range(10 ** 9) %}{{ text }}{% endfor %}",
            "{% for i in range(90000) %}{% for j in range(90000) %}{{ text }}{% endfor %}{% endfor %}",
            "{% include 'other' %}",
        ],
    )
    def test_a_template_that_fails_or_runs_away_is_an_error_with_a_reason(self, prompt: str) -> None:
        with pytest.raises(InputError, match="--prompt"):
            Prompts(prompt, None, ("text",)).render({"text": "x" * 100})

    def test_an_empty_prompt_is_not_paid_for(self) -> None:
        with pytest.raises(InputError, match="the prompt is empty"):
            Prompts("{{text}}", None, ("text",)).render({"text": " \n"})


class TestRowsThatSpeakForThemselves:
    @pytest.mark.parametrize(
        ("fields", "prompt"),
        [
            ({"text": "a", "prompt": "b", "n": 1}, "b"),
            ({"text": "a", "n": 1}, "a"),
            ({"question": "why?"}, "why?"),
            ({"custom_id": "x", "id": 1, "question": "why?"}, "why?"),
            ({"id": "why?"}, "why?"),
            ({"prompt": ["a"]}, '["a"]'),
        ],
    )
    def test_the_column_that_is_asked(self, fields: dict[str, Any], prompt: str) -> None:
        assert asked(fields) == [{"role": "user", "content": prompt}]

    def test_a_conversation_is_sent_as_it_is(self) -> None:
        talk = [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
            {"role": "user", "content": [{"type": "text", "text": "and this?"}, {"type": "image_url"}]},
        ]
        assert asked({"messages": talk, "text": "no"}) == talk
        assert asked({"messages": json.dumps(talk)}, None, "Be kind.") == [
            {"role": "system", "content": "Be kind."},
            *talk,
        ]
        assert Prompts(None, None).render({"messages": talk}).label == "and this? [image_url]"

    @pytest.mark.parametrize(
        "messages", ["hello", "[", [], {}, [1], [{"content": "x"}], [{"role": "user"}], [{"role": 1, "content": "x"}]]
    )
    def test_a_malformed_conversation_is_an_error(self, messages: Any) -> None:
        with pytest.raises(InputError, match="messages"):
            Prompts(None, None).render({"messages": messages})

    def test_columns_that_say_nothing_stop_the_launch_and_show_the_way(self) -> None:
        with pytest.raises(UsageError, match=r"the columns id, title, text_de.*--prompt 'Summarise: \{\{title\}\}'"):
            Prompts(None, None, ("id", "title", "text_de"))
        with pytest.raises(UsageError, match=r'row\["first name"\]'):
            Prompts(None, None, ("first name", "last name"))

    def test_each_row_is_judged_by_its_own_columns(self) -> None:
        prompts = Prompts(None, None, ("text", "n"))
        assert prompts.render({"prompt": "b"}).label == "b"
        with pytest.raises(InputError, match="the columns a, b"):
            prompts.render({"a": 1, "b": 2})
        with pytest.raises(InputError, match="no column"):
            prompts.render({})


class TestBatchLines:
    def line(self, **change: Any) -> dict[str, Any]:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
        return {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body, **change}

    def test_the_body_is_sent_to_its_path_below_the_base_url(self) -> None:
        fields = self.line()
        assert Prompts(None, None, tuple(fields)).render(fields) == Rendered(
            body=fields["body"], path="/chat/completions", label="hi"
        )

    def test_other_endpoints_keep_their_path(self) -> None:
        rendered = Prompts(None, None).render(self.line(url="/v1/embeddings", body={"input": "some words"}))
        assert (rendered.path, rendered.label) == ("/embeddings", "some words")

    def test_the_system_prompt_goes_into_the_body(self) -> None:
        body = Prompts(None, "Be kind.").render(self.line()).body
        assert body is not None
        assert [message["role"] for message in body["messages"]] == ["system", "user"]
        with pytest.raises(InputError, match="no messages"):
            Prompts(None, "Be kind.").render(self.line(body={"input": "x"}))

    @pytest.mark.parametrize("change", [{"method": "GET"}, {"url": "https://elsewhere.example/v1"}, {"url": "/a b"}])
    def test_what_cannot_be_sent_is_an_error(self, change: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=r"method|url"):
            Prompts(None, None).render(self.line(**change))

    def test_a_template_wins_over_the_body(self) -> None:
        assert said(self.line(), "{{ body.messages[0].content }}!") == "hi!"


class TestLabels:
    @given(st.text())
    def test_a_label_is_one_short_harmless_line(self, text: str) -> None:
        line = label(text)
        assert len(line) <= LABEL
        assert not set(line) & set("\n\r\t\x1b\x07\x00\u202e\u2028\x9b")

    def test_a_long_prompt_is_cut_with_an_ellipsis(self) -> None:
        assert label("a" * LABEL) == "a" * LABEL
        assert label("a" * (LABEL + 1)) == "a" * (LABEL - 1) + "…"
        assert label("a " + " " * 5_000 + "b").endswith("…")

    def test_line_breaks_are_seen(self) -> None:
        assert label("\n one\ntwo ") == "one⏎two"
