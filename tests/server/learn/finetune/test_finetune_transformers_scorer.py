"""Tests of the scores of a transformers model."""

from __future__ import annotations

import pytest
import torch

from pellucid.learn.corpus import Document
from pellucid.learn.finetune.training.base_model import Base
from pellucid.learn.finetune.transformers_scorer import TorchReader
from pellucid.learn.score_text import read
from support.models.tiny_models import reference_logprobs


async def test_reading_says_what_the_library_says(base: Base, documents: list[Document]) -> None:
    """Each token's logprob, rank and first-choice probability follow from the model's logits."""
    text = documents[0].text[:150]
    ids = base.tokenizer.encode(text)
    expected = reference_logprobs(base.model, ids)[:-1]
    targets = torch.tensor(ids[1:])

    reading = await read(TorchReader(base.model, base.tokenizer), text, window=200)

    logprobs = expected.gather(1, targets[:, None])[:, 0]
    assert reading.logprobs == pytest.approx(logprobs.numpy(), abs=1e-4)
    assert reading.ranks.tolist() == ((expected > logprobs[:, None]).sum(1) + 1).tolist()
    assert reading.confidences == pytest.approx(expected.max(1).values.exp().numpy(), abs=1e-4)
    assert reading.bytes == len(text.encode()) - len(base.tokenizer.token_bytes(ids[0]))
