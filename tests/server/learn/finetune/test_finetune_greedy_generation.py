"""Tests of greedy lines in a batch: equal to lines generated alone."""

from __future__ import annotations

import pytest

from pellucid.engine.token_mask import ids_in
from pellucid.learn.corpus import Document
from pellucid.learn.finetune.greedy_generation import MAX_LINE, first_lines
from pellucid.learn.finetune.training.base_model import Base
from pellucid.learn.finetune.training.cursors import TextSpan
from pellucid.learn.finetune.training.samples import InfillExample, SampleStream
from support.models.tiny_models import reference_logprobs


def plain_line(base: Base, prompt: InfillExample) -> str:
    """Return the same line, computed from scratch for each token."""
    ids, data = list(prompt.ids), b""
    healing = prompt.healing
    typed = len(prompt.typed)
    for _ in range(MAX_LINE + (healing.steps if healing is not None else 0)):
        logprobs = reference_logprobs(base.model, ids)[-1]
        allowed = healing.allowed() if healing is not None else None
        id = int(logprobs.argmax()) if allowed is None else max(ids_in(allowed), key=logprobs.tolist().__getitem__)
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
def test_lines_together_are_those_alone(
    base: Base, sampler: SampleStream, documents: list[Document], marked: bool
) -> None:
    """Prompts of different lengths, padded and healed, get the same answers as alone."""
    sampler = sampler if marked else SampleStream(base.tokenizer, None, 96)
    text = documents[0].text
    begin = text.index("found.append")
    spans = [TextSpan(begin + at, begin + 21, "line") for at in (0, 3, 6, 13)] + [TextSpan(40, 50, "line")]

    together = first_lines(base.model, base.tokenizer, [sampler.prompt(text, span, 80) for span in spans], ENDS)

    for answer, span in zip(together, spans, strict=True):
        assert answer == plain_line(base, sampler.prompt(text, span, 80))
