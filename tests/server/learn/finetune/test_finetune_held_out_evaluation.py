"""Tests of judging: a bounded effort, and each file judged once despite interruptions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pellucid.learn.corpus import Document
from pellucid.learn.finetune.forgetting_texts import Kind
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
from pellucid.learn.finetune.training.samples import SampleStream
from pellucid.system.progress import Silent


class BrokenOffError(Exception):
    pass


def test_judged_files_are_not_judged_again(
    base: Base, sampler: SampleStream, documents: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted evaluation resumes after the last complete figures with the same key."""
    path = tmp_path / "before.jsonl"
    judge = HeldOutEvaluation(base.model, sampler, Effort(tokens=200, cursors=4, lines=4, window=64), 0, Silent())
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

    for key in ("other", "key"):
        with open_figures(path, key) as kept:
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
