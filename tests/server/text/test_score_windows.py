"""Tests of scores of a long text, of a text in a gap, and of a continued message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing

import pytest
import torch

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.errors import ContextLengthError, InvalidRequestError
from pellucid.text import score_windows
from pellucid.text.assistant import LocalAssistant
from pellucid.text.query_ids import chat_prompt, prompt_ids
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, Extra, Priority, SamplingParams, ScoreQuery, Terms
from pellucid.vocabulary.token import Token
from support.models.collected_answers import collect
from support.models.served_models import served_model
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.scripted_engine import BEGIN, FORMAT, USAGE, ScriptedEngine, byte_tokenizer, scripted_assistant

CONTEXT = 33
TOKENIZERS = {"plain": byte_tokenizer(words=()), "bos": byte_tokenizer(words=(), add_bos=True)}
TEXT = "The quick brown fox é jumps over the lazy dog, 日本, and then it sleeps until the morning."
MODEL = tiny_llama(vocab_size=TOKENIZERS["plain"].vocab_size)


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    engine = LocalEngine(
        {name: to_decoder(MODEL) for name in TOKENIZERS},
        EngineSettings(slots=2, context=CONTEXT, chunk=8, prefix_memory=0),
    )
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def assistant(engine: LocalEngine) -> LocalAssistant:
    """An assistant with a model with a BOS, and a model without a BOS."""
    loaded = [served_model(name, tokenizer, FORMAT) for name, tokenizer in TOKENIZERS.items()]
    return LocalAssistant(engine, loaded)


def before(ids: list[int], at: int, room: int) -> list[int]:
    """Return a token's context: all before the token, or at least half of its window."""
    if at < room:
        return ids[:at]
    end = min(room + ((at - room) // (room // 2) + 1) * (room // 2), len(ids))
    return ids[end - room : at]


def logprob(context: list[int], id: int) -> float | None:
    """Return transformers' logprob of a token in a context; None for the first token of all."""
    if not context:
        return None
    with torch.inference_mode():
        return float(MODEL(torch.tensor([context])).logits[0, -1].log_softmax(-1)[id])


@pytest.mark.parametrize("model", TOKENIZERS)
async def test_each_token_is_read_after_half_a_context(assistant: LocalAssistant, model: str) -> None:
    """Each token is scored once, after the BOS and at least half a context; the texts join."""
    bos = [BEGIN] if model == "bos" else []
    ids = list(TEXT.encode())
    room = CONTEXT - len(bos)
    tokens, finish = await collect(assistant.score(ScoreQuery(TEXT, model=model, top_logprobs=3, windows=True)))
    contexts = [before(ids, at, room) for at in range(len(ids))]
    assert all(len(context) >= CONTEXT // 2 for context in contexts[room:])
    expected = [
        *([None] if bos else []),
        *(logprob(bos + context, id) for context, id in zip(contexts, ids, strict=True)),
    ]
    assert [token.logprob for token in tokens] == [
        None if one is None else pytest.approx(one, abs=1e-4) for one in expected
    ]
    assert [token.position for token in tokens] == list(range(len(bos) + len(ids)))
    assert [token.id for token in tokens] == bos + ids
    assert "".join(token.text for token in tokens) == TEXT
    assert all(len(token.top) == 3 for token in tokens[1:])
    assert finish.reason is FinishReason.STOP
    assert finish.usage.prompt > len(tokens), "the cost is that of all windows"


async def test_the_first_window_is_an_ordinary_reading(assistant: LocalAssistant) -> None:
    """The tokens of the first window have the same figures as in a reading without windows."""
    first = TEXT.encode()[:CONTEXT].decode(errors="ignore")
    whole, _ = await collect(assistant.score(ScoreQuery(TEXT, windows=True)))
    alone, finish = await collect(assistant.score(ScoreQuery(first)))
    windowed, windowed_finish = await collect(assistant.score(ScoreQuery(first, windows=True)))
    for part in (whole[: len(alone)], windowed):
        assert [one.logprob for one in part[1:]] == pytest.approx([one.logprob for one in alone[1:]], abs=1e-4)
        assert [(one.id, one.rank) for one in part] == [(one.id, one.rank) for one in alone]
    assert (finish.reason, finish.usage.prompt) == (windowed_finish.reason, windowed_finish.usage.prompt)


async def test_without_windows_a_long_text_is_refused(assistant: LocalAssistant) -> None:
    """A long text without windows is refused, and unknown ids are refused before any reading."""
    with pytest.raises(ContextLengthError, match="the context holds 33: shorten the prompt"):
        await collect(assistant.score(ScoreQuery(TEXT)))
    with pytest.raises(InvalidRequestError, match="Token 99999 does not exist"):
        await anext(assistant.score(ScoreQuery([1] * 100 + [99999], windows=True)))


async def test_closing_cancels_the_window(assistant: LocalAssistant, engine: LocalEngine) -> None:
    """A reading that is closed in a later window leaves nothing in the engine."""
    async with aclosing(assistant.score(ScoreQuery(TEXT, windows=True))) as items:
        async for item in items:
            if isinstance(item, Token) and item.position == CONTEXT + 1:
                break
    # The engine handles the cancel before this request.
    await collect(assistant.score(ScoreQuery("after it")))
    assert engine.status("plain").running == engine.status("plain").waiting == 0


async def test_windows_leave_the_cache_alone(assistant: LocalAssistant) -> None:
    """A reading of many windows displaces one cached prefix at most, and keeps earlier prompts."""
    prompt = CompletionQuery("def kept_in_the_cache", params=SamplingParams(max_tokens=1, ignore_eos=True), heal=False)
    await collect(assistant.complete(prompt))
    await collect(assistant.score(ScoreQuery(TEXT * 3, windows=True)))
    _, finish = await collect(assistant.complete(prompt))
    assert finish.usage.cached >= len("def kept_in_the_cache") - 1


async def test_windows_have_the_terms_of_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every window has the priority and the key of the reading, and the remaining deadline."""
    times = iter(range(100))
    monkeypatch.setattr(score_windows, "monotonic", lambda: float(next(times)))
    engine = ScriptedEngine(context=10, reason=FinishReason.LENGTH)
    query = ScoreQuery([97] * 20, terms=Terms(Priority.CHAT, "read", 2.5), windows=True)
    tokens, finish = await collect(scripted_assistant(engine).score(query))
    assert [(len(one.prompt), one.score_from) for one in engine.requests] == [(10, 0), (10, 5), (10, 5)]
    assert [(one.terms.priority, one.terms.key, one.terms.deadline) for one in engine.requests] == [
        (Priority.CHAT, "read", 1.5),
        (Priority.CHAT, "read", 0.5),
        (Priority.CHAT, "read", -0.5),
    ]
    assert (len(tokens), finish.reason, finish.usage.computed) == (20, FinishReason.STOP, 3 * USAGE.computed)


async def test_a_window_that_ends_early_ends_the_reading() -> None:
    """The early end of a window ends the reading with the tokens so far."""
    engine = ScriptedEngine(context=10, reason=FinishReason.DEADLINE)
    tokens, finish = await collect(scripted_assistant(engine).score(ScoreQuery([97] * 20, windows=True)))
    assert (len(tokens), finish.reason, len(engine.requests)) == (10, FinishReason.DEADLINE, 1)


@pytest.mark.parametrize("same", [True, False])
async def test_superseded_between_windows(same: bool) -> None:
    """A newer request of the same key between two windows ends the reading."""
    engine = ScriptedEngine(context=10, reason=FinishReason.LENGTH)
    assistant = scripted_assistant(engine)
    stream = assistant.score(ScoreQuery([97] * 20, terms=Terms(key="tab"), windows=True))
    tokens = [await anext(stream) for _ in range(10)]
    await collect(assistant.complete(CompletionQuery("x", terms=Terms(key="tab" if same else "other"))))
    rest, finish = await collect(stream)
    assert finish.reason is (FinishReason.SUPERSEDED if same else FinishReason.STOP)
    assert len(tokens) + len(rest) == (10 if same else 20)


GAP = CompletionQuery("def f(a):\n", "\nf(1)\n", [Extra("f.diff", "original:\na\nupdated:\nb\n")])
IN_GAP = "  return 日\n"


@pytest.fixture(scope="module")
def wide_assistant() -> Iterator[LocalAssistant]:
    engine = LocalEngine({"plain": to_decoder(MODEL)}, EngineSettings(slots=2, context=300, chunk=16, prefix_memory=0))
    yield LocalAssistant(engine, [served_model("plain", TOKENIZERS["plain"], FORMAT)])
    engine.close()


async def test_the_text_is_read_after_the_prompt_of_the_infill(wide_assistant: LocalAssistant) -> None:
    """Each token has transformers' logprob after the infill's prompt, and the texts join."""
    tokens, finish = await collect(wide_assistant.score(ScoreQuery(IN_GAP, gap=GAP)))
    prompt, ids = prompt_ids(wide_assistant.models.find(None), GAP), list(IN_GAP.encode())
    with torch.inference_mode():
        logprobs = MODEL(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
    expected = [float(logprobs[len(prompt) + at - 1, id]) for at, id in enumerate(ids)]
    assert [token.logprob for token in tokens] == pytest.approx(expected, abs=1e-4)
    assert [token.position for token in tokens] == list(range(len(prompt), len(prompt) + len(ids)))
    assert "".join(token.text for token in tokens) == IN_GAP
    assert (finish.reason, finish.usage.prompt) == (FinishReason.STOP, len(prompt) + len(ids))


async def test_a_text_after_a_prompt_with_markers(wide_assistant: LocalAssistant) -> None:
    """A text without a suffix is read after the prompt, markers included, and uses the cache."""
    prompt, text = "<|file|>a.py\nx\n", "y\n<|file|>"
    marker = TOKENIZERS["plain"].special["<|file|>"]
    tokens, finish = await collect(wide_assistant.score(ScoreQuery(text, gap=CompletionQuery(prompt, special=True))))
    ids = [marker, *b"a.py\nx\n", *b"y\n", marker]
    with torch.inference_mode():
        logprobs = MODEL(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = [float(logprobs[at - 1, ids[at]]) for at in range(len(ids) - 3, len(ids))]
    assert [token.logprob for token in tokens] == pytest.approx(expected, abs=1e-4)
    assert ([token.id for token in tokens], finish.usage.prompt) == (ids[-3:], len(ids))
    _, finish = await collect(wide_assistant.score(ScoreQuery("z\n", gap=CompletionQuery(prompt, special=True))))
    assert finish.usage.computed <= 3


async def test_another_text_in_the_same_gap_is_read_from_the_cache(wide_assistant: LocalAssistant) -> None:
    """The second text computes little more than its own tokens."""
    await collect(wide_assistant.score(ScoreQuery(IN_GAP, gap=GAP)))
    _, finish = await collect(wide_assistant.score(ScoreQuery("  yield a\n", gap=GAP)))
    assert finish.usage.computed <= len("  yield a\n") + 1


async def test_a_long_gap_is_trimmed_as_an_infill_is(wide_assistant: LocalAssistant) -> None:
    """The text around the gap is cut to the context, and the text in the gap is not."""
    tokens, finish = await collect(
        wide_assistant.score(ScoreQuery(IN_GAP, gap=CompletionQuery("x = 1\n" * 100, "y = 2\n" * 100)))
    )
    assert (len(tokens), finish.reason) == (len(IN_GAP.encode()), FinishReason.STOP)


CHAT = [Message("user", "Add b."), Message("assistant", "```\ndef f(a):\n")]
CONTINUATION = "\n  return 日\n"


async def test_the_text_is_read_after_the_conversation(wide_assistant: LocalAssistant) -> None:
    """Each token has transformers' logprob after the conversation, and the texts join."""
    tokens, finish = await collect(wide_assistant.score(ScoreQuery(CONTINUATION, continued=CHAT)))
    prompt, ids = (
        (await chat_prompt(wide_assistant.models.find(None), ChatQuery(CHAT, continue_last=True))).ids,
        list(CONTINUATION.encode()),
    )
    with torch.inference_mode():
        logprobs = MODEL(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
    expected = [float(logprobs[len(prompt) + at - 1, id]) for at, id in enumerate(ids)]
    assert [token.logprob for token in tokens] == pytest.approx(expected, abs=1e-4)
    assert [token.position for token in tokens] == list(range(len(prompt), len(prompt) + len(ids)))
    assert "".join(token.text for token in tokens) == CONTINUATION
    assert finish.reason is FinishReason.STOP


async def test_another_continuation_is_read_from_the_cache(wide_assistant: LocalAssistant) -> None:
    """The second text computes little more than its own tokens."""
    await collect(wide_assistant.score(ScoreQuery(CONTINUATION, continued=CHAT)))
    _, finish = await collect(wide_assistant.score(ScoreQuery("  yield a\n", continued=CHAT)))
    assert finish.usage.computed <= len("  yield a\n") + 1


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (ScoreQuery([1, 2], gap=GAP), "Only a text can be read between a prefix and a suffix"),
        (ScoreQuery(IN_GAP, gap=CompletionQuery("a")), "Only a text can be read between a prefix and a suffix"),
        (
            ScoreQuery(IN_GAP, gap=CompletionQuery([1, 2], special=True)),
            "special need a prompt of text, not of token ids",
        ),
        (ScoreQuery("", gap=GAP), "There is nothing to score"),
        (ScoreQuery([1, 2], continued=CHAT), "Only a text can continue a message"),
        (ScoreQuery(CONTINUATION, continued=CHAT[:1]), "Only a last message of the role assistant can be continued"),
        (ScoreQuery("", continued=CHAT), "There is nothing to score"),
    ],
)
async def test_refused_queries(wide_assistant: LocalAssistant, query: ScoreQuery, message: str) -> None:
    """Ids, a gap without a suffix, a continued user message and an empty text are refused."""
    with pytest.raises(InvalidRequestError, match=message):
        await collect(wide_assistant.score(query))
