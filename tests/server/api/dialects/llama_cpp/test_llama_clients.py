"""The literal requests of llama.vim and llama.vscode get the expected fields."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from pellucid.api.dialects.llama_cpp.generation_schema import LlamaCompletionRequest
from pellucid.api.dialects.llama_cpp.reply import token_probs
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.query import SamplingParams
from pellucid.vocabulary.token import Token
from support.servers.http_servers import TINY, TINY_PLAIN, ScriptedAssistant, live_scripted, spoken

VIM: dict[str, Any] = {
    "id_slot": 0,
    "input_prefix": "def add(a, b):\n",
    "input_suffix": "\n\nprint(add(1, 2))\n",
    "input_extra": [{"text": "import sys\n", "time": [1764, 32], "filename": "main.py"}],
    "prompt": "    return ",
    "n_predict": 16,
    "stop": [],
    "n_indent": 4,
    "top_k": 40,
    "top_p": 0.9,
    "samplers": ["top_k", "top_p", "infill"],
    "stream": False,
    "cache_prompt": True,
    "t_max_prompt_ms": 500,
    "t_max_predict_ms": 1000,
    "response_fields": [
        *("content", "timings/prompt_n", "timings/prompt_ms", "timings/prompt_per_token_ms"),
        *("timings/prompt_per_second", "timings/predicted_n", "timings/predicted_ms"),
        *("timings/predicted_per_token_ms", "timings/predicted_per_second", "truncated", "tokens_cached"),
    ],
}
VIM_WARM_UP = VIM | {
    "n_predict": 0,
    "samplers": [],
    "response_fields": [""],
    "t_max_prompt_ms": 1,
    "t_max_predict_ms": 1,
}
VSCODE = {name: value for name, value in VIM.items() if name != "response_fields"} | {
    "top_p": 0.99,
    "n_cmpl": 3,
    "t_max_predict_ms": 2500,
}


def test_llama_vim(http: httpx.Client) -> None:
    """llama.vim gets the requested fields, flat, under the literal names."""
    response = http.post("/infill", json=VIM)

    assert response.status_code == 200
    assert set(response.json()) == set(VIM["response_fields"])
    assert response.json()["timings/predicted_n"] <= 16
    assert response.json()["truncated"] is False


def test_llama_vim_warm_up(http: httpx.Client) -> None:
    """A warm-up reads the prompt into the cache for the next request."""
    prompt = VIM | {"input_prefix": "a text that was not seen before\n" * 3}

    warm = http.post("/infill", json=VIM_WARM_UP | {"input_prefix": prompt["input_prefix"]})
    after = http.post("/infill", json=prompt)

    assert (warm.status_code, warm.json()) == (200, {})
    assert after.json()["timings/prompt_n"] <= 8


def test_llama_vscode(http: httpx.Client) -> None:
    """llama.vscode gets several different answers with timings, the most probable first."""
    answers = http.post("/infill", json=VSCODE | {"n_indent": 0}).json()

    best = http.post("/infill", json=VSCODE | {"n_indent": 0, "n_cmpl": 1}).json()
    assert [answer["index"] for answer in answers] == [0, 1, 2]
    assert answers[0]["content"] == best["content"]
    assert len({answer["content"] for answer in answers}) == 3
    assert answers[0]["timings"]["predicted_n"] == answers[0]["tokens_predicted"]
    assert answers[0]["generation_settings"]["top_p"] == 0.99


def test_llama_vscode_looks_around(http: httpx.Client) -> None:
    """llama.vscode's first requests work: health, the models' meta and the size of the context."""
    assert http.get("/health").json() == {"status": "ok"}
    assert http.get("/v1/models").json()["data"][0]["meta"]["n_ctx"] == 256
    props = http.get("/props", params={"model": TINY, "autoload": "false"}).json()
    assert props["default_generation_settings"]["n_ctx"] == 256
    assert props["total_slots"] == 4


def test_prompt_follows_the_prefix(http: httpx.Client) -> None:
    """The cursor's line belongs to the text before the gap, and user text stays text."""
    body = {"input_prefix": "A", "prompt": "B<|fim_middle|>", "input_suffix": "C", "n_predict": 1}

    reply = http.post("/infill", json=body).json()

    assert reply["prompt"] == "<|fim_prefix|><|fim_suffix|>C<|fim_middle|>AB<|fim_middle|>"
    assert reply["tokens_evaluated"] > 3 + 2 + len("<|fim_middle|>")


def test_infill_without_infill_tokens(http: httpx.Client) -> None:
    """A model without infill tokens continues the text before the gap."""
    reply = http.post(
        "/infill", json={"model": TINY_PLAIN, "input_prefix": "A", "input_suffix": "C", "n_predict": 2}
    ).json()

    assert reply["prompt"] == "A"
    assert reply["tokens_predicted"] == 2


def test_completion_probabilities(http: httpx.Client) -> None:
    """n_probs gives probabilities before sampling, post_sampling_probs after sampling."""
    body = {"prompt": "abc", "n_predict": 6, "n_probs": 5, "seed": 3, "ignore_eos": True, "return_tokens": True}

    raw = http.post("/completion", json=body).json()
    post = http.post(
        "/completion", json=body | {"post_sampling_probs": True, "top_k": 3, "top_p": 1, "min_p": 0}
    ).json()

    assert [entry["id"] for entry in raw["completion_probabilities"]] == raw["tokens"]
    assert [len(entry["top_logprobs"]) for entry in raw["completion_probabilities"]] == [5] * 6
    for entry in post["completion_probabilities"]:
        assert len(entry["top_probs"]) == 3
        assert sum(one["prob"] for one in entry["top_probs"]) == pytest.approx(1, abs=1e-4)
        assert entry["prob"] in [one["prob"] for one in entry["top_probs"] if one["id"] == entry["id"]]


def test_probabilities_after_sampling_that_the_engine_does_not_report() -> None:
    """An unknown probability after sampling is left out, and so are the alternatives."""
    token = replace(spoken("a"), sampled=None)
    reply = token_probs(
        token,
        LlamaCompletionRequest.model_validate({"prompt": "x", "n_probs": 2, "post_sampling_probs": True}),
        SamplingParams(temperature=0.7),
    )

    assert (reply.prob, reply.top_probs) == (None, [])
    assert "prob" not in reply.model_dump()


def test_completion_takes_markers(http: httpx.Client) -> None:
    """A spelled special token is a special token in /completion, as in llama-server."""
    reply = http.post("/completion", json={"prompt": "<|im_start|>a", "n_predict": 1}).json()

    assert reply["tokens_evaluated"] == 2


def test_completion_stream(http: httpx.Client) -> None:
    """A stream joins to the whole answer; the last event has stop true and timings."""
    body = {"prompt": "abc", "n_predict": 8, "temperature": 0, "ignore_eos": True}
    whole = http.post("/completion", json=body).json()

    lines = [line for line in http.post("/completion", json=body | {"stream": True}).text.split("\n\n") if line]

    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert "".join(event["content"] for event in events) == whole["content"]
    assert [event["stop"] for event in events] == [False] * (len(events) - 1) + [True]
    assert events[-1]["timings"]["predicted_n"] == 8
    assert events[-1]["stop_type"] == "limit"


def test_stop_word(http: httpx.Client) -> None:
    """The stop text at the end of an answer is named."""
    body = {"prompt": "abc", "n_predict": 12, "temperature": 0, "ignore_eos": True}
    word = http.post("/completion", json=body).json()["content"][4:6]

    reply = http.post("/completion", json=body | {"stop": [word]}).json()

    assert (reply["stop_type"], reply["stopping_word"]) == ("word", word)


def test_truncated(http: httpx.Client) -> None:
    """An answer at the end of the context is truncated; an answer at the request's limit is not."""
    body = {"prompt": "abc" * 80, "ignore_eos": True}

    assert http.post("/completion", json=body).json()["truncated"] is True
    assert http.post("/completion", json=body | {"n_predict": 2}).json()["truncated"] is False


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, SamplingParams(max_tokens=2**31 - 1, temperature=0.8, top_k=40, top_p=0.95, min_p=0.05)),
        ({"samplers": ["top_k", "infill"], "top_k": 7}, SamplingParams(max_tokens=2**31 - 1, temperature=0, top_k=7)),
        (
            {"samplers": ["top_k"], "top_k": 7, "temperature": 0.1},
            SamplingParams(max_tokens=2**31 - 1, temperature=1, top_k=7),
        ),
        ({"samplers": []}, SamplingParams(max_tokens=2**31 - 1, temperature=1)),
        (
            {"repeat_penalty": 1.5, "samplers": ["temperature"], "n_predict": 3, "seed": 4},
            SamplingParams(max_tokens=3, temperature=0.8, seed=4),
        ),
        (
            {"logit_bias": [[5, False], ["ab", 1.5]], "samplers": ["penalties", "infill"], "presence_penalty": 1},
            SamplingParams(max_tokens=2**31 - 1, logit_bias={5: -100.0, 97: 1.5, 98: 1.5}, presence_penalty=1),
        ),
        (
            {"top_p": 0, "top_k": -1, "min_p": 0, "n_probs": 3},
            SamplingParams(max_tokens=2**31 - 1, temperature=0.8, top_k=1, top_logprobs=3),
        ),
    ],
)
def test_sampling_fields(fields: dict[str, Any], expected: SamplingParams) -> None:
    """Each sampling field reaches the sampler, and steps missing in samplers are switched off."""
    assistant = ScriptedAssistant()
    with live_scripted(assistant) as server:
        response = server.http.post("/completion", json={"prompt": "x", **fields})

    assert response.status_code == 200, response.text
    assert assistant.calls[0]["params"] == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"grammar": "root ::= x"}, "grammar"),
        ({"mirostat": 2}, "mirostat"),
        ({"cache_prompt": False}, "cache_prompt"),
        ({"samplers": ["dry"]}, "samplers.0"),
        ({"samplers": ["top_p", "temperature"]}, "samplers"),
        ({"n_probs": 21}, "n_probs"),
        ({"post_sampling_probs": True}, "post_sampling_probs"),
        ({"post_sampling_probs": True, "n_probs": 1, "repeat_penalty": 1.1}, "post_sampling_probs"),
        ({"stream": True, "n_cmpl": 2}, "n_cmpl"),
        ({"stream": True, "response_fields": ["content"]}, "response_fields"),
        ({"logit_bias": [["a", True]]}, "logit_bias.0.1"),
        ({"logit_bias": [[5, "a"]]}, "logit_bias"),
        ({"logit_bias": [[5, 101]]}, "logit_bias"),
        ({"lora": [{"id": 0, "scale": 1}]}, "lora"),
    ],
)
def test_unsupported_fields_are_refused(http: httpx.Client, fields: dict[str, Any], param: str) -> None:
    """An unsupported field is refused by name, never ignored."""
    response = http.post("/completion", json={"prompt": "x", **fields})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_superseded_answer() -> None:
    """A superseded answer has the text so far, and is marked."""
    script: list[Token | Finish | Exception] = [spoken("half"), Finish(FinishReason.SUPERSEDED, Usage(generated=1))]
    with live_scripted(script) as server:
        reply = server.http.post("/infill", json={"id_slot": 0}).json()

    assert (reply["content"], reply["stop_type"], reply["superseded"]) == ("half", "none", True)


def test_slot_number_is_a_key() -> None:
    """A client's slot number is a key; other numbers and clients have other keys."""
    assistant = ScriptedAssistant()
    with live_scripted(assistant) as server:
        for slot, agent, count in ((0, "a", 1), (0, "a", 2), (1, "a", 1), (0, "b", 1), (-1, "a", 1)):
            server.http.post("/infill", json={"id_slot": slot, "n_cmpl": count}, headers={"user-agent": agent})

    keys = [call["terms"].key for call in assistant.calls]
    assert keys[0] == keys[1]
    assert keys[-1] is None
    assert len({*keys[1:-1]}) == 4
