"""Runs of many prompts and seeds, which can be stopped and resumed."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import count

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import InvalidRequestError, QueueFullError
from pellucid_webui.conversations.turn_settings import LARGEST
from pellucid_webui.inspection.batch.compressed_comparison import CompressedComparison, compress
from pellucid_webui.inspection.batch.prompt_file import FilePrompt
from pellucid_webui.inspection.batch.row_figures import RowFigures, figures_of
from pellucid_webui.inspection.comparison import TOKEN_CHARACTERS, Column, Comparison
from pellucid_webui.page_threads import in_page_thread

MAX_ROWS = 5000

TICK_SECONDS = 0.5

ROWS_AT_ONCE = 4
"""Several comparisons at a time let the engine batch rows."""

MAX_RANDOM_SEED = 2**31

_NUMBERS = count(int(1000 * time.time()))
"""Numbers keep rising after a restart of the server."""


@dataclass(eq=False)
class BatchRow:
    number: int
    prompt: FilePrompt
    seeds: tuple[int, ...]
    figures: RowFigures | None = None
    error: str = ""
    compressed: CompressedComparison | None = None

    @property
    def done(self) -> bool:
        return self.compressed is not None


@dataclass(eq=False)
class ComparisonBatch:
    """Comparisons of prompts and seeds; ``finished`` is in the order of completion."""

    name: str
    prompts: Sequence[FilePrompt]
    reference: str
    columns: Sequence[Column]
    seeds: int = 1
    number: int = field(default_factory=lambda: next(_NUMBERS))
    rows: list[BatchRow] = field(default_factory=list)
    finished: list[BatchRow] = field(default_factory=list)
    running: bool = False
    _tasks: Sequence[asyncio.Task[QueueFullError | None]] = ()

    def __post_init__(self) -> None:
        check(len(self.prompts), self.seeds, self.columns)
        drawn = secrets.randbelow(MAX_RANDOM_SEED)  # A shared seed, so that equal columns give equal answers.
        firsts = [drawn if column.settings.seed is None else column.settings.seed for column in self.columns]
        for prompt in self.prompts:
            for n in range(self.seeds):
                self.rows.append(BatchRow(len(self.rows), prompt, tuple(first + n for first in firsts)))

    @property
    def size(self) -> int:
        """The memory that the batch takes, in tokens."""
        kept = sum(row.compressed.size for row in self.rows if row.compressed is not None)
        asked = sum(len(row.prompt.prompt) + len(row.prompt.reference) for row in self.rows)
        return kept + asked // TOKEN_CHARACTERS + 1

    @property
    def left(self) -> list[BatchRow]:
        return [row for row in self.rows if row.figures is None]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def run(self, new_assistant: Callable[[], Assistant]) -> AsyncGenerator[None]:
        """Run the remaining rows; closing the generator stops the rows.

        Fewer rows run at the same time if rows are refused. Raises QueueFullError if in the end no
        row is admitted.
        """
        rows = deque(self.left)
        self._tasks = [asyncio.create_task(self._work(new_assistant, rows)) for _ in range(ROWS_AT_ONCE)]
        self.running = True
        try:
            yield
            while not all(task.done() for task in self._tasks):
                await asyncio.wait(self._tasks, timeout=TICK_SECONDS)
                yield
        finally:
            self.stop()
            await asyncio.wait(self._tasks)
            self.running = False
        refusals = [None if task.cancelled() else task.result() for task in self._tasks]
        refused = next(filter(None, refusals), None)
        if refused is not None and rows and not any(task.cancelled() for task in self._tasks):
            raise refused

    async def _work(self, new_assistant: Callable[[], Assistant], rows: deque[BatchRow]) -> QueueFullError | None:
        """Run rows until none is left or a row is refused, and put back a refused row."""
        while rows:
            row = rows.popleft()
            comparison = self.comparison_of(row)
            async with aclosing(comparison.run(new_assistant())) as ticks:
                async for _ in ticks:
                    pass
            if comparison.refused is not None:
                rows.appendleft(row)
                return comparison.refused
            row.error = " ".join(
                f"Column {column.letter}: {column.error}" for column in comparison.columns if column.error
            )
            figures, row.compressed = await in_page_thread(_result, comparison)
            row.figures = None if row.error else figures
            self.finished.append(row)
        return None

    def comparison_of(self, row: BatchRow) -> Comparison:
        columns = [
            Column(one.letter, replace(one.settings, seed=seed))
            for one, seed in zip(self.columns, row.seeds, strict=True)
        ]
        return Comparison(row.prompt.prompt, row.prompt.reference or self.reference, columns, row.prompt.history)


def check(prompts: int, seeds: int, columns: Sequence[Column]) -> None:
    """Raise InvalidRequestError for an oversized batch, or seeds without effect."""
    if not 1 <= seeds <= MAX_ROWS:
        raise InvalidRequestError(f"Seeds must be a whole number from 1 to {MAX_ROWS}, not {seeds}.")
    if prompts * seeds > MAX_ROWS:
        raise InvalidRequestError(
            f"{prompts} prompts with {seeds} seeds each are {prompts * seeds} comparisons: "
            f"a batch has at most {MAX_ROWS}."
        )
    for column in columns:
        if column.settings.seed is not None and column.settings.seed + seeds > LARGEST:
            raise InvalidRequestError(
                f"Column {column.letter}: with {seeds} seeds the last one would be larger than {LARGEST}: "
                "lower the seed."
            )
    if seeds > 1 and not any(column.settings.temperature for column in columns):
        raise InvalidRequestError(
            "All columns are greedy (temperature 0), so every seed gives the same answers: "
            "raise a temperature, or set Seeds to 1."
        )


def _result(comparison: Comparison) -> tuple[RowFigures, CompressedComparison]:
    return figures_of(comparison), compress(comparison)
