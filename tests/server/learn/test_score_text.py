"""Tests of reading a text token by token, each once, with enough context."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from transformers import PreTrainedModel

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.learn.score_text import TextReading, read
from pellucid.text.assistant import LocalAssistant
from support.models.served_models import served_model
from support.models.tiny_models import reference_logprobs, tiny_llama, to_decoder
from support.servers.scripted_engine import FORMAT, byte_tokenizer

TOKENIZER = byte_tokenizer()
TEXT = "def area(radius):\n    return 3.14 * radius ** 2  # café\n" * 2


@pytest.fixture(scope="module")
def theirs() -> PreTrainedModel:
    return tiny_llama(vocab_size=TOKENIZER.vocab_size)


@pytest.fixture(scope="module")
def assistant(theirs: PreTrainedModel) -> Iterator[LocalAssistant]:
    model = to_decoder(theirs)
    engine = LocalEngine({"tiny": model}, EngineSettings(slots=2, context=128, chunk=32))
    yield LocalAssistant(engine, [served_model("tiny", TOKENIZER, FORMAT)])
    engine.close()


@pytest.mark.parametrize(("window", "stride"), [(128, None), (32, None), (32, 31), (16, 1)])
async def test_each_token_once(
    assistant: LocalAssistant, theirs: PreTrainedModel, window: int, stride: int | None
) -> None:
    """Every token but the first counts once, with transformers' logprob for its context."""
    ids = await assistant.token_ids(TEXT)
    found = await read(assistant, TEXT, window=window, stride=stride)
    step = stride or window // 2
    expected = []
    for at in range(1, len(ids)):
        end = window if at < window else window + math.ceil((at + 1 - window) / step) * step
        begin = max(0, min(end, len(ids)) - window)
        expected.append(float(reference_logprobs(theirs, ids[begin : at + 1])[-2, ids[at]]))
    torch.testing.assert_close(
        torch.tensor(found.logprobs), torch.tensor(expected, dtype=torch.float64), atol=1e-4, rtol=1e-4
    )
    assert found.tokens == len(ids) - 1


async def test_figures(assistant: LocalAssistant) -> None:
    """Perplexity is per token, bits per byte is per byte, and both have the same sum."""
    found = await read(assistant, TEXT, window=128)
    ids = await assistant.token_ids(TEXT)
    assert found.bytes == sum(len(TOKENIZER.token_bytes(id)) for id in ids[1:])
    assert math.log2(found.perplexity) * found.tokens == pytest.approx(found.bits_per_byte * found.bytes)
    assert 0 <= found.first_choices <= found.top_choices <= 1
    assert 0 <= found.calibration_error <= 1


async def test_together(assistant: LocalAssistant) -> None:
    """The figures of several texts are over all tokens, not means of means."""
    parts = [await read(assistant, text, window=64) for text in (TEXT, "short text")]
    whole = TextReading.together(parts)
    assert whole.bits == pytest.approx(sum(part.bits for part in parts))
    assert whole.tokens == sum(part.tokens for part in parts)
    assert whole.bits_per_byte != pytest.approx(sum(part.bits_per_byte for part in parts) / 2)
