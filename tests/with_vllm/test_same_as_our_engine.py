"""Answers over a real vLLM are those of our own engine with the same weights in the same dtype."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from pellucid.config import load_settings
from pellucid.engine import weight_packing
from pellucid.fleet.fleet import Fleet
from pellucid.serving.assemble import assemble
from pellucid.serving.assemble_front import assemble_front
from pellucid.system.progress_protocol import Silent
from pellucid.text.assistant import LocalAssistant
from pellucid.tokens import ChatQuery, CompletionQuery, Extra, Finish, Message, SamplingParams, ScoreQuery, Token
from support.fleet.real_vllm import VLLM
from support.page.page_fixtures import SMALL
from support.servers.real_model_server import CODER

PARAMS = SamplingParams(max_tokens=16, top_logprobs=5)
SURE_RANK = 1000
"""Beyond it, neighbours are so alike that rounding may exchange them."""

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


def load(folder: Path, tmp_path: Path) -> LocalAssistant:
    """Return an assistant that computes with the weights of a folder in float32, also where bfloat16 would be faster."""
    settings = load_settings(models=(str(folder),), quant="none", context=4095, cache=tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weight_packing, "multiplies_bfloat16", lambda device: False)
        return assemble(settings, settings.models, Silent())[1]


@pytest.fixture(scope="module", params=[SMALL, CODER])
async def both(
    request: pytest.FixtureRequest, folders: dict[str, Path], engines: dict[str, VLLM], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[LocalAssistant, LocalAssistant]]:
    """Assistants of one model: near, with our own engine, and far, over vLLM."""
    name, folder = request.param, folders[request.param]
    near = load(folder, tmp_path_factory.mktemp("cache"))
    settings = load_settings(models=(f"{name}={folder}",), engines=(engines[name].url,))
    far = await asyncio.to_thread(assemble_front, settings, Silent())
    yield near, far.assistant
    near._engine.close()
    assert isinstance(far.engine, Fleet)
    await far.engine.disconnect()


async def tokens_of(stream: AsyncIterator[Token | Finish]) -> tuple[list[Token], Finish]:
    """Return the tokens of an answer, and its end."""
    found: list[Token] = []
    async with aclosing(stream) as items:  # type: ignore[type-var]
        async for item in items:
            if isinstance(item, Finish):
                return found, item
            found.append(item)
    raise AssertionError("an answer ends with a Finish")


def assert_same(near: Sequence[Token], far: Sequence[Token]) -> None:
    """Assert that two answers agree in all that vLLM reports."""
    assert [token.id for token in far] == [token.id for token in near]
    assert [token.text for token in far] == [token.text for token in near]
    for one, other in zip(near, far, strict=True):
        if one.logprob is None or one.entropy is None or one.rank is None:
            continue
        assert other.rank == (one.rank if one.rank <= SURE_RANK else pytest.approx(one.rank, rel=1e-3))
        assert other.logprob == pytest.approx(one.logprob, abs=1e-3)
        assert other.rest == pytest.approx(one.rest, abs=1e-3)
        assert [alternative.id for alternative in other.top] == [alternative.id for alternative in one.top]
        least, most = other.entropy_range or (other.entropy, other.entropy)
        assert least is not None
        assert most is not None
        assert least - 1e-3 <= one.entropy <= most + 1e-3


Both = tuple[LocalAssistant, LocalAssistant]


@pytest.mark.parametrize("text", TEXTS)
async def test_complete(both: Both, text: str) -> None:
    """A text is continued with the same tokens, ranks, logprobs and alternatives."""
    (near, end), (far, other_end) = [await tokens_of(one.complete(CompletionQuery(text, params=PARAMS))) for one in both]
    assert_same(near, far)
    assert other_end.reason is end.reason


async def test_entropy(both: Both) -> None:
    """The entropy is exact where the engine has the plugin, and otherwise a range."""
    far, _ = await tokens_of(both[1].complete(CompletionQuery(TEXTS[0], params=PARAMS)))
    exact = both[1].models()[0].name == SMALL
    assert all((token.entropy is not None, token.entropy_range is None) == (exact, exact) for token in far)


@pytest.mark.parametrize("typed", TYPED)
async def test_healed(both: Both, typed: str) -> None:
    """A prompt that ends inside a token is healed alike."""
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
    extra = (Extra("other.py", "def halve(values):\n    return scale(values, 0.5)\n"),) if number % 2 and both[0].models()[0].files else ()
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
    """A text is read alike, and what was generated has the same scores when it is read."""
    (near, _), (far, _) = [await tokens_of(one.score(ScoreQuery(text, top_logprobs=5))) for one in both]
    assert_same(near, far)
