"""Tests of scores of a text longer than the context, read in windows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing

import pytest
import torch

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.errors import ContextLengthError, InvalidRequestError
from pellucid.text import score_windows
from pellucid.text.answer import Stream
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import CompletionQuery, Priority, SamplingParams, ScoreQuery, Terms
from pellucid.vocabulary.token import Token
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


async def collect(stream: Stream) -> tuple[list[Token], Finish]:
    items = [item async for item in stream]
    finish = items.pop()
    assert isinstance(finish, Finish)
    return [item for item in items if isinstance(item, Token)], finish


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
