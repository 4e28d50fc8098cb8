"""Tests of scores of a text that continues an assistant's message."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.errors import InvalidRequestError
from pellucid.text.assistant import LocalAssistant
from pellucid.text.query_ids import chat_ids
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, ScoreQuery
from pellucid.vocabulary.token import Token
from support.models.served_models import served_model
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.scripted_engine import FORMAT, byte_tokenizer

TOKENIZER = byte_tokenizer(words=())
MODEL = tiny_llama(vocab_size=TOKENIZER.vocab_size)
CHAT = [Message("user", "Add b."), Message("assistant", "```\ndef f(a):\n")]
TEXT = "\n  return 日\n"


@pytest.fixture(scope="module")
def assistant() -> Iterator[LocalAssistant]:
    engine = LocalEngine({"plain": to_decoder(MODEL)}, EngineSettings(slots=2, context=300, chunk=16, prefix_memory=0))
    yield LocalAssistant(engine, [served_model("plain", TOKENIZER, FORMAT)])
    engine.close()


async def read(assistant: LocalAssistant, query: ScoreQuery) -> tuple[list[Token], Finish]:
    items = [item async for item in assistant.score(query)]
    finish = items.pop()
    assert isinstance(finish, Finish)
    return [item for item in items if isinstance(item, Token)], finish


async def test_the_text_is_read_after_the_conversation(assistant: LocalAssistant) -> None:
    """Each token has transformers' logprob after the conversation, and the texts join."""
    tokens, finish = await read(assistant, ScoreQuery(TEXT, continued=CHAT))
    prompt, ids = await chat_ids(assistant.models.find(None), ChatQuery(CHAT, continue_last=True)), list(TEXT.encode())
    with torch.inference_mode():
        logprobs = MODEL(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
    expected = [float(logprobs[len(prompt) + at - 1, id]) for at, id in enumerate(ids)]
    assert [token.logprob for token in tokens] == pytest.approx(expected, abs=1e-4)
    assert [token.position for token in tokens] == list(range(len(prompt), len(prompt) + len(ids)))
    assert "".join(token.text for token in tokens) == TEXT
    assert finish.reason is FinishReason.STOP


async def test_another_continuation_is_read_from_the_cache(assistant: LocalAssistant) -> None:
    """The second text computes little more than its own tokens."""
    await read(assistant, ScoreQuery(TEXT, continued=CHAT))
    _, finish = await read(assistant, ScoreQuery("  yield a\n", continued=CHAT))
    assert finish.usage.computed <= len("  yield a\n") + 1


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (ScoreQuery([1, 2], continued=CHAT), "Only a text can continue a message"),
        (ScoreQuery(TEXT, continued=CHAT[:1]), "Only a last message of the role assistant can be continued"),
        (ScoreQuery("", continued=CHAT), "There is nothing to score"),
    ],
)
async def test_refusals(assistant: LocalAssistant, query: ScoreQuery, message: str) -> None:
    """Ids, a continued user message and an empty text are refused."""
    with pytest.raises(InvalidRequestError, match=message):
        await read(assistant, query)
