"""Results of the learners on the test part, measured through the assistant."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pellucid.config import Settings
from pellucid.learn.corpus import Document
from pellucid.learn.score_text import TextReading, read
from pellucid.models.untrusted_files import read_json
from pellucid.serving.assemble import assemble
from pellucid.system.atomic_files import human
from pellucid.system.progress import Progress
from pellucid.terminal.plain_tables import plain_console, plain_table


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """``flops`` is an estimate (None for counting); ``validation`` is in bits per byte.

    ``joules`` is None without a counter.
    """

    parameters: int
    seconds: float
    flops: float | None
    joules: float | None
    validation: float
    note: str | None = None


@dataclass(frozen=True, slots=True)
class LearnerRow:
    name: str
    tokenizer: str
    tokens: int
    bits_per_byte: float
    perplexity: float
    top1: float
    top5: float
    calibration_error: float
    parameters: int
    seconds: float
    disk_bytes: int
    flops: float | None
    joules: float | None


@dataclass(frozen=True, slots=True)
class TrainResults:
    rows: tuple[LearnerRow, ...]
    notes: tuple[str, ...]
    setup: dict[str, Any]

    def as_json(self) -> str:
        return (
            json.dumps(
                {"learners": [asdict(row) for row in self.rows], "notes": self.notes, "setup": self.setup}, indent=2
            )
            + "\n"
        )


def read_results(path: Path) -> TrainResults | None:
    stored = read_json(path)
    if not stored:
        return None
    return TrainResults(tuple(LearnerRow(**row) for row in stored["learners"]), tuple(stored["notes"]), stored["setup"])


def read_training_cost(folder: Path) -> TrainingCost:
    return TrainingCost(**read_json(folder / "training.json"))


async def read_row(
    folder: Path,
    tokenizer: str,
    test: Sequence[Document],
    window: int,
    stride: int,
    settings: Settings,
    progress: Progress,
) -> tuple[LearnerRow, TextReading]:
    """Score the test part with the model in a folder; windows advance by ``stride`` tokens."""
    engine, assistant = assemble(settings, [str(folder)], progress)
    try:
        progress.start(f"reading the test part with {folder.name}", sum(document.size for document in test))
        readings = [
            await read(
                assistant, document.text, window=window, stride=stride, progress=_TextProgress(progress, document.size)
            )
            for document in test
        ]
    finally:
        engine.close()
    found, training = TextReading.together(readings), read_training_cost(folder)
    row = LearnerRow(
        name=folder.name,
        tokenizer=tokenizer,
        tokens=found.tokens,
        bits_per_byte=found.bits_per_byte,
        perplexity=found.perplexity,
        top1=found.first_choices,
        top5=found.top_choices,
        calibration_error=found.calibration_error,
        parameters=training.parameters,
        seconds=training.seconds,
        disk_bytes=_disk_bytes(folder),
        flops=training.flops,
        joules=training.joules,
    )
    return row, found


class _TextProgress:
    """The progress of a text as a part of a bar in bytes."""

    def __init__(self, whole: Progress, size: int) -> None:
        self._whole = whole
        self._size = size
        self._scale = 0.0

    def start(self, label: str, total: int | None) -> None:
        self._scale = self._size / total if total else 0.0

    def advance(self, count: int) -> None:
        self._whole.advance(round(count * self._scale))

    def note(self, text: str) -> None:
        self._whole.note(text)


def _disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def show(results: TrainResults) -> None:
    table = plain_table(("",), [found.name for found in results.rows])
    for name, cell in _LINES.items():
        table.add_row(name, *(cell(found) for found in results.rows))
    console = plain_console()
    console.print(table)
    for note in results.notes:
        console.print(note, style="dim")


_LINES: dict[str, Callable[[LearnerRow], str]] = {
    "bits per byte": lambda row: f"{row.bits_per_byte:.3f}",
    "perplexity": lambda row: f"{row.perplexity:.2f}",
    "top 1": lambda row: f"{row.top1:.1%}",
    "top 5": lambda row: f"{row.top5:.1%}",
    "calibration error": lambda row: f"{row.calibration_error:.3f}",
    "tokenizer": lambda row: row.tokenizer,
    "parameters": lambda row: f"{row.parameters:,}",
    "seconds of training": lambda row: f"{row.seconds:,.0f}",
    "on disk": lambda row: human(row.disk_bytes),
    "FLOPs (estimate)": lambda row: "–" if row.flops is None else f"{row.flops:.1e}",
    "energy": lambda row: "no counter" if row.joules is None else f"{row.joules:,.0f} J",
}
