"""Greedy lines and readings in a batch equal those computed alone and by the library."""

from __future__ import annotations

import pytest
import torch

from pellucid.learn.corpus import Document
from pellucid.learn.finetune.greedy_generation import LONGEST_LINE, first_lines
from pellucid.learn.finetune.training.base_model import Base
from pellucid.learn.finetune.training.cursors import TextSpan
from pellucid.learn.finetune.training.samples import InfillExample, SampleStream
from pellucid.learn.finetune.transformers_scorer import TorchReader
from pellucid.learn.score_text import read
from support.models.tiny_models import reference_logprobs


def plain_line(base: Base, prompt: InfillExample) -> str:
    """Return the same line, computed from scratch for each token."""
    ids, data = list(prompt.ids), b""
    healing = prompt.healing
    typed = len(prompt.typed)
    for _ in range(LONGEST_LINE + (healing.steps if healing is not None else 0)):
        logprobs = reference_logprobs(base.model, ids)[-1]
        allowed = healing.allowed() if healing is not None else None
        id = int(logprobs.argmax() if allowed is None else allowed[logprobs[allowed].argmax()])
        if healing is not None and allowed is not None:
            healing.advance(id)
        if id in ENDS:
            break
        ids.append(id)
        data += base.tokenizer.token_bytes(id)
        if b"\n" in data[typed:]:
            break
    return data[typed:].split(b"\n", 1)[0].decode(errors="replace").rstrip()


ENDS = frozenset({0, 1, 2})


@pytest.mark.slow
@pytest.mark.parametrize("marked", [True, False], ids=["infill", "prefix only"])
def test_lines_together_are_those_alone(base: Base, sampler: SampleStream, documents: list[Document], marked: bool) -> None:
    """Prompts of different lengths, padded, healed and with a common prefix, get the same answers as alone."""
    sampler = sampler if marked else SampleStream(base.tokenizer, None, 96)
    text = documents[0].text
    begin = text.index("found.append")
    spans = [TextSpan(begin + at, begin + 21, "line") for at in (0, 3, 6, 13)] + [TextSpan(40, 50, "line")]

    together = first_lines(base.model, base.tokenizer, [sampler.prompt(text, span, 80) for span in spans], ENDS)

    for answer, span in zip(together, spans, strict=True):
        assert answer == plain_line(base, sampler.prompt(text, span, 80))


async def test_reading_says_what_the_library_says(base: Base, documents: list[Document]) -> None:
    """Each token's logprob, rank and first-choice probability follow from the model's own logits."""
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
