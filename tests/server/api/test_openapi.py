"""/openapi.json describes the server's real behaviour."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from pellucid.api.dialects.anthropic.messages_schema import CountRequest, MessagesRequest
from pellucid.api.dialects.llama_cpp.generation_schema import InfillRequest, LlamaCompletionRequest
from pellucid.api.dialects.mistral.fim import FimRequest
from pellucid.api.dialects.ollama.generate_and_chat_schema import (
    OllamaChatRequest,
    OllamaGenerateRequest,
    OllamaOptions,
)
from pellucid.api.dialects.openai.chat_schema import ChatRequest
from pellucid.api.dialects.openai.completions_schema import CompletionRequest
from pellucid.api.dialects.openai.responses_schema import ResponsesRequest
from pellucid.api.dialects.tabby.editor_plugins import Segments, TabbyCompletionRequest
from pellucid.api.schema.score import ScoreRequest
from pellucid.client.token_json import record_of
from pellucid.vocabulary.token import CallDelta, CallPart
from support.servers.http_servers import spoken

BODIES = [
    *(CompletionRequest, ChatRequest, ScoreRequest, InfillRequest, LlamaCompletionRequest, FimRequest),
    *(OllamaOptions, OllamaGenerateRequest, OllamaChatRequest, TabbyCompletionRequest, Segments),
    *(ResponsesRequest, MessagesRequest, CountRequest),
]


@pytest.fixture
def shape(http: httpx.Client) -> dict[str, Any]:
    shape = http.get("/openapi.json").json()
    assert isinstance(shape, dict)
    return shape


def test_validation_errors_are_400(shape: dict[str, Any]) -> None:
    """Validation errors are documented as 400 in Pellucid's shape, not as FastAPI's 422."""
    assert "422" not in str(shape)
    assert "HTTPValidationError" not in str(shape)
    responses = shape["paths"]["/v1/completions"]["post"]["responses"]
    assert {"200", "400", "401", "403", "404", "408", "413", "429", "500", "501", "503"} == set(responses)
    assert responses["400"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorReply")


NOT_HERE = ("/apply-template", "/models/unload", "/api/pull")
"""Routes for models with a chat template, and for models with files."""


def test_every_example_is_valid(http: httpx.Client, shape: dict[str, Any]) -> None:
    """The server accepts the examples of request bodies."""
    for path, operations in shape["paths"].items():
        if "requestBody" in operations.get("post", {}) and path not in NOT_HERE:
            body = operations["post"]["requestBody"]["content"]["application/json"]["schema"]
            for reference in body.get("oneOf", [body]):
                for example in shape["components"]["schemas"][reference["$ref"].rsplit("/", 1)[-1]]["examples"]:
                    assert http.post(path, json=example).status_code in (200, 204), path


def test_streams_are_documented(shape: dict[str, Any]) -> None:
    """The description has the stream types of streaming routes."""
    for path in (
        *("/v1/completions", "/v1/chat/completions", "/v1/fim/completions", "/v1/score", "/v1/edits", "/infill"),
        "/completion",
    ):
        assert set(shape["paths"][path]["post"]["responses"]["200"]["content"]) == {
            "application/json",
            "text/event-stream",
        }
    for path in ("/api/generate", "/api/chat"):
        assert set(shape["paths"][path]["post"]["responses"]["200"]["content"]) == {
            "application/json",
            "application/x-ndjson",
        }


def test_errors_under_api(shape: dict[str, Any]) -> None:
    """Every error of ollama's routes is described in ollama's shape."""
    for path, operations in shape["paths"].items():
        for operation in operations.values():
            errors = [response for status, response in operation["responses"].items() if status[0] != "2"]
            kinds = {error["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[-1] for error in errors}
            assert kinds == {"OllamaError"} if path.startswith("/api/") else "OllamaError" not in kinds


def test_nullable_fields(shape: dict[str, Any]) -> None:
    """Optional fields are documented with the real default and with null."""
    temperature = shape["components"]["schemas"]["CompletionRequest"]["properties"]["temperature"]

    assert temperature["default"] == 1.0
    assert {"type": "null"} in temperature["anyOf"]


@pytest.mark.parametrize("body", BODIES)
def test_extensions_say_what_they_do(body: Any) -> None:
    """Every field beyond OpenAI's documents has a description."""
    explained = re.compile(
        "top_p|min_p|stop|prompt|messages|stream|stream_options|response_format|text|tokens|ignore_eos|top_k|prefix|suffix|segments|options"
        "|debug_options"
    )
    for name, field in body.model_fields.items():
        assert field.description or explained.fullmatch(name), name


def test_tokens_are_described(shape: dict[str, Any]) -> None:
    """Records written without pydantic are described with the schema everywhere."""
    schemas = shape["components"]["schemas"]
    calling = replace(spoken("x"), part=CallPart(0, (CallDelta(0, "{", "id", "f"),)))
    for described in (
        schemas["ScoreReply"]["properties"]["tokens"]["items"],
        schemas["LegacyLogprobs"]["properties"]["pellucid"]["items"],
        schemas["TokenLogprob"]["properties"]["pellucid"],
    ):
        assert set(described["required"]) == set(record_of(spoken("x")))
        rare = {"grammar", "entropy_range", "experts", "reasoning"}
        assert set(described["properties"]) - rare == set(record_of(calling))
        assert described["properties"]["top"]["items"] == {"$ref": "#/components/schemas/AlternativeRecord"}
    assert set(schemas["CallPartRecord"]["properties"]) == set(record_of(calling)["part"])
    assert set(schemas["CallDeltaRecord"]["properties"]) == set(record_of(calling)["part"]["deltas"][0])
    assert set(schemas["AlternativeRecord"]["required"]) == {"id", "token", "bytes", "logprob"}


def test_nothing_from_elsewhere(http: httpx.Client) -> None:
    """The front page loads nothing from other machines, and FastAPI's pages are absent."""
    page = http.get("/")

    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"https?://|//[a-z]", page.text)
    assert http.get("/docs").status_code == 404
    assert http.get("/redoc").status_code == 404
