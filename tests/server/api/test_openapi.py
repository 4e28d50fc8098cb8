"""/openapi.json describes what the server does."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from pellucid.api.schema.llama import InfillRequest, LlamaCompletionRequest
from pellucid.api.schema.openai import ChatRequest, CompletionRequest, ScoreRequest
from pellucid.client.token_json import record_of
from support.servers.http_servers import spoken


@pytest.fixture
def shape(http: httpx.Client) -> dict[str, Any]:
    shape = http.get("/openapi.json").json()
    assert isinstance(shape, dict)
    return shape


def test_validation_errors_are_400(shape: dict[str, Any]) -> None:
    """Validation errors are documented as what they are: 400 in our shape, never FastAPI's 422."""
    assert "422" not in str(shape)
    assert "HTTPValidationError" not in str(shape)
    responses = shape["paths"]["/v1/completions"]["post"]["responses"]
    assert {"200", "400", "401", "403", "404", "408", "413", "429", "500", "501", "503"} == set(responses)
    assert responses["400"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorReply")


def test_every_example_is_valid(http: httpx.Client, shape: dict[str, Any]) -> None:
    """The examples of request bodies are accepted by the server that they describe."""
    for path, operations in shape["paths"].items():
        if "post" in operations and path != "/apply-template":
            reference = operations["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            for example in shape["components"]["schemas"][reference.rsplit("/", 1)[-1]]["examples"]:
                assert http.post(path, json=example).status_code == 200, path


def test_streams_are_documented(shape: dict[str, Any]) -> None:
    """The description names the routes that stream."""
    for path in ("/v1/completions", "/v1/chat/completions", "/v1/score", "/infill", "/completion"):
        assert set(shape["paths"][path]["post"]["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}


def test_nullable_fields(shape: dict[str, Any]) -> None:
    """Optional fields are documented with their real default, and with null, which means the default."""
    temperature = shape["components"]["schemas"]["CompletionRequest"]["properties"]["temperature"]

    assert temperature["default"] == 1.0
    assert {"type": "null"} in temperature["anyOf"]


@pytest.mark.parametrize("body", [CompletionRequest, ChatRequest, ScoreRequest, InfillRequest, LlamaCompletionRequest])
def test_extensions_say_what_they_do(body: Any) -> None:
    """Every field that OpenAI's own documents do not explain has a description."""
    explained = re.compile("top_p|min_p|stop|prompt|messages|stream|stream_options|response_format|text|tokens|ignore_eos|top_k")
    for name, field in body.model_fields.items():
        assert field.description or explained.fullmatch(name), name


def test_tokens_are_described(shape: dict[str, Any]) -> None:
    """Records that are written without pydantic are described with their schema everywhere."""
    schemas = shape["components"]["schemas"]
    for described in (
        schemas["ScoreReply"]["properties"]["tokens"]["items"],
        schemas["LegacyLogprobs"]["properties"]["pellucid"]["items"],
        schemas["TokenLogprob"]["properties"]["pellucid"],
    ):
        assert set(described["required"]) == set(described["properties"]) - {"grammar"} == set(record_of(spoken("x")))
        assert described["properties"]["top"]["items"] == {"$ref": "#/components/schemas/AlternativeRecord"}
    assert set(schemas["AlternativeRecord"]["required"]) == {"id", "token", "bytes", "logprob"}


def test_nothing_from_elsewhere(http: httpx.Client) -> None:
    """The front page and the description load nothing from other machines, and FastAPI's pages, which do, are not there."""
    page = http.get("/")

    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"https?://|//[a-z]", page.text)
    assert http.get("/docs").status_code == 404
    assert http.get("/redoc").status_code == 404
