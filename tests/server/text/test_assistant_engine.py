"""Tests of the assistant on a real engine: texts of a tiny random model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Request
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import ContextLengthError
from pellucid.text.answer import Stream
from pellucid.text.assistant import LocalAssistant
from pellucid.text.healing import Healer
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import CompletionQuery, SamplingParams, ScoreQuery
from pellucid.vocabulary.token import Token
from support.models.loaded_models import loaded_model
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.scripted_engine import FORMAT, WORDS, byte_tokenizer

CONTEXT = 128
TOKENIZER = byte_tokenizer()
HEALER = Healer(TOKENIZER)


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    model = to_decoder(tiny_llama(vocab_size=TOKENIZER.vocab_size))
    engine = LocalEngine({"tiny": model}, EngineSettings(slots=2, context=CONTEXT, chunk=32))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def assistant(engine: LocalEngine) -> LocalAssistant:
    return LocalAssistant(engine, [loaded_model("tiny", engine.model("tiny"), TOKENIZER, FORMAT)])


async def collect(stream: Stream) -> tuple[list[Token], Finish]:
    items = [item async for item in stream]
    finish = items.pop()
    assert isinstance(finish, Finish)
    return [item for item in items if isinstance(item, Token)], finish


TEXTS = st.lists(st.sampled_from([*(word.decode() for word in WORDS), "r", "e", " ", "\n", "x", "é"]), max_size=9).map(
    "".join
)


@settings(max_examples=30)
@given(text=TEXTS, seed=st.integers(0, 99))
def test_a_healed_answer_repeats_what_was_typed(engine: LocalEngine, text: str, seed: int) -> None:
    """At any temperature the healed prompt and the answer begin with the bytes of the text."""
    ids, healing = HEALER.heal([0, *TOKENIZER.encode(text)], keep=1)
    params = SamplingParams(max_tokens=len(text.encode()) + 1, temperature=50.0, seed=seed)

    async def generated() -> bytes:
        scores = [
            item
            async for item in engine.generate("tiny", Request(ids, params, constraint=healing))
            if isinstance(item, TokenScore)
        ]
        return b"".join(TOKENIZER.token_bytes(id) for id in [*ids, *(score.id for score in scores)])

    assert asyncio.run(generated()).startswith(b"\0" + text.encode())


@settings(max_examples=20)
@given(text=TEXTS, seed=st.integers(0, 99))
def test_an_answer_is_scored_as_it_was_generated(assistant: LocalAssistant, text: str, seed: int) -> None:
    """The tokens of an answer have equal logprobs, ranks and entropies when read afterwards."""
    params = SamplingParams(max_tokens=12, temperature=3.0, seed=seed, top_logprobs=2)

    async def both() -> tuple[list[Token], list[Token]]:
        generated, _ = await collect(assistant.complete(CompletionQuery("x" + text, params=params)))
        ids = [*TOKENIZER.encode("x" + text), *(token.id for token in generated)]
        read, _ = await collect(assistant.score(ScoreQuery(ids, top_logprobs=2)))
        return generated, read[len(ids) - len(generated) :]

    for generated, read in zip(*asyncio.run(both()), strict=True):
        assert (generated.id, generated.position, generated.rank, generated.bytes) == (
            read.id,
            read.position,
            read.rank,
            read.bytes,
        )
        assert generated.logprob == pytest.approx(read.logprob, abs=1e-4)
        assert generated.entropy == pytest.approx(read.entropy, abs=1e-4)


async def test_every_infill_fits_the_context(assistant: LocalAssistant) -> None:
    """A long infill is trimmed with room for the answer, and a long plain prefix is refused."""
    tokens, finish = await collect(
        assistant.complete(
            CompletionQuery("a = 1\n" * 999, "b = 2\n" * 999, params=SamplingParams(max_tokens=20, ignore_eos=True))
        )
    )
    assert finish.usage.prompt + finish.usage.generated <= CONTEXT
    assert finish.reason in (FinishReason.LENGTH, FinishReason.STOP)
    assert len(tokens) <= 20
    with pytest.raises(ContextLengthError, match="5994 tokens and the context holds 128"):
        await collect(assistant.complete(CompletionQuery("a = 1\n" * 999)))


async def test_the_card_says_what_the_engine_grants(assistant: LocalAssistant) -> None:
    """The context of the card is the engine's, not the model's."""
    (card,) = assistant.models.cards()
    assert (card.name, card.context, card.infill, card.chat, card.licence) == ("tiny", CONTEXT, True, True, None)
    assert card.weight_bytes > 0
