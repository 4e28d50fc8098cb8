"""Every error has a status and the same shape, and the server keeps running."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from pellucid.api.server_state import ServerState
from pellucid.client.http_client import Client
from pellucid.door import error_replies
from pellucid.errors import (
    AuthenticationError,
    ContextLengthError,
    InvalidRequestError,
    NotFoundError,
    NotSupportedError,
    PellucidError,
    PermissionDeniedError,
    QueueFullError,
    UnavailableError,
)
from pellucid.vocabulary.query import CompletionQuery
from support.servers.http_servers import ScriptedAssistant, live, live_scripted, live_tiny

MESSAGES = [{"role": "user", "content": "x"}]
JSON = {"content-type": "application/json"}
CONTINUATION = {
    "text": "x",
    "messages": [*MESSAGES, {"role": "assistant", "content": "y"}],
    "continue_final_message": True,
}
EXACTLY_ONE = "Send exactly one of text, tokens and messages, or a text with messages and continue_final_message."


def ask(error: Exception, path: str = "/v1/completions", **fields: Any) -> httpx.Response:
    with live_scripted([error]) as server:
        response = server.http.post(path, json={"prompt": "x", **fields})
        assert server.http.get("/health").status_code == 200
    return response


@pytest.mark.parametrize(
    ("error", "status", "type"),
    [
        (InvalidRequestError("So not.", "prompt"), 400, "invalid_request_error"),
        (ContextLengthError(9, 5), 400, "exceed_context_size_error"),
        (AuthenticationError("Who?"), 401, "authentication_error"),
        (PermissionDeniedError("No."), 403, "permission_error"),
        (NotFoundError("Not there."), 404, "not_found_error"),
        (QueueFullError("Full.", retry_after=7), 429, "rate_limit_error"),
        (PellucidError("Broken."), 500, "server_error"),
        (NotSupportedError("It cannot."), 501, "not_supported_error"),
        (UnavailableError("Not now."), 503, "unavailable_error"),
    ],
)
async def test_status_and_type(error: PellucidError, status: int, type: str) -> None:
    """An error before the first token has the error's status, in a stream too.

    The client raises the same class of error as the server.
    """
    with live_scripted([error]) as server:
        for path, stream in itertools.product(("/v1/completions", "/completion"), (True, False)):
            response = server.http.post(path, json={"prompt": "x", "stream": stream})
            told = response.json()["error"]
            assert (response.status_code, told["code"]) == (status, status)
            assert (told["message"], told["type"]) == (str(error), type)
        assert server.http.get("/health").status_code == 200
        async with Client(server.url) as client:
            with pytest.raises(PellucidError) as raised:
                _ = [item async for item in client.complete(CompletionQuery("x"))]
    assert (raised.type, str(raised.value)) == (error.__class__, str(error))


def test_retry_after() -> None:
    """The error of a full queue has the time to wait."""
    assert ask(QueueFullError("Full.", retry_after=7)).headers["retry-after"] == "7"


def test_context_numbers() -> None:
    """The error of an overlong prompt has the prompt's and the context's numbers of tokens."""
    error_detail = ask(ContextLengthError(9, 5)).json()["error"]

    assert (error_detail["n_prompt_tokens"], error_detail["n_ctx"], error_detail["param"]) == (9, 5, "prompt")
    assert "or start the server with a larger context" in error_detail["message"]
    error_detail = ask(ContextLengthError(9, 5, all_there_is=True)).json()["error"]
    assert (
        error_detail["n_ctx_is_all"],
        error_detail["message"].endswith("which is the model's limit: shorten it."),
    ) == (True, True)


def test_unexpected_error() -> None:
    """An unexpected error is a 500 without details and closes the connection."""
    with live_scripted([RuntimeError("secret")]) as server:
        responses = [server.http.post("/v1/completions", json={"prompt": "x"}) for _ in range(20)]

    assert {response.status_code for response in responses} == {500}
    response = responses[0]
    assert response.headers["connection"] == "close"
    assert response.json()["error"]["type"] == "server_error"
    assert "secret" not in response.text


def test_loading() -> None:
    """During loading, generations and health are 503, and the list has the models' state."""
    bodies: dict[str, dict[str, Any]] = {
        "/v1/completions": {"prompt": "x"},
        "/v1/chat/completions": {"messages": MESSAGES},
        "/v1/score": {"text": "x"},
        "/v1/edits": {"instruction": "x"},
        "/infill": {},
        "/completion": {"prompt": "x"},
        "/tokenize": {"content": "x"},
        "/detokenize": {"tokens": [1]},
        "/apply-template": {"messages": MESSAGES},
    }
    told = {"message": "Loading model", "type": "unavailable_error", "param": None, "code": 503}
    with live(ServerState(models=("a", "b"), grace=0.0)) as server:
        for path, body in bodies.items():
            response = server.http.post(path, json=body)
            assert (response.status_code, response.json()["error"]) == (503, told)
        response = server.http.get("/health")
        assert (response.status_code, response.json()["error"]) == (503, told | {"pellucid": {"state": "loading"}})
        models = server.http.get("/v1/models").json()["data"]
        assert server.http.get("/").status_code == 200

    assert [(model["id"], model["meta"]) for model in models] == [
        ("a", {"state": "loading"}),
        ("b", {"state": "loading"}),
    ]


@pytest.mark.parametrize(
    "body",
    [
        *(b"{", b"[]", b"null", b'"x"', b"", b"\xff", b'{"prompt": "\\ud800"}', b'{"prompt": "x", "\\udfff": 1}'),
        *(b'{"prompt": "x", "temperature": NaN}', b'{"prompt": "x", "temperature": -Infinity}'),
        *(b'{"prompt": "x", "temperature": 1e999}', b'{"prompt": "x", "temperature": ' + b"9" * 400 + b"}"),
        *(b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}", b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        *(b'{"prompt": [[[1]]]}', b'{"prompt": [1, "x"]}', b'{"prompt": []}', b'{"prompt": [-1]}'),
        *(b'{"prompt": [99999]}', b'{"prompt": "x", "max_tokens": 1.5}', b'{"prompt": "x", "max_tokens": true}'),
        *(b'{"prompt": "x", "max_tokens": "5"}', b'{"prompt": "x", "stream": 1}', b'{"prompt": "x", "store": true}'),
        *(b'{"prompt": "x", "logit_bias": {"a": 1}}', b'{"prompt": "x", "logit_bias": {"99999": 1}}'),
        *(b'{"prompt": "x", "temperature": 1e-50}', b'{"prompt": "x", "temperature": 100.5}'),
        *(b'{"prompt": "x", "temperature": -1}', b'{"prompt": "x", "repetition_penalty": 1e-50}'),
        *(b'{"prompt": "x", "stop": [""]}', b'{"prompt": "x", "best_of": 2}'),
        *(b'{"prompt": "x", "stream_options": {}}', b'{"prompt": "x", "suffix": "y", "echo": true}'),
        *(b'{"prompt": [1], "suffix": "y"}', b'{"prompt": [1], "heal": true}'),
        b'{"prompt": [[1]], "parse_special": true}',
        b'{"prompt": "x", "suffix": "y", "input_extra": [{"filename": "a", "text": "b"}], "model": "tiny-plain"}',
        b'{"prompt": "x", "input_extra": [{"filename": "a", "text": "b"}]}',
        b'{"prompt": "x", "stream": true, "prompt_logprobs": 1}',
    ],
)
def test_bad_bodies(http: httpx.Client, body: bytes) -> None:
    """A malformed body or field gets a 400."""
    response = http.post("/v1/completions", content=body, headers=JSON)

    assert response.status_code == 400, response.text
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("route", "field", "body"),
    [
        (
            "/v1/chat/completions",
            "prompt_logprobs",
            {"messages": [{"role": "user", "content": "x"}], "stream": True, "prompt_logprobs": 1},
        ),
        ("/v1/score", "continue_final_message", {"text": "x", "continue_final_message": True}),
        ("/v1/score", "text", {"text": "x", "messages": [{"role": "user", "content": "y"}]}),
        ("/v1/score", "text", CONTINUATION | {"windows": True}),
        ("/v1/score", "text", CONTINUATION | {"input_prefix": "a"}),
        ("/v1/score", "input_prefix", {"tokens": [1], "input_prefix": "a"}),
        ("/v1/score", "input_prefix", {"text": "x", "input_suffix": "a", "windows": True}),
        ("/v1/score", "input_prefix", {"text": "x", "input_suffix": "a", "parse_special": True}),
        ("/v1/score", "input_prefix", {"text": "x", "input_prefix": "a", "input_suffix": "b", "parse_special": True}),
        (
            "/v1/score",
            "input_prefix",
            {"text": "x", "input_prefix": "a", "input_extra": [{"filename": "f", "text": "y"}], "parse_special": True},
        ),
        ("/v1/score", "input_extra", {"text": "x", "input_extra": [{"filename": "f", "text": "t"}]}),
    ],
)
def test_contradicting_fields(http: httpx.Client, route: str, field: str, body: dict[str, Any]) -> None:
    """Contradicting fields get a 400 with the name of a field."""
    response = http.post(route, json=body)

    assert (response.status_code, response.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize("field", [{"temperature": 1e-50}, {"temperature": 101}, {"repeat_penalty": 1e-50}])
def test_llama_bounds(http: httpx.Client, field: dict[str, Any]) -> None:
    """llama.cpp's fields have the sampler's bounds, and an error names the field."""
    for path in ("/completion", "/infill"):
        response = http.post(path, json={"prompt": "x", **field})
        assert (response.status_code, response.json()["error"]["param"]) == (400, next(iter(field)))


def test_files_are_dropped_for_editors(http: httpx.Client) -> None:
    """/infill ignores other files for a model without a file marker: editors always send files."""
    body = {"input_prefix": "x", "input_extra": [{"text": "y"}], "model": "tiny-plain", "n_predict": 1}

    assert http.post("/infill", json=body).status_code == 200


def test_dead_engine() -> None:
    """With a failed engine, health and generations are 503 with the remedy."""
    with live_scripted(failure=RuntimeError("secret")) as server:
        for response in (server.http.get("/health"), server.http.post("/v1/completions", json={"prompt": "x"})):
            error_detail = response.json()["error"]
            assert (response.status_code, error_detail["type"]) == (503, "unavailable_error")
            assert "restart the server" in error_detail["message"]


def test_null_bytes_are_text(http: httpx.Client) -> None:
    """U+0000 is accepted in texts."""
    assert http.post("/v1/completions", json={"prompt": "a\0b", "max_tokens": 1}).status_code == 200


def test_null_is_the_default() -> None:
    """null in an optional field means the default, and 16.0 is read as the integer 16."""
    assistant = ScriptedAssistant()
    body = {
        "prompt": "x",
        "temperature": None,
        "n": None,
        "stop": None,
        "logprobs": None,
        "stream_options": None,
        "max_tokens": 16.0,
    }
    with live_scripted(assistant) as server:
        for sent in (body, {"prompt": "x"}):
            assert server.http.post("/v1/completions", json=sent).status_code == 200

    assert assistant.calls[0] == assistant.calls[1]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v1/completions", {"prompt": "x", "gramar": "x"}, "gramar is not supported by /v1/completions: omit it."),
        ("/v1/completions", {}, "prompt is required."),
        (
            "/v1/chat/completions",
            {"messages": MESSAGES, "tols": [1]},
            "tols is not supported by /v1/chat/completions: omit it.",
        ),
        (
            "/v1/chat/completions",
            {"messages": []},
            "messages: List should have at least 1 item after validation, not 0.",
        ),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user"}]},
            "messages.0: content is required, except of an assistant with tool_calls.",
        ),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x"}}]}]},
            "messages.0.content.0.type: Input should be 'text', not 'input_audio'.",
        ),
        (
            "/v1/chat/completions",
            {"messages": MESSAGES, "response_format": {"type": "xml"}},
            "response_format.type: Input should be 'text', 'json_object' or 'json_schema', not 'xml'.",
        ),
        (
            "/v1/chat/completions",
            {"messages": MESSAGES, "top_logprobs": 2},
            "top_logprobs is only allowed together with logprobs: true.",
        ),
        ("/v1/score", {"text": "x", "tokens": [1]}, EXACTLY_ONE),
        ("/v1/score", {}, EXACTLY_ONE),
    ],
)
def test_messages_name_the_field(http: httpx.Client, path: str, body: dict[str, Any], message: str) -> None:
    """An error names the wrong field and the mistake."""
    response = http.post(path, json=body)

    assert (response.status_code, response.json()["error"]["message"]) == (400, message)


def test_unknown_model(http: httpx.Client) -> None:
    """An unknown model is a 404 with the names of the known models."""
    for path, body in (("/v1/completions", {"prompt": "x"}), ("/infill", {}), ("/tokenize", {"content": "x"})):
        response = http.post(path, json={**body, "model": "nobody"})
        assert response.status_code == 404
        assert "tiny, tiny-plain" in response.json()["error"]["message"]


def test_unknown_route_and_method(http: httpx.Client) -> None:
    """Errors of unknown paths and methods have the same shape as all errors."""
    missing, wrong = http.get("/v2/completions"), http.get("/infill")

    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json()["error"]["code"] == 405


def test_content_type(http: httpx.Client) -> None:
    """JSON without the content type is refused: forms of other pages could send such requests."""
    response = http.post("/v1/completions", content=b'{"prompt": "x"}', headers={"content-type": "text/plain"})

    assert response.status_code == 400
    assert "Content-Type: application/json" in response.json()["error"]["message"]


def test_queue_full() -> None:
    """With a running and a waiting request, a server with a queue of 1 refuses a third by 429."""
    body = {"prompt": ["x", "y"], "max_tokens": 2000, "ignore_eos": True, "stream": True}
    with (
        live_tiny(slots=1, queue=1, context=2048) as server,
        server.http.stream("POST", "/v1/completions", json=body) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines).startswith("data:")
        response = server.http.post("/v1/completions", json={"prompt": "x"})

    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/completions", {"prompt": ["x"] * 23, "n": 3}, "n"),
        ("/v1/chat/completions", {"messages": MESSAGES, "n": 69}, "n"),
        ("/completion", {"prompt": "x", "n_cmpl": 69}, "n_cmpl"),
        ("/infill", {"n_cmpl": 69}, "n_cmpl"),
    ],
)
def test_more_answers_than_ever_fit(http: httpx.Client, path: str, body: dict[str, Any], param: str) -> None:
    """More answers than slots and queue hold is a 400 with both numbers and the remedy."""
    response = http.post(path, json=body)

    error_detail = response.json()["error"]
    assert (response.status_code, error_detail["param"]) == (400, param)
    assert all(part in error_detail["message"] for part in ("69", "68", "--slots", "--queue"))


MANY = 3_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [1] * MANY}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [1] * MANY}]}),
        ("/v1/completions", {"prompt": ["a"] * MANY}),
        ("/v1/completions", {"prompt": [[1, "a"]] * MANY}),
        ("/v1/completions", {"prompt": "a", "suffix": "", "input_extra": [1] * MANY}),
        ("/v1/score", {"tokens": ["a"] * MANY}),
        ("/completion", {"prompt": "a", "logit_bias": [1] * MANY}),
        ("/infill", {"input_extra": [1] * MANY, "stop": [1] * MANY, "samplers": [1] * MANY}),
        ("/detokenize", {"tokens": ["a"] * MANY}),
        ("/apply-template", {"messages": [{}] * MANY}),
        ("/tokenize", {f"field {number}": 1 for number in range(MANY)}),
        ("/tokenize", {"content": "x", "more": [{f"field {number}": 1 for number in range(MANY)}]}),
        ("/completion", {"prompt": "a", "logit_bias": {f"token {number}": 1 for number in range(MANY)}}),
        ("/completion", {"prompt": "a", "logit_bias": {str(number): 1 for number in range(MANY * 10)}}),
        ("/v1/completions", {"prompt": "a", "logit_bias": {str(number): 101 for number in range(MANY)}}),
        ("/v1/completions", {"prompt": "a", "logit_bias": {str(number): None for number in range(MANY)}}),
    ],
)
def test_many_mistakes(path: str, body: dict[str, Any], http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many mistakes in a body only a few are examined, to save time and memory."""
    counted = [0]
    explain = error_replies._explain

    def counting(found: Sequence[Any], *rest: Any) -> InvalidRequestError:
        counted.append(len(found))
        return explain(found, *rest)

    monkeypatch.setattr(error_replies, "_explain", counting)
    answer = http.post(path, json=body)
    assert answer.status_code == 400
    assert len(answer.json()["error"]["message"]) < 300
    assert max(counted) < 20
