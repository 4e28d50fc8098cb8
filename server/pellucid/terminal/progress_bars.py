"""Progress bars in the terminal."""

from __future__ import annotations

import sys
from typing import Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from pellucid.system.atomic_files import human
from pellucid.terminal.coloured_tokens import harmless


class Bars:
    """A ``Progress`` with bars on stderr; without a terminal, a line for each piece of work.

    Exit the context before further writing on the terminal.
    """

    refreshes = 10.0

    def __init__(self, stream: TextIO | None = None) -> None:
        self._console = Console(file=stream or sys.stderr, highlight=False, markup=False, emoji=False)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            *self._columns(),
            TimeRemainingColumn(),
            refresh_per_second=self.refreshes,
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def start(self, label: str, total: int | None) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(label, total=total)
        if not self._console.is_terminal:
            self.note(label if total is None else f"{label} ({self._amount(total)})")

    def advance(self, count: int) -> None:
        assert self._task is not None
        self._bars.advance(self._task, count)

    def note(self, text: str) -> None:
        self._console.print(harmless(text), soft_wrap=True)

    def _columns(self) -> tuple[ProgressColumn, ...]:
        return DownloadColumn(), TransferSpeedColumn()

    def _amount(self, total: int) -> str:
        return human(total)


class Steps(Bars):
    refreshes = 2.0  # Drawing disturbs a simultaneous measurement.

    def describe(self, label: str) -> None:
        assert self._task is not None
        self._bars.update(self._task, description=label)

    def expect(self, total: int) -> None:
        assert self._task is not None
        self._bars.update(self._task, total=total)

    def _columns(self) -> tuple[ProgressColumn, ...]:
        return MofNCompleteColumn(), TimeElapsedColumn()

    def _amount(self, total: int) -> str:
        return f"{total} steps" if total != 1 else "1 step"
