"""A face cannot tell near from far: the assistant and a client at the other end of HTTP give the same tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest

from pellucid.api.state import ServerState
from pellucid.client.client import Client
from pellucid.errors import ContextLengthError, InvalidRequestError, NotFoundError
from pellucid.text.assistant import LocalAssistant
from pellucid.tokens import ChatQuery, CompletionQuery, Extra, Finish, Message, Priority, SamplingParams, ScoreQuery, Terms, Token
from support.servers.http_servers import TINY, TINY_PLAIN, LiveServer, live, tiny_assistant

Verb = Callable[[LocalAssistant | Client], AsyncIterator[Token | Finish]]

DRAWN = SamplingParams(max_tokens=12, temperature=0.9, top_k=50, top_p=0.95, min_p=0.01, seed=3, top_logprobs=4, ignore_eos=True)
GREEDY = SamplingParams(max_tokens=12, repetition_penalty=1.2, logit_bias={65: 2.0}, top_logprobs=2)
CHAT = [Message("system", "be brief"), Message("user", "héllo")]
VERBS: dict[str, Verb] = {
    "continuation": lambda speaker: speaker.complete(CompletionQuery("def add", params=DRAWN, stop=["\n\n"])),
    "infill": lambda speaker: speaker.complete(CompletionQuery("def add", "\nend", [Extra("a.py", "import a")], GREEDY)),
    "no infill tokens": lambda speaker: speaker.complete(CompletionQuery("def add", "\nend", params=GREEDY, model=TINY_PLAIN)),
    "markers": lambda speaker: speaker.complete(CompletionQuery("<|im_start|>a", params=DRAWN, special=True, heal=True)),
    "ids": lambda speaker: speaker.complete(CompletionQuery([1, 2, 256, 3], params=DRAWN, model=TINY)),
    "chat": lambda speaker: speaker.chat(ChatQuery(CHAT, DRAWN)),
    "chat continued": lambda speaker: speaker.chat(ChatQuery([*CHAT, Message("assistant", "Well")], GREEDY, continue_last=True)),
    "score": lambda speaker: speaker.score(ScoreQuery("héllo wörld", top_logprobs=3)),
    "score ids": lambda speaker: speaker.score(ScoreQuery([104, 257, 105], top_logprobs=20)),
    "hot": lambda speaker: speaker.complete(CompletionQuery("def add", params=SamplingParams(max_tokens=4, temperature=50.0, seed=1))),
    "score on terms": lambda speaker: speaker.score(ScoreQuery("héllo", terms=Terms(Priority.CHAT, "window", 60.0))),
    "score chat": lambda speaker: speaker.score(ScoreQuery(CHAT)),
}


@contextmanager
def assistant_near() -> Iterator[LocalAssistant]:
    """An assistant that nobody has asked before: what its cache holds would show in the last bits."""
    assistant, engine = tiny_assistant()
    yield assistant
    engine.close()


@contextmanager
def server_far() -> Iterator[LiveServer]:
    """A server of such an assistant."""
    assistant, engine = tiny_assistant()
    state = ServerState(models=(TINY,), grace=0.0)
    state.open(assistant, engine)
    with live(state) as server:
        yield server
    engine.close()


async def listen(items: AsyncIterator[Token | Finish]) -> tuple[list[Token], Finish]:
    *tokens, finish = [item async for item in items]
    assert isinstance(finish, Finish)
    return [token for token in tokens if isinstance(token, Token)], finish


@pytest.mark.parametrize("verb", VERBS)
async def test_same_tokens(verb: str) -> None:
    """Every token is the same near and far, to the last bit of its probabilities, and so is the way that the answer ends."""
    with assistant_near() as assistant:
        near, near_end = await listen(VERBS[verb](assistant))
    with server_far() as server:
        async with Client(server.url) as client:
            far, far_end = await listen(VERBS[verb](client))

    assert near
    assert far == near
    assert (far_end.usage.prompt, far_end.usage.generated) == (near_end.usage.prompt, near_end.usage.generated)
    assert (far_end.reason, far_end.stop) == (near_end.reason, near_end.stop)


@pytest.mark.parametrize("verb", ["infill", "ids", "chat"])
async def test_usage_on_the_way(verb: str) -> None:
    """With each token both tell what the answer has cost so far, so that whoever closes it early knows."""
    told: dict[str, list[tuple[int, int]]] = {"near": [], "far": []}

    async def ask(speaker: LocalAssistant | Client, where: str) -> int:
        asked: dict[str, Callable[..., AsyncIterator[Token | Finish]]] = {
            "infill": lambda **more: speaker.complete(CompletionQuery("def add", "\nend", params=GREEDY), **more),
            "ids": lambda **more: speaker.complete(CompletionQuery([1, 2, 3], params=GREEDY), **more),
            "chat": lambda **more: speaker.chat(ChatQuery(CHAT, GREEDY), **more),
        }
        tokens, _ = await listen(asked[verb](on_usage=lambda usage: told[where].append((usage.prompt, usage.generated))))
        return len(tokens)

    with assistant_near() as assistant:
        count = await ask(assistant, "near")
    with server_far() as server:
        async with Client(server.url) as client:
            await ask(client, "far")

    assert len(told["far"]) >= count - 1
    assert {prompt for prompt, _ in told["far"]} == {prompt for prompt, _ in told["near"]}
    assert [generated for _, generated in told["far"]] == sorted(generated for _, generated in told["far"])
    assert told["near"][-1][1] >= told["far"][-1][1] > 0


async def test_same_cards() -> None:
    """What is known of the models is the same near and far."""
    with assistant_near() as assistant:
        near = await assistant.cards()
    with server_far() as server:
        async with Client(server.url) as client:
            far = await client.cards()

    assert far == near
    assert [card.name for card in near] == [TINY, TINY_PLAIN]


@pytest.mark.parametrize("model", [TINY, TINY_PLAIN, None])
async def test_same_token_ids(model: str | None) -> None:
    """A text has the same ids near and far; what spells a marker in it stays text."""
    text = "def añadir(a):  # <|fim_middle|>\n"
    with assistant_near() as assistant:
        near = await assistant.token_ids(text, model=model)
        assert near[-3:] == [piece.id for piece in assistant.tokenize(text, model)][-3:]
    with server_far() as server:
        async with Client(server.url) as client:
            far = await client.token_ids(text, model=model)

    assert far == near


@pytest.mark.parametrize("model", [TINY, TINY_PLAIN])
async def test_same_infill_prompt(model: str) -> None:
    """The prompt of an infill is the same text near and far, trimmed alike, with pieces of files where the model takes them."""
    asked = ("def add(a, b):\n" + "    # héllo\n" * 20 + "    ", "\nend" * 40, [Extra("a.py", "import a")])
    with assistant_near() as assistant:
        near = await assistant.infill_prompt(CompletionQuery(*asked, model=model))
    with server_far() as server:
        async with Client(server.url) as client:
            far = await client.infill_prompt(CompletionQuery(*asked, model=model))

    assert far == near
    assert ("<|fim_middle|>" in near) is (model == TINY)


@pytest.mark.parametrize(
    ("verb", "error"),
    [
        (lambda speaker: speaker.complete(CompletionQuery("x" * 300)), ContextLengthError),
        (lambda speaker: speaker.complete(CompletionQuery("x", model="nobody")), NotFoundError),
        (lambda speaker: speaker.complete(CompletionQuery([10**6])), InvalidRequestError),
        (lambda speaker: speaker.complete(CompletionQuery("x", "y", [Extra("f", "t")], model=TINY_PLAIN)), InvalidRequestError),
    ],
)
async def test_same_errors(verb: Verb, error: type[Exception]) -> None:
    """What cannot be served raises the same error near and far, with the same sentence."""
    with assistant_near() as assistant, pytest.raises(error) as near:
        await listen(verb(assistant))
    with server_far() as server:
        async with Client(server.url) as client:
            with pytest.raises(error) as far:
                await listen(verb(client))

    assert str(far.value) == str(near.value)
