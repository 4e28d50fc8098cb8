"""Evaluates a model on held-out files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from rapidfuzz import fuzz

from pellucid.learn.corpus import Document
from pellucid.learn.finetune.forgetting_texts import Kind
from pellucid.learn.finetune.greedy_generation import first_lines
from pellucid.learn.finetune.training.cursors import SourcePage, TextSpan
from pellucid.learn.finetune.training.samples import SampleStream, random_for
from pellucid.learn.finetune.transformers_scorer import TorchReader
from pellucid.learn.record_file import RecordFile
from pellucid.learn.score_text import read
from pellucid.system.atomic_files import OTHER_CACHE
from pellucid.system.progress import Progress

STRIDE_SHARE = 3 / 4
"""Share of a window that is scored; the rest is repeated as context."""

BATCH_ANSWERS = 6

_WORD_START = re.compile(r"(?<=[^\w])\w|(?<=\s)\S")


@dataclass(frozen=True, slots=True)
class Effort:
    """Approximate amounts for all files together. ``window`` is the tokens around a cursor."""

    tokens: int = 6_000
    cursors: int = 48
    lines: int = 24
    window: int = 256


@dataclass(frozen=True, slots=True)
class FileFigures:
    """The figures of one file.

    ``confidences`` and ``hits`` are about the first choice at each token. ``similarity`` is the sum
    of ``asked`` edit similarities (each 0 to 1). Of ``typed`` characters, ``saved`` keystrokes were
    not needed.
    """

    name: str
    bits: float
    bytes: int
    confidences: tuple[float, ...]
    hits: tuple[int, ...]
    asked: int = 0
    exact: int = 0
    similarity: float = 0.0
    typed: int = 0
    saved: int = 0


@dataclass(frozen=True, slots=True)
class KeptFigures:
    """Stored figures, so that a resumed run does not evaluate a file again."""

    kind: str
    figures: FileFigures


def open_figures(path: Path, key: str) -> RecordFile[KeptFigures]:
    """Open the figures of a run; figures with a different key are discarded."""

    def read_line(fields: dict[str, Any]) -> KeptFigures:
        stored = fields["figures"]
        confidences, hits = tuple(stored.pop("confidences")), tuple(stored.pop("hits"))
        return KeptFigures(fields["kind"], FileFigures(**stored, confidences=confidences, hits=hits))

    header = {"kind": "pellucid-finetune-figures", "key": key}
    remedy = OTHER_CACHE
    return RecordFile(path, header, read_line, what="a fine-tuning", remedy=remedy, replace_other=True)


@dataclass(frozen=True, slots=True)
class HeldOutFigures:
    """Figures of held-out files, and of general texts that show forgetting."""

    files: tuple[FileFigures, ...]
    general: Mapping[Kind, tuple[FileFigures, ...]]


class HeldOutEvaluation:
    """Evaluates the current state of a model, always on the same places of the same files."""

    def __init__(self, model: Any, sampler: SampleStream, effort: Effort, seed: int, progress: Progress) -> None:
        self._model = model
        self._sampler = sampler
        self._effort = effort
        self._seed = seed
        self._progress = progress

    def judge(
        self,
        label: str,
        files: Sequence[Document],
        general: Mapping[Kind, Sequence[Document]],
        *,
        of: int | None = None,
        kept: RecordFile[KeptFigures] | None = None,
    ) -> HeldOutFigures:
        """Return the model's figures on all files.

        ``of`` is the number of files that share the effort (default: all). Figures in ``kept``
        are reused, and new figures are added.
        """
        found = {(one.kind, one.figures.name): one.figures for one in (kept.records if kept is not None else ())}

        def keep(kind: str, figures: FileFigures) -> None:
            found[kind, figures.name] = figures
            if kept is not None:
                kept.append(KeptFigures(kind, figures))

        new_files = [file for file in files if ("file", file.name) not in found]
        new_texts = [
            (kind, text) for kind, texts in general.items() for text in texts if (kind, text.name) not in found
        ]
        if new_files or new_texts:
            self._progress.start(label, len(new_files) + len(new_texts))
        for file in new_files:
            keep("file", self._file(file, of or len(files)))
        for kind, text in new_texts:
            keep(kind, self._read(text))
        return HeldOutFigures(
            tuple(found["file", file.name] for file in files),
            {kind: tuple(found[kind, text.name] for text in texts) for kind, texts in general.items()},
        )

    def _file(self, document: Document, files: int) -> FileFigures:
        effort = self._effort
        random = random_for(self._seed, "judge", document.name)
        page = SourcePage(document.name, document.text)
        # About three characters per token.
        passage = _passage(page, random, max(256, effort.tokens // files) * 3)
        reading = self._read(Document(document.name, passage))
        cursors = [
            span for _ in range(-(-effort.cursors // files)) if (span := _rest_of_line(page, random)) is not None
        ]
        answers = self._fill_in(document.text, cursors)
        wanted = [document.text[span.begin : span.end] for span in cursors]
        typed, saved = self._replay(page, random, -(-effort.lines // files))
        return FileFigures(
            document.name,
            reading.bits,
            reading.bytes,
            reading.confidences,
            reading.hits,
            asked=len(cursors),
            exact=sum(answer.strip() == line.strip() for answer, line in zip(answers, wanted, strict=True)),
            similarity=sum(
                fuzz.ratio(answer.strip(), line.strip()) / 100 for answer, line in zip(answers, wanted, strict=True)
            ),
            typed=typed,
            saved=saved,
        )

    def _read(self, document: Document) -> FileFigures:
        window = self._sampler.context
        reader = TorchReader(self._model, self._sampler.tokenizer)
        reading = asyncio.run(read(reader, document.text, window=window, stride=max(1, round(window * STRIDE_SHARE))))
        self._progress.advance(1)
        confidences = tuple(round(float(confidence), 4) for confidence in reading.confidences)
        return FileFigures(
            document.name, reading.bits, reading.bytes, confidences, tuple(int(rank == 1) for rank in reading.ranks)
        )

    def _fill_in(self, text: str, spans: Sequence[TextSpan]) -> list[str]:
        sampler = self._sampler
        tokenizer = sampler.tokenizer
        ends = tokenizer.eos_ids | (
            sampler.infill.end_ids(tokenizer.special) if sampler.infill is not None else frozenset()
        )
        prompts = [sampler.prompt(text, span, min(self._effort.window, sampler.context)) for span in spans]
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index].ids))
        answers: dict[int, str] = {}
        for begin in range(0, len(order), BATCH_ANSWERS):
            chosen = order[begin : begin + BATCH_ANSWERS]
            answers |= zip(
                chosen, first_lines(self._model, tokenizer, [prompts[index] for index in chosen], ends), strict=True
            )
        return [answers[index] for index in range(len(prompts))]

    def _replay(self, page: SourcePage, random: Random, lines: int) -> tuple[int, int]:
        """Return the characters of some lines, and the keystrokes saved by right suggestions.

        A suggestion is requested at the start of the line and of each word. Accepting a suggestion
        costs one key.
        """
        written = [number for number in range(len(page.starts)) if page.line(number).strip()]
        first = random.randrange(max(1, len(written) - lines))
        typed = saved = 0
        for number in written[first : first + lines]:
            line = page.line(number).rstrip()
            at = len(line) - len(line.lstrip())
            begin = page.starts[number]
            places = [at, *(match.start() for match in _WORD_START.finditer(line, at + 1))]
            answers = dict(
                zip(
                    places,
                    self._fill_in(page.text, [TextSpan(begin + p, begin + len(line), "line") for p in places]),
                    strict=True,
                )
            )
            typed += len(line) - at
            for place in places:
                answer = answers[place]
                if place >= at and len(answer) > 1 and line.startswith(answer, place):
                    saved += len(answer) - 1
                    at = place + len(answer)
        return typed, saved


def _passage(page: SourcePage, random: Random, length: int) -> str:
    latest = max(0, len(page.text) - length)
    begin = page.starts[page.line_of(random.randint(0, latest))]
    return page.text[begin : begin + length]


def _rest_of_line(page: SourcePage, random: Random) -> TextSpan | None:
    """Return a span from the beginning of a random word to the line's end.

    None if all lines are short.
    """
    lines = [number for number in range(len(page.starts)) if len(page.line(number).strip()) >= SHORTEST_LINE]
    if not lines:
        return None
    number = random.choice(lines)
    line = page.line(number).rstrip()
    at = len(line) - len(line.lstrip())
    places = [at, *(match.start() for match in _WORD_START.finditer(line, at + 1))]
    begin = page.starts[number]
    return TextSpan(begin + random.choice(places), begin + len(line), "rest of line")


SHORTEST_LINE = 8
