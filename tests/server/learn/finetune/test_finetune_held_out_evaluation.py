"""Tests of the answers and figures on held-out files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from pellucid.engine.token_mask import ids_in
from pellucid.learn.corpus import Document
from pellucid.learn.finetune.forgetting_texts import Kind
from pellucid.learn.finetune.greedy_generation import MAX_LINE, first_lines
from pellucid.learn.finetune.held_out_evaluation import (
    Effort,
    FileFigures,
    HeldOutEvaluation,
    HeldOutFigures,
    open_figures,
)
from pellucid.learn.finetune.repository_files import JUDGED
from pellucid.learn.finetune.training.base_model import Base
from pellucid.learn.finetune.training.cursors import TextSpan
from pellucid.learn.finetune.training.samples import InfillExample, SampleStream
from pellucid.learn.finetune.transformers_scorer import TorchReader
from pellucid.learn.score_text import read
from pellucid.system.progress import Silent
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
    spans = [TextSpan(begin + at, begin + 21, "line") for at in (0, 6)] + [TextSpan(40, 50, "line")]

    together = first_lines(base.model, base.tokenizer, [sampler.prompt(text, span, 80) for span in spans], ENDS)

    for answer, span in zip(together, spans, strict=True):
        assert answer == plain_line(base, sampler.prompt(text, span, 80))


class BrokenOffError(Exception):
    pass


def test_judged_files_are_not_judged_again(
    base: Base, sampler: SampleStream, documents: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted evaluation resumes after the last complete figures with the same key."""
    path = tmp_path / "before.jsonl"
    judge = HeldOutEvaluation(base.model, sampler, Effort(tokens=100, cursors=1, lines=1, window=64), 0, Silent())
    files = documents[:3]
    general: dict[Kind, list[Document]] = {"prose": [Document("alpha.py", "A text of the same name.")]}
    expected = judge.judge("judging", files, general)

    def keep(files: list[Document], general: dict[Kind, list[Document]]) -> HeldOutFigures:
        with open_figures(path, "key") as kept:
            return judge.judge("judging", files, general, kept=kept)

    judged: list[str] = []
    plain = HeldOutEvaluation._read

    def reading(self: HeldOutEvaluation, document: Document) -> FileFigures:
        if judged == ["alpha.py", "bravo.py"]:
            raise BrokenOffError
        judged.append(document.name)
        return plain(self, document)

    monkeypatch.setattr(HeldOutEvaluation, "_read", reading)
    with pytest.raises(BrokenOffError):
        keep(files, general)
    path.write_text(path.read_text()[:-9])
    judged.clear()

    found = keep(files[:2], {})
    assert judged == ["bravo.py"]
    assert found.files == expected.files[:2]

    judged.append("")
    assert keep(files, general) == expected
    assert keep(files, general) == expected
    assert judged == ["bravo.py", "", "charlie.py", "alpha.py"]

    with open_figures(path, "other") as kept:
        assert not kept.records


def test_effort_is_a_bound(
    base: Base, sampler: SampleStream, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest number of judged files takes the intended characters, cursors and lines."""
    read: list[int] = []
    cursors = lines = 0

    def reading(self: HeldOutEvaluation, document: Document) -> FileFigures:
        read.append(len(document.text))
        return FileFigures(document.name, 1.0, 1, (0.5,), (1,))

    def answers(self: HeldOutEvaluation, text: str, spans: Sequence[TextSpan]) -> list[str]:
        nonlocal cursors, lines
        cursors += sum(span.kind == "rest of line" for span in spans)
        # A request is made at each word of a line.
        lines += any(span.kind == "line" for span in spans)
        return [""] * len(spans)

    monkeypatch.setattr(HeldOutEvaluation, "_read", reading)
    monkeypatch.setattr(HeldOutEvaluation, "_fill_in", answers)
    effort = Effort()
    files = [Document(f"{number}.py", documents[0].text * 10) for number in range(JUDGED)]

    judgement = HeldOutEvaluation(base.model, sampler, effort, 0, Silent()).judge("judging", files, {})

    assert len(judgement.files) == JUDGED
    assert effort.tokens * 3 <= sum(read) <= effort.tokens * 3.3
    assert (cursors, lines) == (effort.cursors, effort.lines)


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
