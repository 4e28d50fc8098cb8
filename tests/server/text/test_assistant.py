"""Tests of the assistant's verbs: ids for the engine, text for the client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Request
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import ContextLengthError, InvalidRequestError, NotFoundError
from pellucid.models.tokenizers.tokenizer import PrefixSpace
from pellucid.text.answer import Stream
from pellucid.text.assistant import LocalAssistant
from pellucid.text.healing import Healer
from pellucid.text.query_ids import chat_text, prompt_ids
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, Extra, Priority, SamplingParams, ScoreQuery, Terms
from pellucid.vocabulary.token import Token
from support.models.collected_answers import collect
from support.models.loaded_models import loaded_model
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.scripted_engine import (
    BEGIN,
    END,
    FIRST_WORD,
    FORMAT,
    IM_END,
    IM_START,
    MID,
    PRE,
    SUF,
    USAGE,
    WORDS,
    ScriptedEngine,
    byte_tokenizer,
    scripted_assistant,
)

TOKENIZER = byte_tokenizer()
RETURN = FIRST_WORD + WORDS.index(b"return")


async def text(stream: Stream) -> str:
    return "".join(token.text for token in (await collect(stream))[0])


def only(engine: ScriptedEngine) -> Request:
    (request,) = engine.requests
    return request


async def test_complete_goes_on_with_the_text() -> None:
    """A continuation sends the text's ids, ends at the model's stops and has the engine's usage."""
    engine = ScriptedEngine([*b"b = 1", END, *b"more"])
    tokens, finish = await collect(
        scripted_assistant(engine).complete(CompletionQuery("a = 1\n", params=SamplingParams(top_logprobs=2)))
    )
    assert "".join(token.text for token in tokens) == "b = 1"
    assert finish == Finish(FinishReason.STOP, USAGE)
    assert only(engine) == Request(
        TOKENIZER.encode("a = 1\n"),
        SamplingParams(top_logprobs=2),
        Terms(Priority.COMPLETION),
        frozenset({END, IM_END}),
    )
    assert [(entry.id, entry.text) for entry in tokens[0].top] == [(ord("b"), "b"), (IM_END, "<|im_end|>")]
    assert [token.position for token in tokens] == [6, 7, 8, 9, 10]


async def test_markers_in_a_prompt_are_text_unless_asked_for() -> None:
    """``special`` reads a spelled marker as the marker; without it the text stays text."""
    engine = ScriptedEngine()
    await collect(scripted_assistant(engine).complete(CompletionQuery("<|im_end|>x")))
    await collect(scripted_assistant(engine).complete(CompletionQuery("<|im_end|>x", special=True)))
    assert [request.prompt[0] for request in engine.requests] == [ord("<"), IM_END]


async def test_markers_that_a_model_says_are_no_text() -> None:
    """A marker that does not end the answer is a token without text."""
    tokens, _ = await collect(
        scripted_assistant(ScriptedEngine([ord("a"), MID, ord("b")])).complete(CompletionQuery("x"))
    )
    assert [token.text for token in tokens] == ["a", "", "b"]


async def test_the_bos_is_put_in_front() -> None:
    """A completion, an infill and a scored text begin with the model's BOS."""
    engine = ScriptedEngine()
    assistant = scripted_assistant(engine, byte_tokenizer(add_bos=True))
    await collect(assistant.complete(CompletionQuery("a")))
    await collect(assistant.complete(CompletionQuery("a", "b", heal=False)))
    tokens, _ = await collect(assistant.score(ScoreQuery("a")))
    assert [list(request.prompt) for request in engine.requests] == [
        [BEGIN, 97],
        [BEGIN, PRE, SUF, 98, MID, 97],
        [BEGIN, 97],
    ]
    assert [(token.id, token.text) for token in tokens] == [(BEGIN, ""), (97, "a")]


async def test_a_stop_string_ends_the_answer_and_the_engine() -> None:
    """The answer ends before the stop, the Finish names the stop, and the generator is closed."""
    engine = ScriptedEngine(list(b"one\n\ntwo"))
    tokens, finish = await collect(scripted_assistant(engine).complete(CompletionQuery("xyz", stop=["\n\n", "?"])))
    assert "".join(token.text for token in tokens) == "one"
    assert (finish.reason, finish.stop) == (FinishReason.STOP, "\n\n")
    usage = finish.usage
    assert (usage.cached, usage.computed, usage.generated, usage.queued) == (1, 2, 5, 0.5)
    assert (engine.generated, engine.closed) == (5, 1)


async def test_half_a_character_comes_at_the_end() -> None:
    """An answer that the length cuts inside a character ends with U+FFFD."""
    engine = ScriptedEngine([ord("a"), 0xE4, 0xBD, 0xA0])
    assert (
        await text(scripted_assistant(engine).complete(CompletionQuery("x", params=SamplingParams(max_tokens=3))))
        == "a\ufffd"
    )


async def test_an_infill_has_the_models_format_and_ends_at_the_suffix() -> None:
    """An infill has its texts between markers, and ends at a repeated suffix or a marker."""
    engine = ScriptedEngine(list(b"y = 2\nprint(y)\nmore"))
    tokens, finish = await collect(scripted_assistant(engine).complete(CompletionQuery("x = 1\n", "\nprint(y)\n")))
    assert "".join(token.text for token in tokens) == "y = 2"
    assert (finish.reason, finish.stop) == (FinishReason.STOP, None)
    assert only(engine).prompt == [PRE, SUF, *TOKENIZER.encode("\nprint(y)\n"), MID, *TOKENIZER.encode("x = 1\n")]
    assert {END, IM_END, MID, PRE} <= only(engine).stop_ids


async def test_an_infill_that_the_model_ends_is_trimmed_too() -> None:
    """An answer that a marker ends within a repeated suffix loses the repeated part."""
    engine = ScriptedEngine([*b"2\nprin", MID])
    assert await text(scripted_assistant(engine).complete(CompletionQuery("x = ", "\nprint(x)\n"))) == "2"


async def test_an_infill_is_healed() -> None:
    """The prompt loses the beginning of a token at its end, and the answer has new text only."""
    engine = ScriptedEngine([RETURN, *b" x", END])
    tokens, _ = await collect(
        scripted_assistant(engine).complete(CompletionQuery("ret", "", params=SamplingParams(top_logprobs=1)))
    )
    assert only(engine).prompt == [PRE, SUF, MID]
    assert [(token.text, token.bytes) for token in tokens] == [("urn", b"urn"), (" ", b" "), ("x", b"x")]
    assert tokens[0].top[0].text == "urn"
    await collect(scripted_assistant(engine).complete(CompletionQuery("ret", "", heal=False)))
    assert engine.requests[1].prompt == [PRE, SUF, MID, *TOKENIZER.encode("ret")]


async def test_healing_does_not_cost_tokens_of_the_answer() -> None:
    """``max_tokens`` counts only new tokens, not tokens that repeat the prompt."""
    for script in ([*b"ret", *b"abcdef"], [RETURN, *b"abcdef"]):
        tokens, finish = await collect(
            scripted_assistant(ScriptedEngine(script)).complete(
                CompletionQuery("x=ret", heal=True, params=SamplingParams(max_tokens=2), model="scripted")
            )
        )
        assert finish.reason is FinishReason.LENGTH
        assert len(tokens) <= 2
    assert [token.text for token in tokens] == ["urn", "a"]


async def test_nothing_is_generated_for_no_tokens() -> None:
    """``max_tokens`` 0 computes the healed prompt and generates nothing."""
    engine = ScriptedEngine(list(b"abc"))
    tokens, finish = await collect(
        scripted_assistant(engine).complete(CompletionQuery("ret", "", params=SamplingParams(max_tokens=0)))
    )
    assert (tokens, finish.reason, only(engine).params.max_tokens) == ([], FinishReason.LENGTH, 0)


async def test_a_long_infill_is_trimmed_and_a_long_answer_leaves_half_of_the_context() -> None:
    """An infill is trimmed so that prompt and answer fit the context, and is never refused."""
    engine = ScriptedEngine(context=64)
    assistant = scripted_assistant(engine)
    await collect(
        assistant.complete(CompletionQuery("a" * 999, "z" * 999, [Extra("f", "e" * 99)], SamplingParams(max_tokens=20)))
    )
    await collect(assistant.complete(CompletionQuery("a" * 999, "z" * 999, params=SamplingParams(max_tokens=9999))))
    assert 20 < len(engine.requests[0].prompt) <= 64 - 20
    assert 16 < len(engine.requests[1].prompt) <= 32


async def test_a_model_without_infill_markers_completes_the_prefix() -> None:
    """The prompt is the prefix without an infill format, and the suffix ends the answer."""
    engine = ScriptedEngine(list(b"1\nprint(x)\n"))
    assert await text(scripted_assistant(engine, infill=None).complete(CompletionQuery("x = ", "\nprint(x)\n"))) == "1"
    assert only(engine).prompt == TOKENIZER.encode("x =")  # The space is healed.


async def test_what_does_not_belong_to_the_verb_is_refused() -> None:
    """A query that cannot be served is refused with one sentence."""
    assistant = scripted_assistant(ScriptedEngine())
    with pytest.raises(InvalidRequestError, match="is only for infills"):
        await collect(assistant.complete(CompletionQuery("x", extra=[Extra("f", "e")])))
    with pytest.raises(InvalidRequestError, match="scripted has no marker for other files"):
        await collect(
            scripted_assistant(ScriptedEngine(), infill=None).complete(CompletionQuery("x", "y", [Extra("f", "e")]))
        )
    with pytest.raises(InvalidRequestError, match="omit special"):
        await collect(assistant.complete(CompletionQuery("x", "y", special=True)))
    with pytest.raises(NotFoundError, match=r"There is no model 'other' here; use one of: scripted\."):
        await collect(assistant.complete(CompletionQuery("x", model="other")))
    with pytest.raises(InvalidRequestError, match="nothing to score"):
        await collect(assistant.score(ScoreQuery("")))
    with pytest.raises(InvalidRequestError, match="Token 999 does not exist"):
        assistant.models.find(None).detokenize([999])


async def test_chat_asks_with_the_template() -> None:
    """A chat sends the rendered messages, ends at the model's stops, and has a chat's priority."""
    engine = ScriptedEngine([*b"Hello", IM_END])
    assistant = scripted_assistant(engine)
    assert await text(assistant.chat(ChatQuery([Message("user", "Hi")]))) == "Hello"
    assert only(engine).prompt == TOKENIZER.encode(
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", special=True
    )
    assert only(engine).terms.priority is Priority.CHAT
    terms = Terms(Priority.BACKGROUND, "key", 2.0)
    await collect(
        assistant.chat(ChatQuery([Message("user", "Hi"), Message("assistant", "A")], terms=terms, continue_last=True))
    )
    assert (engine.requests[1].terms, engine.requests[1].prompt[-1]) == (terms, ord("A"))
    shown = await chat_text(assistant.models.find(None), [Message("user", "Hi")])
    assert shown == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


async def test_an_answers_own_first_space_is_text_only_where_a_text_goes_on() -> None:
    """The tokenizer's space before a text is shown in a continuation, not in a chat's answer."""
    script = [*b" Hello", IM_END]
    assistant = scripted_assistant(ScriptedEngine(script), byte_tokenizer(prefix=PrefixSpace.ALWAYS))
    assert await text(assistant.chat(ChatQuery([Message("user", "Hi")]))) == "Hello"
    assert await text(assistant.complete(CompletionQuery("Well,"))) == " Hello"


async def test_score_reads_text_ids_and_chats() -> None:
    """Scoring yields every token, markers shown, the first token without a probability."""
    engine = ScriptedEngine()
    assistant = scripted_assistant(engine)
    tokens, finish = await collect(assistant.score(ScoreQuery("日本 a", top_logprobs=3)))
    assert "".join(token.text for token in tokens) == "日本 a"
    assert (tokens[0].logprob, tokens[1].logprob, finish.usage) == (None, -1.0, USAGE)
    request = only(engine)
    assert (request.score_from, request.params.max_tokens, request.params.top_logprobs) == (0, 0, 3)
    assert request.terms.priority is Priority.BACKGROUND
    assert await text(assistant.score(ScoreQuery([97, IM_START]))) == "a<|im_start|>"
    chat = [Message("user", "Hi")]
    assert await text(assistant.score(ScoreQuery(chat))) == await chat_text(assistant.models.find(None), chat)
    assert (
        await text(assistant.score(ScoreQuery("<|end|>", special=True)))
        == await text(assistant.score(ScoreQuery("<|end|>")))
        == "<|end|>"
    )


async def test_ids_are_continued_as_they_are() -> None:
    """A prompt of ids gets no BOS and no healing."""
    engine = ScriptedEngine([*b"ab", END])
    assert (
        await text(
            scripted_assistant(engine, byte_tokenizer(add_bos=True)).complete(
                CompletionQuery([IM_START, 97], stop=["b"])
            )
        )
        == "a"
    )
    assert only(engine).prompt == [IM_START, 97]


async def test_closing_a_stream_closes_the_engines() -> None:
    """Closing a stream of any verb closes the engine's generator before ``aclose`` returns."""
    engine = ScriptedEngine(list(b"abc"))
    assistant = scripted_assistant(engine)
    streams = [
        assistant.complete(CompletionQuery("x")),
        assistant.complete(CompletionQuery([97])),
        assistant.chat(ChatQuery([Message("user", "x")])),
        assistant.score(ScoreQuery("xy")),
    ]
    for count, stream in enumerate(streams, 1):
        async with aclosing(stream):
            await anext(stream)
        assert engine.closed == count


async def test_an_error_of_the_engine_ends_the_stream() -> None:
    """The engine's reason is passed on, after the text that was held back."""
    engine = ScriptedEngine([ord("a"), 0xE4], reason=FinishReason.CANCELLED)
    tokens, finish = await collect(scripted_assistant(engine).complete(CompletionQuery("x", stop=["ab"])))
    assert ("".join(token.text for token in tokens), finish.reason) == ("a\ufffd", FinishReason.CANCELLED)


def test_tokens_of_a_text() -> None:
    """``encode`` and ``detokenize`` are inverses; markers are parsed only on request."""
    served = scripted_assistant(ScriptedEngine(), byte_tokenizer(add_bos=True)).models.find(None)
    ids = served.encode("a日<|end|>", special=True)
    assert ids == [BEGIN, *b"a", *"日".encode(), END]
    assert served.detokenize(ids) == "<|begin|>a日<|end|>"
    assert served.detokenize(served.encode("a日<|end|>", special=False)) == "<|begin|>a日<|end|>"


def test_the_infill_prompt_can_be_shown() -> None:
    """``prompt_ids`` returns the ids of an infill's prompt."""
    served = scripted_assistant(ScriptedEngine(), infill=FORMAT).models.find(None)
    assert prompt_ids(served, CompletionQuery("a", "b")) == [PRE, SUF, 98, MID, 97]


async def test_the_infill_prompt_can_be_read() -> None:
    """``infill_prompt`` returns the prompt as text, markers included."""
    assert (
        await scripted_assistant(ScriptedEngine(), infill=FORMAT).infill_prompt(CompletionQuery("a", "b"))
        == "<|pre|><|suf|>b<|mid|>a"
    )


def test_the_vocabulary_is_sorted_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The healer is made with the assistant, so the first infill does not block streams."""
    made: list[object] = []
    monkeypatch.setattr("pellucid.text.text_model.Healer", made.append)
    scripted_assistant(ScriptedEngine())
    assert len(made) == 1


CONTEXT = 128
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
