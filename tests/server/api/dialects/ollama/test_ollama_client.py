"""ollama's Python client, and the bodies of other clients of ollama, work with Pellucid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import pytest

from pellucid.api.server_state import ServerState
from pellucid.errors import PellucidError
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.message import Message
from support.servers.http_servers import TINY, TINY_PLAIN, LiveServer, ScriptedAssistant, live, live_scripted, spoken
from support.servers.real_model_server import CODER

FEW = {"num_predict": 6, "temperature": 0}


@pytest.fixture
def client(tiny_server: LiveServer) -> Iterator[ollama.Client]:
    with ollama.Client(host=tiny_server.url, trust_env=False) as client:
        yield client


def post(path: str, body: dict[str, Any], assistant: ScriptedAssistant) -> httpx.Response:
    with live_scripted(assistant) as server:
        return server.http.post(path, json=body)


def asked(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the query of a body."""
    assistant = ScriptedAssistant()
    answer = post(path, body, assistant)
    assert answer.status_code == 200, answer.text
    return assistant.calls[0]


def test_models(client: ollama.Client) -> None:
    """The models are listed with tags, sizes and capabilities, and all models are running."""
    listed, running, shown = client.list().models, client.ps().models, client.show(f"{TINY}:latest")

    assert (
        [model.model for model in listed]
        == [model.name for model in running]
        == [f"{TINY}:latest", f"{TINY_PLAIN}:latest"]
    )
    assert listed[0].size
    assert listed[0].digest != listed[1].digest
    assert [model.context_length for model in running] == [256, 256]
    assert shown.capabilities == ["completion", "insert"]
    assert client.show(TINY_PLAIN).capabilities == ["completion"]
    assert shown.modelinfo is not None
    assert shown.modelinfo[f"{shown.modelinfo['general.architecture']}.context_length"] == 256


def test_template(client: ollama.Client) -> None:
    """The template has the true prompts and a suffix, so Continue recognizes infills."""
    gap = "{{ if .Suffix }}<|fim_prefix|><|fim_suffix|>{{ .Suffix }}<|fim_middle|>{{ .Prompt }}{{ else }}"
    chat = (
        "<|im_start|>system\n{{ .System }}<|im_end|>\n"
        "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n"
    )

    assert client.show(TINY).template == f"{gap}{chat}{{{{ end }}}}"
    assert client.show(TINY_PLAIN).template == chat


def test_version(http: httpx.Client) -> None:
    """The version is a number that clients can compare."""
    assert [int(part) for part in http.get("/api/version").json()["version"].split(".")] >= [0, 6, 4]


def test_generate_stream(client: ollama.Client) -> None:
    """A stream joins to the whole answer, and the last line has the numbers and times."""
    whole = client.generate(TINY, "def add", "\n", options=FEW)
    parts = list(client.generate(TINY, "def add", "\n", options=FEW, stream=True))

    assert "".join(part.response or "" for part in parts) == whole.response
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    last = parts[-1]
    assert (last.done_reason, last.eval_count, last.prompt_eval_count) == (
        whole.done_reason,
        whole.eval_count,
        whole.prompt_eval_count,
    )
    assert last.total_duration
    assert last.eval_duration is not None
    assert last.total_duration >= last.eval_duration


def test_chat_stream(client: ollama.Client) -> None:
    """A streamed conversation joins to the whole answer of the assistant."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]

    whole = client.chat(TINY, messages, options=FEW)
    parts = list(client.chat(TINY, messages, options=FEW, stream=True))

    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert whole.message.role == "assistant"
    assert whole.done


def test_streams_are_lines(http: httpx.Client) -> None:
    """Without ``stream`` the answer is lines of JSON."""
    answer = http.post("/api/generate", json={"prompt": "def", "options": FEW})

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text.endswith("\n")
    assert [json.loads(line)["done"] for line in answer.text.splitlines()][-1] is True


@pytest.mark.parametrize(
    ("path", "extra"), [("/api/generate", {"prompt": "x"}), ("/api/chat", {"messages": [{"role": "user"}]})]
)
def test_logprobs(path: str, extra: dict[str, Any], http: httpx.Client) -> None:
    """Each token has the logprob, the alternatives and the whole record, in a stream too."""
    body = {"options": FEW, "logprobs": True, "top_logprobs": 2, **extra}

    whole = http.post(path, json=body | {"stream": False}).json()
    lines = [json.loads(line) for line in http.post(path, json=body).text.splitlines()]

    streamed = [entry for line in lines for entry in line.get("logprobs", [])]
    assert [entry["token"] for entry in streamed] == [entry["token"] for entry in whole["logprobs"]]
    assert len(streamed) == whole["eval_count"] > 0
    for entry in streamed:
        assert len(entry["top_logprobs"]) == 2
        assert entry["pellucid"]["rank"] == 1
        assert entry["pellucid"]["entropy"] > 0
        assert entry["logprob"] == entry["pellucid"]["logprob"] == entry["top_logprobs"][0]["logprob"]


def test_logprobs_in_the_client(client: ollama.Client) -> None:
    """The client reads logprobs and alternatives."""
    answer = client.generate(TINY, "def add", "\n", options=FEW, logprobs=True, top_logprobs=3)

    assert answer.logprobs is not None
    for entry in answer.logprobs:
        assert entry.top_logprobs is not None
        assert entry.logprob == entry.top_logprobs[0].logprob


def test_options() -> None:
    """Options become sampling parameters, and stop texts end the answer."""
    options = {
        "num_predict": 5,
        "temperature": 0.3,
        "top_k": 7,
        "top_p": 0.8,
        "min_p": 0.1,
        "seed": 3,
        "stop": ["\n"],
        "repeat_penalty": 1.2,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.25,
    }

    query = asked("/api/generate", {"prompt": "x", "options": options, "logprobs": True, "top_logprobs": 4})

    params = query["params"]
    assert (params.max_tokens, params.temperature, params.top_k, params.top_p, params.min_p) == (5, 0.3, 7, 0.8, 0.1)
    assert (params.repetition_penalty, params.presence_penalty, params.frequency_penalty) == (1.2, 0.5, 0.25)
    assert (params.seed, params.top_logprobs, query["stop"]) == (3, 4, ["\n"])


def test_no_limit_and_no_penalties() -> None:
    """A limit of 0 means no limit, and a window of 0 tokens switches penalties off."""
    params = asked(
        "/api/generate", {"prompt": "x", "options": {"num_predict": 0, "repeat_penalty": 1.3, "repeat_last_n": 0}}
    )["params"]

    assert params.max_tokens > 10**6
    assert params.repetition_penalty == 1


def test_forms_of_a_prompt() -> None:
    """A prompt is a question, with a suffix an infill, and raw a continuation with markers."""
    plain = asked("/api/generate", {"prompt": "x", "system": "s", "suffix": ""})
    gap = asked("/api/generate", {"prompt": "x", "suffix": "y"})
    raw = asked("/api/generate", {"prompt": "<|fim_prefix|>x", "raw": True})

    assert (plain["verb"], plain["messages"]) == ("chat", [Message("system", "s"), Message("user", "x")])
    assert (gap["verb"], gap["prefix"], gap["suffix"], gap["special"]) == ("complete", "x", "y", False)
    assert (raw["verb"], raw["prefix"], raw["suffix"], raw["special"]) == ("complete", "<|fim_prefix|>x", None, True)


def test_the_last_message_of_the_assistant_is_continued() -> None:
    """An answer continues the assistant's last message."""
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "images": [], "thinking": ""}]

    assert asked("/api/chat", {"messages": messages})["continue_last"] is True
    assert asked("/api/chat", {"messages": messages[:1]})["continue_last"] is False


def test_ignored_fields_are_named(http: httpx.Client) -> None:
    """Fields without an effect are accepted and listed in the reply; null counts as absent."""
    options = FEW | {"num_ctx": 4096, "num_gpu": 1, "use_mmap": True, "num_thread": None, "repeat_last_n": 64}
    body = {"prompt": "x", "options": options, "keep_alive": "5m", "think": False, "format": "", "stream": False}

    reply = http.post("/api/generate", json=body).json()
    loaded = http.post("/api/chat", json={"keep_alive": 0}).json()

    assert reply["pellucid"]["ignored"] == [
        "keep_alive",
        "options.num_ctx",
        "options.num_gpu",
        "options.use_mmap",
        "options.repeat_last_n",
    ]
    assert (loaded["done_reason"], loaded["pellucid"]["ignored"]) == ("load", ["keep_alive"])


@pytest.mark.parametrize(
    ("path", "body", "status", "named"),
    [
        ("/api/generate", {"prompt": "x", "format": "xml"}, 400, "format"),
        ("/api/generate", {"prompt": "x", "format": True}, 400, "format"),
        ("/api/generate", {"prompt": "x", "think": True}, 400, "think"),
        ("/api/generate", {"prompt": "x", "context": [1]}, 400, "context"),
        ("/api/generate", {"prompt": "x", "template": "{{ .Prompt }}"}, 400, "template"),
        ("/api/generate", {"prompt": "x", "raw": True, "system": "s"}, 400, "system"),
        ("/api/generate", {"prompt": "x", "raw": True, "suffix": "s"}, 400, "suffix"),
        ("/api/generate", {"prompt": "x", "suffix": "s", "model": TINY_PLAIN}, 501, "suffix"),
        ("/api/generate", {"prompt": "x", "top_logprobs": 2}, 400, "top_logprobs"),
        ("/api/generate", {"prompt": "x", "options": {"mirostat": 1}}, 400, "options.mirostat"),
        ("/api/generate", {"prompt": "x", "options": {"typical_p": 0.5}}, 400, "options.typical_p"),
        (
            "/api/generate",
            {"prompt": "x", "options": {"repeat_last_n": 64, "repeat_penalty": 1.1}},
            400,
            "options.repeat_last_n",
        ),
        ("/api/generate", {"prompt": "x", "options": {"colour": 1}}, 400, "options.colour"),
        ("/api/chat", {"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]}, 400, "tools"),
        ("/api/chat", {"messages": [{"role": "function", "content": "x"}]}, 400, "messages.0.role"),
        ("/api/generate", {"prompt": "x", "model": "qwen2.5-coder:3b"}, 404, f"{TINY}, {TINY_PLAIN}"),
        ("/api/show", {"model": "other"}, 404, f"{TINY}, {TINY_PLAIN}"),
        ("/api/push", {"model": "x"}, 404, "/api/push"),
        ("/api/tags", {}, 405, "/api/tags"),
    ],
)
def test_errors_are_sentences(path: str, body: dict[str, Any], status: int, named: str, http: httpx.Client) -> None:
    """Unsupported fields with an effect are refused by name, in ollama's shape."""
    answer = http.post(path, json=body)

    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert named in answer.json()["error"]


def test_the_client_reads_errors(client: ollama.Client) -> None:
    """The client raises an error with the sentence and the status."""
    with pytest.raises(ollama.ResponseError, match=f"use one of: {TINY}, {TINY_PLAIN}") as raised:
        client.generate("no-such-model", "x")
    assert raised.value.status_code == 404


def test_an_error_in_a_stream_is_a_line() -> None:
    """An error after the first token is the stream's last line, and the client raises the error."""
    assistant = ScriptedAssistant([spoken("Hello"), PellucidError("It broke.")])
    with live_scripted(assistant) as server, ollama.Client(host=server.url, trust_env=False) as client:
        stream = client.generate(TINY, "x", stream=True)
        assert next(stream).response == "Hello"
        with pytest.raises(ollama.ResponseError, match=r"It broke\."):
            next(stream)


def test_an_unexpected_error_is_a_sentence_too() -> None:
    """An error of the server itself has ollama's shape under /api."""
    answer = post("/api/generate", {"prompt": "x"}, ScriptedAssistant([RuntimeError("a bug")]))

    assert answer.status_code == 500
    assert answer.json()["error"].startswith("Internal server error")


def test_loading() -> None:
    """During loading, requests are answered 503; the version is already available."""
    with live(ServerState(models=(TINY,))) as server:
        asked = [server.http.get("/api/tags"), server.http.get("/api/ps")]
        asked += [server.http.post(path, json={"model": TINY}) for path in ("/api/show", "/api/generate")]
        for answer in asked:
            assert (answer.status_code, answer.json()) == (503, {"error": "Loading model"})
        assert server.http.get("/api/version").status_code == 200


def test_times_and_reason() -> None:
    """Times are in nanoseconds, and the stop text is named."""
    usage = Usage(cached=2, computed=3, generated=1, queued=0.125, prefill=0.5, decode=0.25)
    assistant = ScriptedAssistant([spoken("Hello"), Finish(FinishReason.STOP, usage, stop="\n")])

    reply = post("/api/generate", {"prompt": "x", "stream": False}, assistant).json()

    assert (reply["prompt_eval_count"], reply["eval_count"]) == (5, 1)
    assert (reply["prompt_eval_duration"], reply["eval_duration"], reply["load_duration"]) == (
        500_000_000,
        250_000_000,
        0,
    )
    assert (reply["done_reason"], reply["pellucid"]["reason"], reply["pellucid"]["stop"]) == ("stop", "stop", "\n")
    assert reply["pellucid"]["usage"]["queued"] == 0.125


def test_zed(http: httpx.Client) -> None:
    """Zed's raw prompt with infill markers gets the answer of the infill."""
    options = {"num_predict": 6, "temperature": 0, "stop": ["<|endoftext|>"]}
    prompt = "<|fim_prefix|>def add(<|fim_suffix|>)<|fim_middle|>"

    reply = http.post(
        "/api/generate", json={"model": TINY, "prompt": prompt, "raw": True, "stream": False, "options": options}
    ).json()
    plain = http.post(
        "/v1/completions", json={"prompt": "def add(", "suffix": ")", "max_tokens": 6, "temperature": 0}
    ).json()

    assert reply["response"] == plain["choices"][0]["text"]
    assert reply["prompt_eval_count"] == len("def add()") + 3


@pytest.mark.model
def test_real_model(served_model: str) -> None:
    """The real model fills a gap under ollama's name, by a suffix and by markers."""
    with ollama.Client(host=served_model, trust_env=False) as client:
        gap = client.generate(
            "qwen2.5-coder:0.5b", "def add(a, b):\n    return ", "\n", options={"num_predict": 8, "temperature": 0}
        )
        marked = "<|fim_prefix|>def add(a, b):\n    return <|fim_suffix|>\n<|fim_middle|>"
        raw = client.generate("qwen2.5-coder", marked, raw=True, options={"num_predict": 8, "temperature": 0})
        listed = client.list().models[0]

    assert gap.response == "a + b"
    assert raw.response == "a + b"
    assert gap.model == CODER
    assert listed.model == "qwen2.5-coder:0.5b"
    assert listed.details is not None
    assert listed.details.parameter_size == "0.5B"
