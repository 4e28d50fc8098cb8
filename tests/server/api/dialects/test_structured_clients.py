"""The openai, anthropic and ollama packages get answers in a form, each by the package's field."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import anthropic
import httpx
import jsonschema
import ollama
import openai
import pytest
from pydantic import BaseModel, ConfigDict

from support.servers.http_servers import TINY, LiveServer
from support.servers.real_model_server import CODER

Json = dict[str, Any]
LOGPROBS: Any = "message.output_text.logprobs"
SCHEMA: Json = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}, "sure": {"type": "boolean"}},
    "required": ["colour", "sure"],
    "additionalProperties": False,
}
REFUSED = SCHEMA | {"not": {}}
MESSAGES: Any = [{"role": "user", "content": "Which colour?"}]
TOOL: Json = {"name": "f", "description": "It does it."}


class Answer(BaseModel):
    """The answer as declared by the packages."""

    model_config = ConfigDict(extra="forbid")

    colour: Literal["red", "blue"]
    sure: bool


class City(BaseModel):
    """A city described by the real model."""

    name: str
    country: str


@dataclass(frozen=True)
class Route:
    """A route with the format's field, the requests and the replies.

    ``body`` makes a request from a schema, a limit of tokens and a flag for probabilities; ``text``
    and ``end`` read a reply.
    """

    path: str
    field: str
    body: Callable[[Json, int, bool], Json]
    text: Callable[[Json], str]
    end: Callable[[Json], Json]
    tools: list[Json]


def _responses(schema: Json, limit: int, scored: bool) -> Json:
    format = {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}
    asked = {"include": [LOGPROBS], "top_logprobs": 3} if scored else {}
    return {
        "input": MESSAGES,
        "text": {"format": format},
        "max_output_tokens": limit,
        "temperature": 0.8,
        "seed": 4,
        **asked,
    }


def _messages(schema: Json, limit: int, scored: bool) -> Json:
    asked = {"logprobs": True, "top_logprobs": 3} if scored else {}
    config = {"format": {"type": "json_schema", "schema": schema}}
    return {"messages": MESSAGES, "output_config": config, "max_tokens": limit, "temperature": 0.8, "seed": 4, **asked}


def _ollama(schema: Json, limit: int, scored: bool) -> Json:
    options = {"num_predict": limit, "temperature": 0.8, "top_k": 0, "top_p": 1.0, "seed": 4}
    return {"format": schema, "stream": False, "options": options} | (
        {"logprobs": True, "top_logprobs": 3} if scored else {}
    )


def _chat(schema: Json, limit: int, scored: bool) -> Json:
    format = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    asked = {"logprobs": True, "top_logprobs": 3} if scored else {}
    return {
        "messages": MESSAGES,
        "response_format": format,
        "max_tokens": limit,
        "temperature": 0.8,
        "seed": 4,
        **asked,
    }


def _end(reply: Json) -> Json:
    return dict(reply["pellucid"])


FUNCTION = {"type": "function", "function": TOOL}
CHAT = Route(
    "/v1/chat/completions",
    "response_format",
    _chat,
    lambda reply: str(reply["choices"][0]["message"]["content"]),
    lambda reply: _end(reply["choices"][0]),
    [FUNCTION],
)
ROUTES = [
    Route(
        "/v1/responses",
        "text.format",
        _responses,
        lambda reply: str(reply["output"][0]["content"][0]["text"]),
        _end,
        [{"type": "function", **TOOL}],
    ),
    Route(
        "/v1/messages",
        "output_config.format",
        _messages,
        lambda reply: str(reply["content"][0]["text"]),
        _end,
        [{"name": "f", "input_schema": {"type": "object"}}],
    ),
    Route(
        "/api/chat",
        "format",
        lambda *asked: _ollama(*asked) | {"messages": MESSAGES},
        lambda reply: str(reply["message"]["content"]),
        _end,
        [FUNCTION],
    ),
    Route(
        "/api/generate",
        "format",
        lambda *asked: _ollama(*asked) | {"prompt": MESSAGES[0]["content"]},
        lambda reply: str(reply["response"]),
        _end,
        [],
    ),
]


@pytest.fixture
def by_anthropic(tiny_server: LiveServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=tiny_server.url, api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture
def by_ollama(tiny_server: LiveServer) -> Iterator[ollama.Client]:
    with ollama.Client(host=tiny_server.url, trust_env=False) as client:
        yield client


def asked(http: httpx.Client, route: Route, schema: Json = SCHEMA, limit: int = 150, *, scored: bool = False) -> Json:
    response = http.post(route.path, json=route.body(schema, limit, scored))
    assert response.status_code == 200, response.text
    return dict(response.json())


def error_of(response: httpx.Response) -> str:
    """Return the sentence of an error in any client's shape."""
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    return str(error if isinstance(error, str) else error["message"])


@pytest.fixture(scope="module")
def chat(tiny_server: LiveServer) -> Json:
    """The answer of chat."""
    return asked(tiny_server.http, CHAT, scored=True)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_a_route_answers_as_chat_does(http: httpx.Client, chat: Json, route: Route) -> None:
    """Each route gives the same complete answer, with the same probabilities of the values.

    The last details of a stream equal the details of the whole answer.
    """
    reply = asked(http, route, scored=True)

    jsonschema.validate(json.loads(route.text(reply)), SCHEMA)
    assert route.text(reply) == CHAT.text(chat)
    assert route.end(reply)["complete"] is True
    assert [field["path"] for field in route.end(reply)["fields"]] == ["/colour", "/sure"]
    for field, expected in zip(route.end(reply)["fields"], CHAT.end(chat)["fields"], strict=True):
        assert field["value"] == expected["value"]
        assert field["probability"] == pytest.approx(expected["probability"], rel=1e-4)

    lines = http.post(route.path, json=route.body(SCHEMA, 150, True) | {"stream": True}).text.split("\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith(("{", "data: {"))]
    holders = [event["response"] if "type" in event and "response" in event else event for event in events]
    (end,) = [holder["pellucid"] for holder in holders if "complete" in holder.get("pellucid", {})]
    assert end["complete"] is True
    assert [(field["path"], field["value"]) for field in end["fields"]] == [
        (field["path"], field["value"]) for field in route.end(reply)["fields"]
    ]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_an_answer_that_ends_early_says_so(http: httpx.Client, route: Route) -> None:
    """A cut answer is not complete; without probabilities no values are listed."""
    end = route.end(asked(http, route, limit=5))
    assert end["complete"] is False
    assert "fields" not in end
    plain = {
        name: value
        for name, value in route.body(SCHEMA, 2, True).items()
        if name not in ("text", "output_config", "format")
    }
    assert not {"complete", "fields"} & set(route.end(http.post(route.path, json=plain).json()))


@pytest.mark.parametrize("route", [CHAT, *ROUTES], ids=lambda route: route.path)
def test_the_own_field_is_named(http: httpx.Client, lone_server: LiveServer, route: Route) -> None:
    """Impossible schemas, and tools next to a schema, are refused with the route's field."""
    stream = route is not CHAT
    body = route.body(REFUSED, 5, False) | {"stream": stream}
    sentence = error_of(http.post(route.path, json=body))
    assert sentence.startswith(f"{route.field} cannot be used as a grammar")
    assert "not" in sentence
    if route.tools:
        body = route.body(SCHEMA, 5, False) | {"stream": stream, "tools": route.tools}
        sentence = error_of(lone_server.http.post(route.path, json=body))
        assert sentence == f"tools are not supported together with {route.field}: send only one of them."


def test_responses_parse(client: openai.OpenAI) -> None:
    """The openai package parses an answer into a pydantic model; the reply repeats the format."""
    asked: Any = {
        "model": TINY,
        "input": "Which colour?",
        "text_format": Answer,
        "max_output_tokens": 150,
        "extra_body": {"seed": 4},
    }
    answer = client.responses.parse(**asked)
    with client.responses.stream(**asked) as stream:
        streamed = stream.get_final_response()

    for response in (answer, streamed):
        assert isinstance(response.output_parsed, Answer)
        assert response.text is not None
        assert response.text.format is not None
        assert response.text.format.type == "json_schema"
        assert (response.text.format.name, response.text.format.strict) == ("Answer", True)
        assert set(response.text.format.schema_["properties"]) == {"colour", "sure"}  # type: ignore[call-overload]
    assert answer.output_parsed == streamed.output_parsed


def test_responses_without_a_schema(http: httpx.Client) -> None:
    """/v1/responses accepts the formats object and text; a schema's description is ignored."""
    body = {"input": "x", "max_output_tokens": 3, "temperature": 0}
    reply = http.post("/v1/responses", json=body | {"text": {"format": {"type": "json_object"}}}).json()
    assert reply["output"][0]["content"][0]["text"].startswith("{")
    assert (reply["text"], reply["pellucid"]["complete"]) == ({"format": {"type": "json_object"}}, False)

    plain = http.post("/v1/responses", json=body).json()
    text = http.post("/v1/responses", json=body | {"text": {"format": {"type": "text"}}}).json()
    assert text["output"][0]["content"] == plain["output"][0]["content"]
    assert text["text"] == plain["text"] == {"format": {"type": "text"}}
    assert "complete" not in text["pellucid"]

    format = {"type": "json_schema", "name": "n", "schema": SCHEMA, "description": "d"}
    described = http.post("/v1/responses", json=body | {"text": {"format": format}}).json()
    assert described["pellucid"]["ignored"] == ["text.format.description"]
    assert described["text"] == {"format": format | {"strict": False}}


def test_messages_parse(by_anthropic: anthropic.Anthropic) -> None:
    """The anthropic package parses an answer into a pydantic model, whole and as a beta stream."""
    beta: Any = by_anthropic.beta.messages
    asked: Any = {
        "model": TINY,
        "messages": MESSAGES,
        "output_format": Answer,
        "max_tokens": 150,
        "extra_body": {"seed": 4},
    }
    answer = by_anthropic.messages.parse(**asked)
    with beta.stream(**asked) as stream:
        streamed = stream.get_final_message()

    assert isinstance(answer.parsed_output, Answer)
    assert answer.parsed_output == streamed.parsed_output
    assert answer.stop_reason == "end_turn"


def test_older_name_of_anthropics_format(http: httpx.Client) -> None:
    """The older field has the same effect; both fields at once are refused."""
    body = _messages(SCHEMA, 8, False)
    format = body["output_config"]["format"]
    older = {name: value for name, value in body.items() if name != "output_config"} | {"output_format": format}

    assert (
        http.post("/v1/messages", json=older).json()["content"]
        == http.post("/v1/messages", json=body).json()["content"]
    )
    assert "send only one of them" in error_of(http.post("/v1/messages", json=body | older))
    wrong = older | {"output_format": {"type": "json_schema", "schema": REFUSED}}
    assert error_of(http.post("/v1/messages", json=wrong)).startswith("output_format cannot be used")
    bodies = [{"messages": MESSAGES}, {"messages": MESSAGES, "output_format": format}]
    counts = [http.post("/v1/messages/count_tokens", json=one).json() for one in bodies]
    assert counts[0] == counts[1]


def test_ollama_format(by_ollama: ollama.Client) -> None:
    """The ollama package gets JSON by a schema for every kind of prompt; "json" means an object."""
    schema, options = Answer.model_json_schema(), {"num_predict": 200, "seed": 4}
    texts = [
        by_ollama.generate(TINY, "Which?", format=schema, options=options).response,
        by_ollama.generate(TINY, "a = ", "\n", format=schema, options=options).response,
        by_ollama.generate(
            TINY, "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", raw=True, format=schema, options=options
        ).response,
        "".join(
            part.message.content or ""
            for part in by_ollama.chat(TINY, MESSAGES, format=schema, options=options, stream=True)
        ),
    ]

    for text in texts:
        assert text is not None
        Answer.model_validate_json(text)
    assert (by_ollama.chat(TINY, MESSAGES, format="json", options={"num_predict": 2}).message.content or "").startswith(
        "{"
    )


@pytest.mark.model
def test_real_answers(served_model: str) -> None:
    """The real model describes a city in each package's form, and each value has a probability."""
    prompt = "Describe Paris in JSON with name and country."
    messages: Any = [{"role": "user", "content": prompt}]
    with openai.OpenAI(base_url=f"{served_model}/v1", api_key="unused", max_retries=0) as by_openai:
        response = by_openai.responses.parse(
            model=CODER, input=prompt, text_format=City, temperature=0, max_output_tokens=60, include=[LOGPROBS]
        )
    with anthropic.Anthropic(base_url=served_model, api_key="unused", max_retries=0) as by_anthropic:
        extra = {"logprobs": True, "temperature": 0}
        message = by_anthropic.messages.parse(
            model=CODER, messages=messages, output_format=City, max_tokens=60, extra_body=extra
        )
    options = {"temperature": 0, "num_predict": 60}
    body = {
        "messages": messages,
        "format": City.model_json_schema(),
        "stream": False,
        "options": options,
        "logprobs": True,
    }
    answer = httpx.post(f"{served_model}/api/chat", json=body, timeout=60, trust_env=False).json()

    cities = [response.output_parsed, message.parsed_output, City.model_validate_json(answer["message"]["content"])]
    assert cities == [City(name="Paris", country="France")] * 3
    for details in (response.model_extra, message.model_extra, answer):
        fields = (details or {})["pellucid"]["fields"]
        assert [(field["path"], field["value"]) for field in fields] == [("/name", "Paris"), ("/country", "France")]
        assert all(field["probability"] > 0.5 for field in fields)
