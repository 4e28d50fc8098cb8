"""Suites that compare the likelihoods of the texts of a benchmark file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pellucid.learn.evaluate.benchmark_files import BenchmarkSource, drawn, fingerprint
from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.subjects import Ability
from pellucid.learn.evaluate.suite_protocol import Facts, Question, Suite


class LikelihoodSuite(Suite):
    """``remarks`` are the notes of every result."""

    needs = frozenset({Ability.SCORE})
    source: ClassVar[BenchmarkSource]
    remarks: ClassVar[Sequence[str]]

    def __init__(self, data: Path | None, limit: int | None) -> None:
        path = self.source.find(data)
        self.asked = drawn(self.read(path), limit)
        self.settings = {"data": fingerprint(path)}

    @abstractmethod
    def read(self, path: Path) -> Sequence[Question]:
        """Return all questions of a file, or raise InvalidRequestError."""

    def notes(self, session: ModelSession, facts: Sequence[Facts]) -> list[str]:
        return list(self.remarks)
