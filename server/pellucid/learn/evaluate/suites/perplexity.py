"""Perplexity, bits per byte and token calibration of texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pellucid.errors import InvalidRequestError
from pellucid.learn.corpus import FEW_FILES, gather
from pellucid.learn.evaluate.benchmark_files import drawn
from pellucid.learn.evaluate.measures.token_calibration import calibration_errors, diagrams
from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.subjects import Ability
from pellucid.learn.evaluate.suite_protocol import (
    Better,
    Diagram,
    Facts,
    FigureFormat,
    Measure,
    Question,
    Records,
    Suite,
    mean,
)
from pellucid.learn.score_text import TOP, TextReading
from pellucid.system.progress import Progress
from pellucid.text.score_windows import ReadingWindow, windows

NAME = "perplexity"

WINDOW_TOKENS = 1024
"""Each scored token has at least half a window as context."""

LLAMA_WINDOW_TOKENS = 512
"""Default window of llama-perplexity."""

DIGITS = 6


@dataclass(frozen=True, slots=True)
class TextWindow:
    """Token ids; the last ``counted`` tokens are scored."""

    id: str
    unit: str
    file: str
    ids: Sequence[int]
    counted: int

    async def ask(self, session: ModelSession) -> Facts:
        reading = TextReading.of((await session.read_ids(self.ids))[-self.counted :])
        return {
            "file": self.file,
            "logprobs": [round(value, DIGITS) for value in reading.logprobs.tolist()],
            "ranks": reading.ranks.tolist(),
            "sizes": reading.sizes.tolist(),
            "confidences": [round(value, DIGITS) for value in reading.confidences.tolist()],
        }


class Perplexity(Suite):
    """The suite: a file or folder of text in windows."""

    name = NAME
    needs = frozenset({Ability.IDS})
    at_once = 2

    def __init__(
        self,
        text: Path,
        limit: int | None = None,
        *,
        like_llama: bool = False,
        window: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._text = text
        self._limit = limit
        self._like_llama = like_llama
        self._size = window or (LLAMA_WINDOW_TOKENS if like_llama else WINDOW_TOKENS)
        corpus = self._corpus = gather([text], progress=progress)
        self.settings = {
            "reading": "windows of llama-perplexity" if like_llama else "strided",
            "window": self._size,
            "text": {"files": len(corpus.documents), "bytes": corpus.size, "sha256": corpus.digest},
        }

    async def questions(self, session: ModelSession, earlier: Records) -> Sequence[Question]:
        if self._size > session.subject.context:
            raise InvalidRequestError(
                f"A window of {self._size} tokens exceeds the context of {session.subject.name} "
                f"({session.subject.context}): use a smaller --window."
            )
        bos = await session.token_ids("")
        parts: list[TextWindow] = []
        for document in self._corpus.documents:
            ids = await session.token_ids(document.text)
            for number, part in enumerate(self._windows(len(ids))):
                name = f"{document.name}, window {number}"
                held = ids[part.begin : part.end]
                # Like llama-perplexity: BOS, if any, replaces the first token of each window.
                parts.append(
                    TextWindow(
                        name, name, document.name, [*bos, *held[len(bos) :]] if self._like_llama else held, part.counted
                    )
                )
        if not parts:
            raise InvalidRequestError(
                f"{self._text} is shorter than a window of {self._size} tokens: use more text or a smaller --window."
            )
        counted = [part for part in parts if part.counted]
        # Like llama-perplexity --chunks: the first windows.
        chosen = counted[: self._limit] if self._like_llama else drawn(counted, self._limit)
        return [replace(part, unit=part.file) for part in chosen] if _many(part.file for part in chosen) else chosen

    def diagrams(self, facts: Sequence[Facts]) -> list[Diagram]:
        return diagrams(facts)

    def notes(self, session: ModelSession, facts: Sequence[Facts]) -> list[str]:
        tokens, size = sum(len(one["logprobs"]) for one in facts), sum(sum(one["sizes"]) for one in facts)
        units = (
            "files" if _many(one["file"] for one in facts) else "windows, because there are too few files to resample"
        )
        return [
            f"{tokens:,} tokens of {size:,} bytes were scored; {self._protocol()}",
            f"The intervals come from resampling {units}. Perplexity is per token of this model's tokenizer: "
            "compare models with different tokenizers by bits per byte.",
        ]

    def _windows(self, length: int) -> Iterator[ReadingWindow]:
        if not self._like_llama:
            return windows(length, self._size)
        return llama_windows(length, self._size)

    def _protocol(self) -> str:
        if self._like_llama:
            first = "" if self._limit is None else f"the first {self._limit} "
            return (
                f"{first}consecutive windows of {self._size} tokens, of which the second halves are scored and "
                "the rest at the end is dropped, like llama-perplexity."
            )
        some = "" if self._limit is None else f"at most {self._limit} random ones of all "
        return f"{some}windows of {self._size} tokens at strides of {self._size // 2}, each token once."


def _many(files: Iterable[str]) -> bool:
    """Return True if there are enough files for resampling."""
    return len(set(files)) >= FEW_FILES


def llama_windows(length: int, size: int) -> Iterator[ReadingWindow]:
    """Yield llama-perplexity's windows: the second half of each window is scored."""
    for number in range(length // size):
        yield ReadingWindow(number * size, (number + 1) * size, size - 1 - size // 2)


def measures(facts: Sequence[Facts]) -> Sequence[Measure]:
    """Return ratios of sums over tokens or bytes, never means of per-window means."""

    def tokens(one: Facts) -> float:
        return len(one["logprobs"])

    return [
        mean(
            "perplexity",
            lambda one: -sum(one["logprobs"]),
            tokens,
            convert=lambda nats: math.exp(min(nats, 700.0)),  # Larger powers overflow
            form=FigureFormat.NUMBER,
            better=Better.LOWER,
            least=1.0,
        ),
        mean(
            "bits per byte",
            lambda one: -sum(one["logprobs"]) / math.log(2),
            lambda one: sum(one["sizes"]),
            form=FigureFormat.NUMBER,
            better=Better.LOWER,
        ),
        mean("first choices", lambda one: sum(rank == 1 for rank in one["ranks"]), tokens),
        mean(f"among the first {TOP}", lambda one: sum(rank <= TOP for rank in one["ranks"]), tokens),
        *calibration_errors(),
    ]


def is_pair(before: Facts, after: Facts) -> bool:
    return bool(before["sizes"] == after["sizes"])
