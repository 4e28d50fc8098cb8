"""Tests of scores of a text that fills a gap, after the prompt of an infill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.errors import InvalidRequestError
from pellucid.text.assistant import LocalAssistant
from pellucid.text.query_ids import prompt_ids
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import CompletionQuery, Extra, ScoreQuery
from pellucid.vocabulary.token import Token
from support.models.served_models import served_model
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.scripted_engine import FORMAT, byte_tokenizer

TOKENIZER = byte_tokenizer(words=())
MODEL = tiny_llama(vocab_size=TOKENIZER.vocab_size)
GAP = CompletionQuery("def f(a):\n", "\nf(1)\n", [Extra("f.diff", "original:\na\nupdated:\nb\n")])
TEXT = "  return 日\n"


@pytest.fixture(scope="module")
def assistant() -> Iterator[LocalAssistant]:
    engine = LocalEngine({"plain": to_decoder(MODEL)}, EngineSettings(slots=2, context=200, chunk=16, prefix_memory=0))
    yield LocalAssistant(engine, [served_model("plain", TOKENIZER, FORMAT)])
    engine.close()


async def read(assistant: LocalAssistant, query: ScoreQuery) -> tuple[list[Token], Finish]:
    items = [item async for item in assistant.score(query)]
    finish = items.pop()
    assert isinstance(finish, Finish)
    return [item for item in items if isinstance(item, Token)], finish


async def test_the_text_is_read_after_the_prompt_of_the_infill(assistant: LocalAssistant) -> None:
    """Each token has transformers' logprob after the infill's prompt, and the texts join."""
    tokens, finish = await read(assistant, ScoreQuery(TEXT, gap=GAP))
    prompt, ids = prompt_ids(assistant.models.find(None), GAP), list(TEXT.encode())
    with torch.inference_mode():
        logprobs = MODEL(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
    expected = [float(logprobs[len(prompt) + at - 1, id]) for at, id in enumerate(ids)]
    assert [token.logprob for token in tokens] == pytest.approx(expected, abs=1e-4)
    assert [token.position for token in tokens] == list(range(len(prompt), len(prompt) + len(ids)))
    assert "".join(token.text for token in tokens) == TEXT
    assert (finish.reason, finish.usage.prompt) == (FinishReason.STOP, len(prompt) + len(ids))


async def test_a_text_after_a_prompt_with_markers(assistant: LocalAssistant) -> None:
    """A text without a suffix is read after the prompt, markers included, and uses the cache."""
    prompt, text = "<|file|>a.py\nx\n", "y\n<|file|>"
    marker = TOKENIZER.special["<|file|>"]
    tokens, finish = await read(assistant, ScoreQuery(text, gap=CompletionQuery(prompt, special=True)))
    ids = [marker, *b"a.py\nx\n", *b"y\n", marker]
    with torch.inference_mode():
        logprobs = MODEL(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = [float(logprobs[at - 1, ids[at]]) for at in range(len(ids) - 3, len(ids))]
    assert [token.logprob for token in tokens] == pytest.approx(expected, abs=1e-4)
    assert ([token.id for token in tokens], finish.usage.prompt) == (ids[-3:], len(ids))
    _, finish = await read(assistant, ScoreQuery("z\n", gap=CompletionQuery(prompt, special=True)))
    assert finish.usage.computed <= 3


async def test_another_text_in_the_same_gap_is_read_from_the_cache(assistant: LocalAssistant) -> None:
    """The second text computes little more than its own tokens."""
    await read(assistant, ScoreQuery(TEXT, gap=GAP))
    _, finish = await read(assistant, ScoreQuery("  yield a\n", gap=GAP))
    assert finish.usage.computed <= len("  yield a\n") + 1


async def test_a_long_gap_is_trimmed_as_an_infill_is(assistant: LocalAssistant) -> None:
    """The text around the gap is cut to the context, and the text in the gap is not."""
    tokens, finish = await read(assistant, ScoreQuery(TEXT, gap=CompletionQuery("x = 1\n" * 100, "y = 2\n" * 100)))
    assert (len(tokens), finish.reason) == (len(TEXT.encode()), FinishReason.STOP)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (ScoreQuery([1, 2], gap=GAP), "Only a text can be read between a prefix and a suffix"),
        (ScoreQuery(TEXT, gap=CompletionQuery("a")), "Only a text can be read between a prefix and a suffix"),
        (
            ScoreQuery(TEXT, gap=CompletionQuery([1, 2], special=True)),
            "special need a prompt of text, not of token ids",
        ),
        (ScoreQuery("", gap=GAP), "There is nothing to score"),
    ],
)
async def test_refusals(assistant: LocalAssistant, query: ScoreQuery, message: str) -> None:
    """Ids, a gap without a suffix and an empty text are refused."""
    with pytest.raises(InvalidRequestError, match=message):
        await read(assistant, query)
