"""Judging: as much of many files as of few."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pellucid.learn.corpus import Document
from pellucid.learn.finetune.base import Base
from pellucid.learn.finetune.cursors import Span
from pellucid.learn.finetune.generation import Answer
from pellucid.learn.finetune.judge import Effort, FileFigures, Judge
from pellucid.learn.finetune.material import JUDGED
from pellucid.learn.finetune.samples import Sampler
from pellucid.models.progress import Silent


def test_effort_is_a_bound(base: Base, sampler: Sampler, documents: list[Document], monkeypatch: pytest.MonkeyPatch) -> None:
    """As many files as are ever judged take about the characters, the cursors and the lines that are wanted of all together."""
    read: list[int] = []
    cursors = lines = 0

    def reading(self: Judge, document: Document) -> FileFigures:
        read.append(len(document.text))
        return FileFigures(document.name, 1.0, 1, (0.5,), (1,))

    def answers(self: Judge, text: str, spans: Sequence[Span]) -> list[Answer]:
        nonlocal cursors, lines
        cursors += sum(span.kind == "rest of line" for span in spans)
        lines += any(span.kind == "line" for span in spans)  # a line is asked for at each of its words
        return [Answer("", 1.0)] * len(spans)

    monkeypatch.setattr(Judge, "_read", reading)
    monkeypatch.setattr(Judge, "_fill_in", answers)
    effort = Effort()
    files = [Document(f"{number}.py", documents[0].text * 10) for number in range(JUDGED)]

    judgement = Judge(base.model, sampler, effort, 0, Silent()).judge("judging", files, {})

    assert len(judgement.files) == JUDGED
    assert effort.tokens * 3 <= sum(read) <= effort.tokens * 3.3
    assert (cursors, lines) == (effort.cursors, effort.lines)
