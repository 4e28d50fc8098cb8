"""Answers in a requested form, in the shapes of OpenAI, vLLM and llama.cpp."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Literal

import httpx
import jsonschema
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field

from support.servers.http_servers import TINY

BIAS = {str(ord(character)): 4.0 for character in '"}]'}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "blue"]},
        "sure": {"type": "boolean"},
        "note": {"type": "string", "maxLength": 4},
    },
    "required": ["colour", "sure", "note"],
    "additionalProperties": False,
}
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Which colour?"}]
CHAT = {"messages": MESSAGES, "max_tokens": 150, "temperature": 0.8, "seed": 4, "logit_bias": BIAS}
PROMPT = {"prompt": "Which colour?", "max_tokens": 150, "temperature": 0.8, "seed": 4, "logit_bias": BIAS}
NAMED = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}


class Answer(BaseModel):
    """The answer as declared by the openai package."""

    colour: Literal["red", "blue"]
    sizes: list[int] = Field(max_length=2)


def choice_of(http: httpx.Client, route: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    response = http.post(route, json=body)
    assert response.status_code == 200, response.text
    reply = response.json()
    if "choices" not in reply:
        return reply["content"], reply
    choice = reply["choices"][0]
    return choice["text"] if "text" in choice else choice["message"]["content"], choice


@pytest.mark.parametrize(
    "asked",
    [
        {"response_format": NAMED},
        {"response_format": {"type": "json_schema", "schema": SCHEMA}},
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
        {"json_schema": SCHEMA},
        {"structured_outputs": {"json": SCHEMA}},
        {"structured_outputs": {"json": json.dumps(SCHEMA), "disable_any_whitespace": True}},
        {"structured_outputs": {"json": SCHEMA, "whitespace_pattern": " ?"}},
    ],
    ids=str,
)
def test_schemas(http: httpx.Client, asked: dict[str, Any]) -> None:
    """A JSON schema in any client's shape holds, and the answer is marked as complete."""
    route = "/v1/completions" if "structured_outputs" in asked else "/v1/chat/completions"
    content, choice = choice_of(http, route, (CHAT if "chat" in route else PROMPT) | asked)

    jsonschema.validate(json.loads(content), SCHEMA)
    assert (choice["finish_reason"], choice["pellucid"]["complete"]) == ("stop", True)


@pytest.mark.parametrize(
    ("asked", "pattern"),
    [
        ({"structured_outputs": {"regex": "[ab]{3}"}}, "[ab]{3}"),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, "yes|no"),
        ({"structured_outputs": {"grammar": 'start: "x" | "yz"'}}, "x|yz"),
        ({"structured_outputs": {"grammar": 'root ::= "x" | "yz"'}}, "x|yz"),
        ({"grammar": 'root ::= "x" | "yz"'}, "x|yz"),
    ],
    ids=str,
)
@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions", "/completion", "/infill"])
def test_other_grammars(http: httpx.Client, route: str, asked: dict[str, Any], pattern: str) -> None:
    """Regular expressions, choices and grammars hold on every route with the field."""
    body = CHAT if "chat" in route else PROMPT
    if "v1" not in route:
        body = {"prompt": "Which?", "n_predict": 50}
        if "grammar" not in asked:
            assert http.post(route, json=body | asked).status_code == 400
            return
    assert re.fullmatch(pattern, choice_of(http, route, body | asked)[0])


def test_llama_fields(http: httpx.Client) -> None:
    """llama.cpp's json_schema holds; with n_probs the reply has the grammar's figures."""
    body = {
        "prompt": "x",
        "n_predict": 150,
        "seed": 1,
        "json_schema": SCHEMA,
        "n_probs": 2,
        "logit_bias": [['"', 4.0], ["}", 4.0]],
    }
    content, reply = choice_of(http, "/completion", body)

    answer = json.loads(content)
    jsonschema.validate(answer, SCHEMA)
    assert reply["pellucid"]["complete"]
    assert {field["path"]: field["value"] for field in reply["pellucid"]["fields"]} == {
        f"/{name}": value for name, value in answer.items()
    }
    assert reply["completion_probabilities"][0]["grammar"]["forced"]
    assert (
        http.post("/completion", json=body | {"post_sampling_probs": True}).json()["error"]["param"]
        == "post_sampling_probs"
    )
    assert "pellucid" not in http.post("/completion", json={"prompt": "x", "n_predict": 1}).json()


def test_probabilities_of_tokens_and_fields(http: httpx.Client) -> None:
    """Each token has the grammar's figures, and each value the product of the probabilities."""
    compact = {
        "structured_outputs": {"json": SCHEMA, "disable_any_whitespace": True},
        "logprobs": True,
        "top_logprobs": 20,
    }
    content, choice = choice_of(http, "/v1/chat/completions", CHAT | compact)
    records = [entry["pellucid"] for entry in choice["logprobs"]["content"]]

    assert all(record["allowed"] == 1.0 for record in records)
    assert [record["grammar"]["forced"] for record in records[: len('{"colour":"')]] == [True] * len('{"colour":"')
    decided = records[content.index('":"') + 3]["grammar"]
    assert (decided["allowed"], decided["forced"]) == (2, False)
    assert 0 < decided["mass"] < 1
    fields = {field["path"]: field for field in choice["pellucid"]["fields"]}
    assert list(fields) == ["/colour", "/sure", "/note"]
    assert {path[1:]: field["value"] for path, field in fields.items()} == json.loads(content)
    assert fields["/colour"]["decided"] == fields["/sure"]["decided"] == 1
    assert fields["/colour"]["probability"] == pytest.approx(math.exp(decided["logprob"]))
    for path, values in (("/colour", {"red", "blue"}), ("/sure", {True, False})):
        if "other" in fields[path]:  # The tiny model's top 20 may lack the other value.
            assert {fields[path]["value"], fields[path]["other"]["value"]} == values
            assert fields[path]["other"]["probability"] == pytest.approx(1 - fields[path]["probability"], abs=1e-3)


def test_a_stream_is_the_same(http: httpx.Client) -> None:
    """A streamed answer has the same text, and the last event the same values."""
    body = CHAT | {"response_format": NAMED, "logprobs": True, "top_logprobs": 3}
    content, choice = choice_of(http, "/v1/chat/completions", body)
    lines = http.post("/v1/chat/completions", json=body | {"stream": True}).text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]

    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == content
    end = events[-1]["choices"][0]["pellucid"]
    assert end["complete"]
    assert [field["path"] for field in end["fields"]] == [field["path"] for field in choice["pellucid"]["fields"]]


def test_an_answer_that_ends_early_says_so(http: httpx.Client) -> None:
    """A cut answer is not complete, and only whole values are listed."""
    for early in ({"max_tokens": 20}, {"stop": ["sure"]}):
        content, choice = choice_of(
            http, "/v1/chat/completions", CHAT | {"response_format": NAMED, "logprobs": True} | early
        )
        assert choice["pellucid"]["complete"] is False
        assert [field["path"] for field in choice["pellucid"]["fields"]] == ["/colour"] * (
            '"sur' in content or "," in content
        )
    plain = choice_of(http, "/v1/chat/completions", CHAT | {"max_tokens": 2})[1]
    assert "complete" not in plain["pellucid"]


def test_several_answers(http: httpx.Client) -> None:
    """Each of several answers keeps to the grammar."""
    reply = http.post("/v1/completions", json=PROMPT | {"n": 4, "structured_outputs": {"regex": "[a-z]{8}"}}).json()
    texts = [choice["text"] for choice in reply["choices"]]

    assert all(re.fullmatch("[a-z]{8}", text) for text in texts)
    assert len(set(texts)) > 1


def test_openai_parse(client: openai.OpenAI) -> None:
    """The openai package parses an answer into a pydantic model."""
    answer = client.chat.completions.parse(
        model=TINY, messages=MESSAGES, response_format=Answer, max_tokens=200, seed=1, logit_bias={"93": 5, "34": 4}
    )
    parsed = answer.choices[0].message.parsed

    assert isinstance(parsed, Answer)
    assert len(parsed.sizes) <= 2


def test_openai_stream(client: openai.OpenAI) -> None:
    """The openai package parses a streamed answer, too."""
    with client.chat.completions.stream(
        model=TINY, messages=MESSAGES, response_format=Answer, max_tokens=200, seed=1, logit_bias={"93": 5, "34": 4}
    ) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Answer)


def test_text_is_no_grammar(http: httpx.Client) -> None:
    """The format text, an empty grammar and null fields limit nothing."""
    plain = choice_of(http, "/v1/completions", PROMPT | {"max_tokens": 8})[0]
    none = {"response_format": {"type": "text"}, "grammar": "", "structured_outputs": None, "json_schema": None}
    assert choice_of(http, "/v1/completions", PROMPT | {"max_tokens": 8} | none)[0] == plain


@pytest.mark.parametrize(
    ("asked", "param", "sentence"),
    [
        ({"response_format": NAMED, "grammar": 'root ::= "a"'}, "grammar", "both limit the answer"),
        ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs", "exactly one"),
        ({"structured_outputs": {}}, "structured_outputs", "exactly one"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag", "not supported"),
        ({"structured_outputs": {"regex": "a", "whitespace_pattern": " "}}, "structured_outputs", "white space"),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs", "not valid JSON"),
        ({"structured_outputs": {"regex": "(?=a)"}}, "structured_outputs", "look-around"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "needs a schema"),
        ({"response_format": {"type": "text", "schema": {}}}, "response_format", "has no schema"),
        ({"response_format": NAMED | {"schema": {}}}, "response_format", "two schemas"),
        (
            {"response_format": {"type": "json_object", "schema": {"not": {}}}},
            "response_format",
            'Unimplemented keys: ["not"]',
        ),
        ({"json_schema": {"type": "array", "uniqueItems": True}}, "json_schema", "uniqueItems"),
        ({"grammar": "root ::= ("}, "grammar", "cannot be used as a grammar"),
        ({"response_format": NAMED, "ignore_eos": True}, "ignore_eos", "decides where the answer ends"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(http: httpx.Client, asked: dict[str, Any], param: str, sentence: str) -> None:
    """Contradicting fields and impossible grammars are a 400 with the field and the reason."""
    for stream in (False, True):
        response = http.post("/v1/chat/completions", json=CHAT | asked | {"stream": stream})
        error = response.json()["error"]
        assert (response.status_code, error["param"], sentence in error["message"]) == (400, param, True), error
