"""The local assistant and a client over HTTP yield the same tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest

from pellucid.api.server_state import ServerState
from pellucid.client.http_client import Client
from pellucid.errors import ContextLengthError, InvalidRequestError, NotFoundError
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import (
    ChatQuery,
    CompletionQuery,
    Extra,
    Grammar,
    Priority,
    SamplingParams,
    ScoreQuery,
    Terms,
)
from pellucid.vocabulary.token import Token
from support.servers.http_servers import TINY, TINY_PLAIN, LiveServer, live, tiny_assistant

Verb = Callable[[LocalAssistant | Client], AsyncIterator[Token | Finish]]

DRAWN = SamplingParams(
    max_tokens=12, temperature=0.9, top_k=50, top_p=0.95, min_p=0.01, seed=3, top_logprobs=4, ignore_eos=True
)
GREEDY = SamplingParams(max_tokens=12, repetition_penalty=1.2, logit_bias={65: 2.0}, top_logprobs=2)
BIASED = SamplingParams(max_tokens=40, temperature=0.9, seed=3, logit_bias={34: 4.0, 125: 4.0}, top_logprobs=2)
SCHEMA = (
    '{"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"], "additionalProperties": false}'
)
CHAT = [Message("system", "be brief"), Message("user", "héllo")]
VERBS: dict[str, Verb] = {
    "continuation": lambda assistant: assistant.complete(CompletionQuery("def add", params=DRAWN, stop=["\n\n"])),
    "infill": lambda assistant: assistant.complete(
        CompletionQuery("def add", "\nend", [Extra("a.py", "import a")], GREEDY)
    ),
    "no infill tokens": lambda assistant: assistant.complete(
        CompletionQuery("def add", "\nend", params=GREEDY, model=TINY_PLAIN)
    ),
    "markers": lambda assistant: assistant.complete(
        CompletionQuery("<|im_start|>a", params=DRAWN, special=True, heal=True)
    ),
    "ids": lambda assistant: assistant.complete(CompletionQuery([1, 2, 256, 3], params=DRAWN, model=TINY)),
    "chat": lambda assistant: assistant.chat(ChatQuery(CHAT, DRAWN)),
    "chat continued": lambda assistant: assistant.chat(
        ChatQuery([*CHAT, Message("assistant", "Well")], GREEDY, continue_last=True)
    ),
    "schema": lambda assistant: assistant.chat(
        ChatQuery(CHAT, BIASED, grammar=Grammar("json_schema", SCHEMA), with_fields=True)
    ),
    "compact schema": lambda assistant: assistant.complete(
        CompletionQuery("x", params=BIASED, grammar=Grammar("json_schema", SCHEMA, whitespace=""))
    ),
    "white space": lambda assistant: assistant.complete(
        CompletionQuery("x", params=BIASED, grammar=Grammar("json_object", "", " "))
    ),
    "regex": lambda assistant: assistant.complete(
        CompletionQuery("x", "y", params=BIASED, grammar=Grammar("regex", "(ab|cd)+"))
    ),
    "choice": lambda assistant: assistant.complete(
        CompletionQuery("x", params=BIASED, grammar=Grammar("choice", '["red", "blue"]'))
    ),
    "lark": lambda assistant: assistant.complete(
        CompletionQuery("x", params=BIASED, grammar=Grammar("grammar", 'start: "a" | "b"'))
    ),
    "score": lambda assistant: assistant.score(ScoreQuery("héllo wörld", top_logprobs=3)),
    "score ids": lambda assistant: assistant.score(ScoreQuery([104, 257, 105], top_logprobs=20)),
    "hot": lambda assistant: assistant.complete(
        CompletionQuery("def add", params=SamplingParams(max_tokens=4, temperature=50.0, seed=1))
    ),
    "score on terms": lambda assistant: assistant.score(
        ScoreQuery("héllo", terms=Terms(Priority.CHAT, "window", 60.0))
    ),
    "score chat": lambda assistant: assistant.score(ScoreQuery(CHAT)),
    "score a gap": lambda assistant: assistant.score(
        ScoreQuery("  return a\n", top_logprobs=2, gap=CompletionQuery("def f(a):\n", "\nf(1)", [Extra("g.py", "x")]))
    ),
    "score after a prompt": lambda assistant: assistant.score(
        ScoreQuery("b<|file_sep|>", top_logprobs=2, gap=CompletionQuery("<|file_sep|>a.py\n", special=True))
    ),
    "score a continuation": lambda assistant: assistant.score(
        ScoreQuery(" enough\n", top_logprobs=2, continued=[*CHAT, Message("assistant", "Well")])
    ),
    "score windows": lambda assistant: assistant.score(ScoreQuery("héllo wörld " * 40, top_logprobs=2, windows=True)),
}


@contextmanager
def local_assistant() -> Iterator[LocalAssistant]:
    """Return a new assistant, since the content of a cache would change the last bits."""
    assistant, engine = tiny_assistant()
    yield assistant
    engine.close()


@contextmanager
def remote_server() -> Iterator[LiveServer]:
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
    """Tokens and Finish are the same locally and over HTTP, to the last bit of probabilities."""
    with local_assistant() as assistant:
        local, local_end = await listen(VERBS[verb](assistant))
    with remote_server() as server:
        async with Client(server.url) as client:
            remote, remote_end = await listen(VERBS[verb](client))

    assert local
    assert remote == local
    assert (remote_end.usage.prompt, remote_end.usage.generated) == (local_end.usage.prompt, local_end.usage.generated)
    assert (remote_end.reason, remote_end.stop) == (local_end.reason, local_end.stop)
    assert remote_end.first_difference == local_end.first_difference
    assert bool(local_end.fields) is (verb == "schema")
    if local_end.fields:
        assert remote_end.fields == local_end.fields


@pytest.mark.parametrize("verb", ["infill", "ids", "chat"])
async def test_usage_on_the_way(verb: str) -> None:
    """Locally and over HTTP, the usage so far is reported with the tokens."""
    reported: dict[str, list[tuple[int, int]]] = {"local": [], "remote": []}

    async def ask(assistant: LocalAssistant | Client, where: str) -> int:
        asked: dict[str, Callable[..., AsyncIterator[Token | Finish]]] = {
            "infill": lambda **more: assistant.complete(CompletionQuery("def add", "\nend", params=GREEDY), **more),
            "ids": lambda **more: assistant.complete(CompletionQuery([1, 2, 3], params=GREEDY), **more),
            "chat": lambda **more: assistant.chat(ChatQuery(CHAT, GREEDY), **more),
        }
        tokens, _ = await listen(
            asked[verb](on_usage=lambda usage: reported[where].append((usage.prompt, usage.generated)))
        )
        return len(tokens)

    with local_assistant() as assistant:
        count = await ask(assistant, "local")
    with remote_server() as server:
        async with Client(server.url) as client:
            await ask(client, "remote")

    assert len(reported["remote"]) >= count - 1
    assert {prompt for prompt, _ in reported["remote"]} == {prompt for prompt, _ in reported["local"]}
    assert [generated for _, generated in reported["remote"]] == sorted(
        generated for _, generated in reported["remote"]
    )
    assert reported["local"][-1][1] >= reported["remote"][-1][1] > 0


async def test_same_cards() -> None:
    """The cards are the same locally and over HTTP."""
    with local_assistant() as assistant:
        local = await assistant.cards()
    with remote_server() as server:
        async with Client(server.url) as client:
            remote = await client.cards()

    assert remote == local
    assert [card.name for card in local] == [TINY, TINY_PLAIN]


@pytest.mark.parametrize("model", [TINY, TINY_PLAIN, None])
async def test_same_token_ids(model: str | None) -> None:
    """A text has the same ids locally and over HTTP; a spelled marker stays text."""
    text = "def añadir(a):  # <|fim_middle|>\n"
    with local_assistant() as assistant:
        local = await assistant.token_ids(text, model=model)
        assert local[-3:] == assistant.models.find(model).tokenizer.encode(text)[-3:]
    with remote_server() as server:
        async with Client(server.url) as client:
            remote = await client.token_ids(text, model=model)

    assert remote == local


@pytest.mark.parametrize("suffix", ["\nend" * 40, "", None])
@pytest.mark.parametrize("model", [TINY, TINY_PLAIN])
async def test_same_infill_prompt(model: str, suffix: str | None) -> None:
    """An infill's prompt is the same locally and over HTTP, and trimmed alike."""
    asked = ("def add(a, b):\n" + "    # héllo\n" * 20 + "    ", suffix, [Extra("a.py", "import a")])
    with local_assistant() as assistant:
        local = await assistant.infill_prompt(CompletionQuery(*asked, model=model))
    with remote_server() as server:
        async with Client(server.url) as client:
            remote = await client.infill_prompt(CompletionQuery(*asked, model=model))

    assert remote == local
    assert ("<|fim_middle|>" in local) is (model == TINY)


@pytest.mark.parametrize(
    ("verb", "error"),
    [
        (lambda assistant: assistant.complete(CompletionQuery("x" * 300)), ContextLengthError),
        (lambda assistant: assistant.score(ScoreQuery("x" * 300)), ContextLengthError),
        (lambda assistant: assistant.score(ScoreQuery("x" * 300, gap=CompletionQuery("a", "b"))), ContextLengthError),
        (lambda assistant: assistant.score(ScoreQuery("", gap=CompletionQuery("a", "b"))), InvalidRequestError),
        (lambda assistant: assistant.score(ScoreQuery("x", continued=CHAT)), InvalidRequestError),
        (lambda assistant: assistant.complete(CompletionQuery("x", model="nobody")), NotFoundError),
        (lambda assistant: assistant.complete(CompletionQuery([10**6])), InvalidRequestError),
        (
            lambda assistant: assistant.complete(CompletionQuery("x", "y", [Extra("f", "t")], model=TINY_PLAIN)),
            InvalidRequestError,
        ),
    ],
)
async def test_same_errors(verb: Verb, error: type[Exception]) -> None:
    """An impossible query raises the same error locally and over HTTP, with the same sentence."""
    with local_assistant() as assistant, pytest.raises(error) as local:
        await listen(verb(assistant))
    with remote_server() as server:
        async with Client(server.url) as client:
            with pytest.raises(error) as remote:
                await listen(verb(client))

    assert str(remote.value) == str(local.value)
