"""The local assistant and a client over HTTP yield the same tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from pellucid.api.server_state import ServerState
from pellucid.client.http_client import Client
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.errors import ContextLengthError, InvalidRequestError, NotFoundError
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish, Usage
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
from support.models.loaded_models import loaded_model
from support.models.tiny_models import tiny_llama, tiny_qwen3_moe, to_decoder
from support.servers.http_servers import (
    MARKERS,
    TINY,
    TINY_PLAIN,
    LiveServer,
    byte_tokenizer,
    live,
    live_tiny,
    tiny_assistant,
)

Verb = Callable[[LocalAssistant | Client], AsyncIterator[Token | Finish]]

DRAWN = SamplingParams(
    max_tokens=12, temperature=0.9, top_k=50, top_p=0.95, min_p=0.01, seed=4, top_logprobs=4, ignore_eos=True
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


@dataclass
class Pair:
    """An assistant in this process, and a server with an equal assistant.

    Both have a single slot and get the same queries, so that both caches have the same content, and
    logprobs are the same to the last bit.
    """

    local: LocalAssistant
    server: LiveServer

    @asynccontextmanager
    async def assistants(self) -> AsyncIterator[tuple[LocalAssistant, Client]]:
        async with Client(self.server.url) as client:
            yield self.local, client


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    assistant, engine = tiny_assistant(slots=1)
    with live_tiny(slots=1) as server:
        yield Pair(assistant, server)
    engine.close()


async def listen(items: AsyncIterator[Token | Finish]) -> tuple[list[Token], Finish]:
    *tokens, finish = [item async for item in items]
    assert isinstance(finish, Finish)
    return [token for token in tokens if isinstance(token, Token)], finish


@pytest.mark.parametrize("verb", VERBS)
async def test_same_tokens(pair: Pair, verb: str) -> None:
    """Tokens and Finish are the same locally and over HTTP, to the last bit of probabilities."""
    async with pair.assistants() as both:
        (local, local_end), (remote, remote_end) = [await listen(VERBS[verb](assistant)) for assistant in both]

    assert local
    assert remote == local
    assert (remote_end.usage.prompt, remote_end.usage.generated) == (local_end.usage.prompt, local_end.usage.generated)
    assert (remote_end.reason, remote_end.stop) == (local_end.reason, local_end.stop)
    assert remote_end.first_difference == local_end.first_difference
    assert bool(local_end.fields) is (verb == "schema")
    if local_end.fields:
        assert remote_end.fields == local_end.fields


ASKED: dict[str, Callable[..., AsyncIterator[Token | Finish]]] = {
    "infill": lambda assistant, **more: assistant.complete(CompletionQuery("def add", "\nend", params=GREEDY), **more),
    "ids": lambda assistant, **more: assistant.complete(CompletionQuery([1, 2, 3], params=GREEDY), **more),
    "chat": lambda assistant, **more: assistant.chat(ChatQuery(CHAT, GREEDY), **more),
}


@pytest.mark.parametrize("verb", ASKED)
async def test_usage_on_the_way(pair: Pair, verb: str) -> None:
    """Locally and over HTTP, the usage so far is reported with the tokens."""
    async with pair.assistants() as both:
        (_, local), (count, remote) = [await reported(assistant, verb) for assistant in both]

    assert len(remote) >= count - 1
    assert {usage.prompt for usage in remote} == {usage.prompt for usage in local}
    generated = [usage.generated for usage in remote]
    assert generated == sorted(generated)
    assert local[-1].generated >= generated[-1] > 0


async def reported(assistant: LocalAssistant | Client, verb: str) -> tuple[int, list[Usage]]:
    """Return the number of tokens of an answer, and the reported usages."""
    seen: list[Usage] = []
    tokens, _ = await listen(ASKED[verb](assistant, on_usage=seen.append))
    return len(tokens), seen


async def test_same_cards(pair: Pair) -> None:
    """The cards are the same locally and over HTTP."""
    async with pair.assistants() as both:
        local, remote = [await assistant.cards() for assistant in both]

    assert remote == local
    assert [card.name for card in local] == [TINY, TINY_PLAIN]


@pytest.mark.parametrize("model", [TINY, TINY_PLAIN, None])
async def test_same_token_ids(pair: Pair, model: str | None) -> None:
    """A text has the same ids locally and over HTTP; a spelled marker stays text."""
    text = "def añadir(a):  # <|fim_middle|>\n"
    async with pair.assistants() as both:
        local, remote = [await assistant.token_ids(text, model=model) for assistant in both]

    assert local[-3:] == pair.local.models.find(model).tokenizer.encode(text)[-3:]
    assert remote == local


@pytest.mark.parametrize("suffix", ["\nend" * 40, "", None])
@pytest.mark.parametrize("model", [TINY, TINY_PLAIN])
async def test_same_infill_prompt(pair: Pair, model: str, suffix: str | None) -> None:
    """An infill's prompt is the same locally and over HTTP, and trimmed alike."""
    before = "def add(a, b):\n" + "    # héllo\n" * 20 + "    "
    query = CompletionQuery(before, suffix, [Extra("a.py", "import a")], model=model)
    async with pair.assistants() as both:
        local, remote = [await assistant.infill_prompt(query) for assistant in both]

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
async def test_same_errors(pair: Pair, verb: Verb, error: type[Exception]) -> None:
    """An impossible query raises the same error locally and over HTTP, with the same sentence."""
    sentences = []
    async with pair.assistants() as both:
        for assistant in both:
            with pytest.raises(error) as raised:
                await listen(verb(assistant))
            sentences.append(str(raised.value))

    assert sentences[0] == sentences[1]


async def test_experts() -> None:
    """Locally and over HTTP, a read token has the experts of the same token when generated.

    A model without experts refuses.
    """
    makers = {"experts": tiny_qwen3_moe, "dense": tiny_llama}
    models = [
        loaded_model(name, to_decoder(make(vocab_size=256 + len(MARKERS))), byte_tokenizer())
        for name, make in makers.items()
    ]
    engine = LocalEngine({model.name: model.model for model in models}, EngineSettings(slots=2, context=64, queue=8))
    state, local = ServerState(models=tuple(makers), grace=0.0), LocalAssistant(engine, models)
    state.open(local, engine)
    params = SamplingParams(max_tokens=3, experts=True, ignore_eos=True)
    with live(state) as server:
        async with Client(server.url) as client:
            assert [card.experts for card in await client.cards()] == [True, False]
            for assistant in (local, client):
                generated, _ = await listen(assistant.complete(CompletionQuery([1, 2], params=params)))
                ids = [1, 2, *(token.id for token in generated)]
                read, _ = await listen(assistant.score(ScoreQuery(ids, experts=True)))
                plain, _ = await listen(assistant.score(ScoreQuery(ids)))
                assert {token.experts for token in plain} == {None}
                assert read[0].experts is None
                assert [len(token.experts or ()) for token in read[1:]] == [3] * 4
                for one, other in zip(read[2:], generated, strict=True):
                    assert numbers(one) == numbers(other)
                for verb in (
                    assistant.complete(CompletionQuery("a", params=params, model="dense")),
                    assistant.chat(ChatQuery(CHAT, params, model="dense")),
                    assistant.score(ScoreQuery("a", experts=True, model="dense")),
                ):
                    with pytest.raises(InvalidRequestError, match=r"dense reports no experts: omit experts\."):
                        await listen(verb)
            reply = server.http.post("/v1/score", json={"tokens": ids, "experts": True}).json()
            assert [[pair[0] for pair in layer] for layer in reply["tokens"][2]["experts"]] == numbers(read[2])
    engine.close()


def numbers(token: Token) -> list[list[int]]:
    assert token.experts is not None
    assert all(sum(weight for _, weight in layer) == pytest.approx(1) for layer in token.experts)
    return [[expert for expert, _ in layer] for layer in token.experts]
