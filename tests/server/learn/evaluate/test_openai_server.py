"""Tests of models behind OpenAI-compatible servers, used as far as the API permits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pellucid.errors import NotFoundError, NotSupportedError, PellucidError, UnavailableError
from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.openai_server import OpenAIServer
from pellucid.learn.evaluate.subjects import Ability
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, SamplingParams, ScoreQuery
from pellucid.vocabulary.token import Token

Reply = Callable[[dict[str, Any]], httpx.Response]


def echoing(body: dict[str, Any]) -> httpx.Response:
    """Answer like a server with echo: words are tokens, and a token was generated."""
    words = [word if not number else f" {word}" for number, word in enumerate(body["prompt"].split(" "))]
    offsets = [sum(len(word) for word in words[:number]) for number in range(len(words) + 1)]
    logprobs: dict[str, Any] = {
        "tokens": [*words, "!"],
        "text_offset": offsets,
        "token_logprobs": [None, *[-1.5] * (len(words) - 1), -9.0],
    }
    return answer(body["prompt"] + "!", logprobs)


def answer(text: str, logprobs: dict[str, Any] | None = None, reason: str = "stop") -> httpx.Response:
    choice = {"text": text, "finish_reason": reason, "logprobs": logprobs}
    return httpx.Response(200, json={"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 1}})


def server(reply: Reply, asked: list[dict[str, Any]] | None = None) -> OpenAIServer:
    """Return a client of a fake server with a single model."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "theirs"}]})
        body = json.loads(request.content)
        if asked is not None:
            asked.append(body)
        return reply(body)

    return OpenAIServer("http://elsewhere/v1/", transport=httpx.MockTransport(handle))


async def test_echo_gives_probabilities() -> None:
    """Echoed logprobs of the prompt are the text's, without the generated token."""
    model = await server(echoing).subject("theirs")
    session = ModelSession(model)
    found = await session.likelihood("a b", " c d")
    assert model.abilities == {Ability.COMPLETE, Ability.SCORE}
    assert (found.logprob, found.tokens) == (-3.0, 2)
    assert session.usage["computed"] == 3
    # The identity distinguishes models of the same name by their servers.
    assert model.identity["url"] == "http://elsewhere"


async def test_begin_of_text() -> None:
    """A BOS before the text is excluded, although vLLM includes its characters in the offsets."""

    def begun(body: dict[str, Any]) -> httpx.Response:
        echoed = json.loads(echoing(body).content)["choices"][0]["logprobs"]
        offsets = [0, *(at + len("<s>") for at in echoed["text_offset"])]
        more = {
            "tokens": ["<s>", *echoed["tokens"]],
            "text_offset": offsets,
            "token_logprobs": [None, -7.0, *echoed["token_logprobs"][1:]],
        }
        return answer(body["prompt"] + "!", more)

    interface = server(begun)
    found = [
        (item.text, item.logprob)
        async for item in interface.score(ScoreQuery("a b c", model="theirs"))
        if isinstance(item, Token)
    ]
    assert found == [("a", -7.0), (" b", -1.5), (" c", -1.5)]
    assert Ability.SCORE in (await interface.subject("theirs")).abilities


SKY = ["The", " sky", " is", " blue"]


@pytest.mark.parametrize(
    "reply",
    [
        lambda body: answer("!", {"tokens": [*SKY, "?"], "token_logprobs": [None, *[-1.0] * 4]}),
        lambda body: answer("!", {"tokens": SKY, "token_logprobs": [None, *[-1.0] * 3]}),
        lambda body: answer("!"),  # The echo is ignored.
        # The answer has its own tokens.
        lambda body: answer("!", {"tokens": ["!"], "text_offset": [0], "token_logprobs": [-1.0]}),
        # The logprobs have the form of chats.
        lambda body: answer("!", {"content": [{"token": "!", "logprob": -1.0}]}),
        lambda body: httpx.Response(400, json={"error": {"message": "echo is not supported"}}),
    ],
)
async def test_no_echo(reply: Reply) -> None:
    """The model has no probabilities if echo is rejected or ignored."""
    model = await server(reply).subject("theirs")
    assert model.abilities == {Ability.COMPLETE}
    assert not model.infill


async def test_completions() -> None:
    """Sampling parameters and up to four stops are sent, and more stops are applied locally."""
    asked: list[dict[str, Any]] = []
    interface = server(lambda body: answer("one\ndef two\nclass three"), asked)
    session = ModelSession(await interface.subject("theirs"))
    params = SamplingParams(max_tokens=7, temperature=0.5, seed=3)
    assert (await session.complete("x", params=params, stop=("\n",))).text == "one\ndef two\nclass three"
    sent = {"model": "theirs", "prompt": "x", "max_tokens": 7, "temperature": 0.5, "seed": 3, "stop": ["\n"]}
    assert asked[-1] == sent
    cut = await session.complete("x", params=params, stop=("\nclass", "\ndef", "\n#", "\n@", "\nprint"))
    assert (cut.text, cut.ended) == ("one", True)
    assert "stop" not in asked[-1]


async def test_what_is_not_shown() -> None:
    """A suffix, token ids and chats are rejected."""
    interface = server(echoing)
    with pytest.raises(NotSupportedError, match="suffix"):
        await anext(interface.complete(CompletionQuery("x", "y")))
    with pytest.raises(NotSupportedError, match="token ids"):
        await interface.token_ids("x")
    with pytest.raises(NotSupportedError, match="only for plain text"):
        await anext(interface.score(ScoreQuery([1, 2])))
    with pytest.raises(NotSupportedError, match="only for completions"):
        interface.chat(ChatQuery([]))


@pytest.mark.parametrize(
    ("response", "sentence"),
    [
        (httpx.Response(500, text="oh"), "http://elsewhere/v1/completions answered with status 500: oh."),
        (httpx.Response(200, text="no"), "http://elsewhere/v1/completions answered with status 200: no."),
        (httpx.Response(200, json={}), "http://elsewhere answered without choices, which OpenAI's API requires."),
    ],
)
async def test_errors(response: httpx.Response, sentence: str) -> None:
    """An error of the server is one sentence."""
    interface = server(lambda body: response)
    with pytest.raises(PellucidError) as raised:
        await anext(interface.complete(CompletionQuery("x", model="theirs")))
    assert str(raised.value) == sentence


async def test_unknown_model() -> None:
    """An unknown model is reported with the known models."""
    with pytest.raises(NotFoundError, match=r"There is no model 'ours' at http://elsewhere; use one of: theirs\."):
        await server(echoing).subject("ours")


async def test_lost_connection() -> None:
    """A failed connection is reported, and not taken for a server without probabilities."""

    def fail(body: dict[str, Any]) -> httpx.Response:
        raise httpx.ReadError("gone")

    with pytest.raises(UnavailableError, match="failed: gone"):
        await server(fail).subject("theirs")
