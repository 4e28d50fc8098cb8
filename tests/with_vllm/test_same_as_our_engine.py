"""Answers over a real vLLM equal our engine's answers, with the same weights and dtype."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pellucid.config import load_settings
from pellucid.fleet.fleet import Fleet
from pellucid.serving.assemble_front import assemble_front, join_engines
from pellucid.system.progress import Silent
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, Extra, SamplingParams, ScoreQuery
from support.fleet.real_vllm import VLLM
from support.fleet.same_answers import assert_same, load_float32, tokens_of
from support.page.page_fixtures import SMALL
from support.servers.real_model_server import CODER

PARAMS = SamplingParams(max_tokens=16, top_logprobs=5)

TEXTS = [
    "def add(a, b):\n    ",
    "import os\n\ndef list_files(folder):\n",
    "class Stack:\n    def __init__(self):\n",
    "for i in range(10):\n    print(",
    "The capital of France is",
    "Once upon a time",
    "SELECT name FROM users WHERE",
    "# Sort a list of numbers\n",
    "x = [1, 2, 3]\ny = ",
    "Grüße aus",
    "日本の首都は",
    "function greet(name) {\n  return ",
    "try:\n    value = int(text)\nexcept ",
    '{"name": "Ada", "age": ',
    'if __name__ == "__main__":\n',
    "The three primary colours are",
    "public static void main(",
    "let total = items.",
    "<ul>\n  <li>",
    "2 + 2 = ",
]
TYPED = [
    "retu",
    "pri",
    "imp",
    "self.na",
    "fo",
    "whi",
    "els",
    "de",
    "Tru",
    "Non",
    "rang",
    "le",
    "st",
    "in",
    "clas",
    "exc",
    "wit",
    "lamb",
    "yie",
    "asse",
]


@pytest.fixture(scope="module", params=[SMALL, CODER])
async def both(
    request: pytest.FixtureRequest,
    folders: dict[str, Path],
    engines: dict[str, VLLM],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[LocalAssistant, LocalAssistant]]:
    """Yield assistants of the same model: near, with our engine, and far, over vLLM."""
    name, folder = request.param, folders[request.param]
    near = load_float32(folder, tmp_path_factory.mktemp("cache"))
    settings = load_settings(models=(f"{name}={folder}",), engines=(engines[name].url,))
    far = await asyncio.to_thread(assemble_front, settings, Silent())
    await join_engines(far)
    yield near, far.assistant
    near.models.find(None).engine.close()
    assert isinstance(far.engine, Fleet)
    await far.engine.replicas.disconnect()


Both = tuple[LocalAssistant, LocalAssistant]


@pytest.mark.parametrize("text", TEXTS)
async def test_complete(both: Both, text: str) -> None:
    """A text is continued with the same tokens, ranks, logprobs and alternatives."""
    (near, end), (far, other_end) = [
        await tokens_of(one.complete(CompletionQuery(text, params=PARAMS))) for one in both
    ]
    assert_same(near, far)
    assert other_end.reason is end.reason


async def test_entropy(both: Both) -> None:
    """The entropy is exact for an engine with the plugin, and otherwise a range."""
    far, _ = await tokens_of(both[1].complete(CompletionQuery(TEXTS[0], params=PARAMS)))
    exact = both[1].models.cards()[0].name == SMALL
    assert all((token.entropy is not None, token.entropy_range is None) == (exact, exact) for token in far)


@pytest.mark.parametrize("typed", TYPED)
async def test_healed(both: Both, typed: str) -> None:
    """A prompt with a cut last token is healed alike."""
    query = CompletionQuery(f"def check(name, values):\n    {typed}", params=PARAMS, heal=True)
    (near, _), (far, _) = [await tokens_of(one.complete(query)) for one in both]
    assert [token.id for token in far] == [token.id for token in near]
    assert all(other.allowed >= one.allowed - 1e-3 for one, other in zip(near, far, strict=True))


@pytest.mark.parametrize("number", range(20))
async def test_infill(both: Both, number: int) -> None:
    """A gap is filled alike, with and without pieces of other files."""
    prefix, suffix = (
        f"def scale(values, factor):\n    result = []\n    for value in values[{number}:]:\n        res",
        "\n    return result\n",
    )
    extra = (
        (Extra("other.py", "def halve(values):\n    return scale(values, 0.5)\n"),)
        if number % 2 and both[0].models.cards()[0].files
        else ()
    )
    query = CompletionQuery(prefix, suffix, extra, PARAMS)
    (near, end), (far, other_end) = [await tokens_of(one.complete(query)) for one in both]
    assert [token.id for token in far] == [token.id for token in near]
    assert other_end.reason is end.reason


@pytest.mark.parametrize("text", TEXTS)
async def test_chat(both: Both, text: str) -> None:
    """A conversation is answered alike."""
    query = ChatQuery([Message("user", f"Explain this in one sentence: {text}")], PARAMS)
    (near, _), (far, _) = [await tokens_of(one.chat(query)) for one in both]
    assert_same(near, far)


@pytest.mark.parametrize("text", TEXTS)
async def test_score(both: Both, text: str) -> None:
    """A text is read alike."""
    (near, _), (far, _) = [await tokens_of(one.score(ScoreQuery(text, top_logprobs=5))) for one in both]
    assert_same(near, far)
