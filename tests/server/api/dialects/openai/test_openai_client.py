"""The official openai package works with Pellucid."""

from __future__ import annotations

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from support.servers.http_servers import MARKERS, TINY, LiveServer

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


def test_models(client: openai.OpenAI) -> None:
    """The models are listed, and a model can be retrieved by name."""
    names = [model.id for model in client.models.list()]

    assert names[0] == TINY
    assert client.models.retrieve(TINY).owned_by == "pellucid"


def test_chat_logprobs(client: openai.OpenAI) -> None:
    """Every token has a logprob, the bytes and the requested alternatives, the best first."""
    answer = client.chat.completions.create(
        model=TINY,
        messages=QUESTION,
        max_tokens=8,
        temperature=0,
        logprobs=True,
        top_logprobs=3,
        extra_body={"ignore_eos": True},
    )

    choice = answer.choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert len(choice.logprobs.content) == 8
    for entry in choice.logprobs.content:
        assert len(entry.top_logprobs) == 3
        assert (entry.token, entry.bytes, entry.logprob) == (
            entry.top_logprobs[0].token,
            entry.top_logprobs[0].bytes,
            entry.top_logprobs[0].logprob,
        )
    spoken = b"".join(bytes(entry.bytes or []) for entry in choice.logprobs.content)
    assert choice.message.content == spoken.decode(errors="replace")
    assert choice.finish_reason == "length"


def test_chat_stream(client: openai.OpenAI) -> None:
    """A stream begins with the role, joins to the whole answer, and ends with reason and usage."""
    whole = client.chat.completions.create(model=TINY, messages=QUESTION, max_tokens=8, temperature=0)
    stream = client.chat.completions.create(
        model=TINY, messages=QUESTION, max_tokens=8, temperature=0, stream=True, stream_options={"include_usage": True}
    )

    chunks = list(stream)

    assert chunks[0].choices[0].delta.role == "assistant"
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        == whole.choices[0].message.content
    )
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


def test_cached_tokens(client: openai.OpenAI) -> None:
    """A repeated prompt comes from the cache, except for the last token."""
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "a question that no other test asks"}]
    for _ in range(2):
        answer = client.chat.completions.create(
            model=TINY, messages=messages, max_tokens=1, extra_body={"ignore_eos": True}
        )

    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == answer.usage.prompt_tokens - 1


def test_several_answers(client: openai.OpenAI) -> None:
    """n answers of a seed differ from each other, and are the same the second time."""
    first, second = (
        client.chat.completions.create(
            model=TINY, messages=QUESTION, max_tokens=8, n=3, seed=11, extra_body={"ignore_eos": True}
        )
        for _ in range(2)
    )

    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert texts == [choice.message.content for choice in second.choices]


def test_several_streams(client: openai.OpenAI) -> None:
    """Parallel streamed answers equal the whole answers."""
    whole = client.completions.create(model=TINY, prompt=["ab", "cd"], max_tokens=6, n=2, seed=5)
    texts = [""] * 4
    for chunk in client.completions.create(model=TINY, prompt=["ab", "cd"], max_tokens=6, n=2, seed=5, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text

    assert texts == [choice.text for choice in whole.choices]


def test_echo_logprobs(client: openai.OpenAI) -> None:
    """echo with max_tokens 0 scores the prompt; only the first token has no logprob."""
    answer = client.completions.create(model=TINY, prompt="héllo", max_tokens=0, echo=True, logprobs=2)

    choice = answer.choices[0]
    assert choice.text == "héllo"
    logprobs = choice.logprobs
    assert logprobs is not None
    assert logprobs.tokens == ["h", "bytes:\\xc3", "bytes:\\xa9", "l", "l", "o"]
    assert logprobs.text_offset == [0, 1, 1, 2, 3, 4]
    assert logprobs.token_logprobs is not None
    assert logprobs.top_logprobs is not None
    assert logprobs.model_dump()["token_logprobs"][0] is None
    for token, logprob, top in zip(
        logprobs.tokens[1:], logprobs.token_logprobs[1:], logprobs.top_logprobs[1:], strict=True
    ):
        assert top[token] == logprob
        assert 2 <= len(top) <= 3


def test_echo_has_one_more_logprob(client: openai.OpenAI) -> None:
    """With echo and max_tokens 1, an entry follows the prompt's entries, even at the end."""
    end = {"logit_bias": {str(256 + MARKERS.index("<|endoftext|>")): 100}}
    answer = client.completions.create(
        model=TINY, prompt=[104, 105], max_tokens=1, temperature=0, echo=True, logprobs=1, extra_body=end
    )

    choice = answer.choices[0]
    assert choice.text == "hi"
    assert choice.logprobs is not None
    assert choice.logprobs.tokens is not None
    assert choice.logprobs.tokens[:2] == ["h", "i"]
    assert len(choice.logprobs.tokens) == 3


@pytest.mark.parametrize("continued", [False, True])
def test_prompt_logprobs_of_a_chat(client: openai.OpenAI, continued: bool) -> None:
    """A chat's prompt logprobs have vLLM's shape and equal the logprobs of /v1/score."""
    messages = [{"role": "user", "content": "hé"}, *([{"role": "assistant", "content": "a"}] if continued else [])]
    extra = {"prompt_logprobs": 2, "continue_final_message": continued}
    reply = client.chat.completions.create(model=TINY, messages=messages, max_tokens=1, extra_body=extra).model_dump()  # type: ignore[arg-type]
    score = {"messages": messages, "top_logprobs": 2, "continue_final_message": continued}
    read = client.post("/score", cast_to=httpx.Response, body=score).json()["tokens"]

    first, *others = reply["prompt_logprobs"]
    assert first is None
    assert len(others) + 1 == reply["usage"]["prompt_tokens"] == len(read)
    for token, entries in zip(read[1:], others, strict=True):
        own = entries[str(token["id"])]
        assert own["logprob"] == pytest.approx(token["logprob"], abs=1e-4)
        assert own["rank"] == token["rank"]
        assert [entry["rank"] for entry in entries.values()][:2] == [1, 2]
        assert 2 <= len(entries) <= 3
    written = bytes([token["id"] for token in read if token["id"] < 256]).decode()
    assert "hé" in written
    assert written.endswith("assistant\na" if continued else "assistant\n")


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_prompt_logprobs_with_tools(lone_server: LiveServer, choice: str) -> None:
    """The scored prompt equals the answered prompt, tools included."""
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    body = {"model": TINY, "messages": QUESTION, "max_tokens": 1, "tools": [tool], "tool_choice": choice}
    plain, read = (
        lone_server.http.post("/v1/chat/completions", json=body | extra).json()
        for extra in ({}, {"prompt_logprobs": 1})
    )

    assert len(read["prompt_logprobs"]) == plain["usage"]["prompt_tokens"] == read["usage"]["prompt_tokens"]


def test_stop(client: openai.OpenAI) -> None:
    """A stop text ends the answer, and is not part of the answer."""
    whole = (
        client.completions.create(
            model=TINY, prompt="ab", max_tokens=16, temperature=0, extra_body={"ignore_eos": True}
        )
        .choices[0]
        .text
    )
    stop = whole[5:7]

    choice = client.completions.create(
        model=TINY, prompt="ab", max_tokens=16, temperature=0, stop=stop, extra_body={"ignore_eos": True}
    ).choices[0]

    assert choice.text == whole[: whole.index(stop)]
    assert choice.finish_reason == "stop"


def test_suffix_is_an_infill(client: openai.OpenAI) -> None:
    """suffix makes the model's infill prompt, with three markers."""
    answer = client.completions.create(
        model=TINY, prompt="ab", suffix="yz", max_tokens=2, temperature=0, extra_body={"heal": False}
    )

    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len("ab") + len("yz") + 3


def test_errors_have_their_classes(client: openai.OpenAI) -> None:
    """The package raises the class of each status, with the message and parameter."""
    with pytest.raises(openai.NotFoundError, match="use one of: tiny"):
        client.completions.create(model="nobody", prompt="ab")
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=TINY, messages=QUESTION, temperature=101)

    assert refused.value.param == "temperature"


def test_context_length(client: openai.OpenAI) -> None:
    """A prompt over the context is refused with both numbers."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model=TINY, prompt="x" * 300)

    assert isinstance(refused.value.body, dict)
    assert refused.value.body["type"] == "exceed_context_size_error"
    assert (refused.value.body["n_prompt_tokens"], refused.value.body["n_ctx"]) == (300, 256)
