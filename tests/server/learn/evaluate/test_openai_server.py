"""A model behind a server that is not Pellucid's: what its API shows is used, and what it does not show is not made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pellucid.errors import NotFoundError, NotSupportedError, PellucidError, UnavailableError
from pellucid.learn.evaluate.openai_server import OpenAIServer
from pellucid.learn.evaluate.questions import Ability, Asking
from pellucid.tokens import ChatQuery, CompletionQuery, SamplingParams, ScoreQuery, Token

Reply = Callable[[dict[str, Any]], httpx.Response]


def echoing(body: dict[str, Any]) -> httpx.Response:
    """What a server says that knows echo: words are tokens, and one more was generated."""
    words = [word if not number else f" {word}" for number, word in enumerate(body["prompt"].split(" "))]
    offsets = [sum(len(word) for word in words[:number]) for number in range(len(words) + 1)]
    logprobs: dict[str, Any] = {"tokens": [*words, "!"], "text_offset": offsets, "token_logprobs": [None, *[-1.5] * (len(words) - 1), -9.0]}
    return answer(body["prompt"] + "!", logprobs)


def answer(text: str, logprobs: dict[str, Any] | None = None, reason: str = "stop") -> httpx.Response:
    choice = {"text": text, "finish_reason": reason, "logprobs": logprobs}
    return httpx.Response(200, json={"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 1}})


def server(reply: Reply, asked: list[dict[str, Any]] | None = None) -> OpenAIServer:
    """A stand-in with one model."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "theirs"}]})
        body = json.loads(request.content)
        if asked is not None:
            asked.append(body)
        return reply(body)

    return OpenAIServer("http://elsewhere/v1/", transport=httpx.MockTransport(handle))


async def test_echo_gives_probabilities() -> None:
    """Where echo shows the prompt's tokens, their logprobs are those of the text; the one that was generated is none of it."""
    model = await server(echoing).subject("theirs")
    asking = Asking(model)
    found = await asking.likelihood("a b", " c d")
    assert model.abilities == {Ability.COMPLETE, Ability.SCORE}
    assert (found.logprob, found.tokens) == (-3.0, 2)
    assert asking.usage["computed"] == 3
    assert model.identity["url"] == "http://elsewhere"  # another server's model of this name is another one


async def test_begin_of_text() -> None:
    """A BOS before the text is none of it, though vLLM counts its characters among the offsets."""

    def begun(body: dict[str, Any]) -> httpx.Response:
        told = json.loads(echoing(body).content)["choices"][0]["logprobs"]
        offsets = [0, *(at + len("<s>") for at in told["text_offset"])]
        more = {"tokens": ["<s>", *told["tokens"]], "text_offset": offsets, "token_logprobs": [None, -7.0, *told["token_logprobs"][1:]]}
        return answer(body["prompt"] + "!", more)

    voice = server(begun)
    found = [(item.text, item.logprob) async for item in voice.score(ScoreQuery("a b c", model="theirs")) if isinstance(item, Token)]
    assert found == [("a", -7.0), (" b", -1.5), (" c", -1.5)]
    assert Ability.SCORE in (await voice.subject("theirs")).abilities


@pytest.mark.parametrize(
    "reply",
    [
        lambda body: answer("!", {"tokens": ["The", " sky", " is", " blue", "?"], "token_logprobs": [None, -1.0, -1.0, -1.0, -1.0]}),
        lambda body: answer("!", {"tokens": ["The", " sky", " is", " blue"], "token_logprobs": [None, -1.0, -1.0, -1.0]}),
        lambda body: answer("!"),  # echo is ignored
        lambda body: answer("!", {"tokens": ["!"], "text_offset": [0], "token_logprobs": [-1.0]}),  # the answer's own tokens
        lambda body: answer("!", {"content": [{"token": "!", "logprob": -1.0}]}),  # logprobs of chats
        lambda body: httpx.Response(400, json={"error": {"message": "echo is not supported"}}),
    ],
)
async def test_no_echo(reply: Reply) -> None:
    """Where it is refused or ignored, the model is not asked for probabilities."""
    model = await server(reply).subject("theirs")
    assert model.abilities == {Ability.COMPLETE}
    assert not model.infill


async def test_completions() -> None:
    """Sampling goes along, and so do up to four stops; of more the first is found here."""
    asked: list[dict[str, Any]] = []
    voice = server(lambda body: answer("one\ndef two\nclass three"), asked)
    asking = Asking(await voice.subject("theirs"))
    params = SamplingParams(max_tokens=7, temperature=0.5, seed=3)
    assert (await asking.complete("x", params=params, stop=("\n",))).text == "one\ndef two\nclass three"
    assert asked[-1] == {"model": "theirs", "prompt": "x", "max_tokens": 7, "temperature": 0.5, "seed": 3, "stop": ["\n"]}
    cut = await asking.complete("x", params=params, stop=("\nclass", "\ndef", "\n#", "\n@", "\nprint"))
    assert (cut.text, cut.ended) == ("one", True)
    assert "stop" not in asked[-1]


async def test_what_is_not_shown() -> None:
    """A suffix, token ids and chats are refused rather than guessed."""
    voice = server(echoing)
    with pytest.raises(NotSupportedError, match="suffix"):
        await anext(voice.complete(CompletionQuery("x", "y")))
    with pytest.raises(NotSupportedError, match="token ids"):
        await voice.token_ids("x")
    with pytest.raises(NotSupportedError, match="plain texts only"):
        await anext(voice.score(ScoreQuery([1, 2])))
    with pytest.raises(NotSupportedError, match="completions only"):
        voice.chat(ChatQuery([]))


@pytest.mark.parametrize(
    ("reply", "error", "sentence"),
    [
        (lambda body: httpx.Response(500, text="oh"), PellucidError, "http://elsewhere/v1/completions answered with status 500: oh."),
        (lambda body: httpx.Response(200, text="no"), PellucidError, "http://elsewhere/v1/completions answered with status 200: no."),
        (lambda body: httpx.Response(200, json={}), PellucidError, "http://elsewhere answered without choices, which is not OpenAI's way."),
    ],
)
async def test_errors(reply: Reply, error: type[Exception], sentence: str) -> None:
    """What a server says instead of an answer is told in one sentence."""
    voice = server(reply)
    with pytest.raises(error) as raised:
        await anext(voice.complete(CompletionQuery("x", model="theirs")))
    assert str(raised.value) == sentence


async def test_unknown_model() -> None:
    """The models that there are are named."""
    with pytest.raises(NotFoundError, match=r"There is no model 'ours' at http://elsewhere; there is theirs."):
        await server(echoing).subject("ours")


async def test_lost_connection() -> None:
    """A connection that fails is told as such, and not taken for a server without probabilities."""

    def fail(body: dict[str, Any]) -> httpx.Response:
        raise httpx.ReadError("gone")

    with pytest.raises(UnavailableError, match="failed: gone"):
        await server(fail).subject("theirs")
