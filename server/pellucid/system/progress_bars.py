"""Shows progress bars in the terminal."""

from __future__ import annotations

import sys
from types import TracebackType
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
from pellucid.system.coloured_tokens import harmless


class Bars:
    """Progress bars on stderr with size, speed and time left; without a terminal, one line for each piece of work.

    Implements :class:`pellucid.system.progress_protocol.Progress`. Exit the context before writing
    elsewhere on the terminal.
    """

    refreshes = 10.0
    """Redraws per second."""

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def start(self, label: str, total: int | None) -> None:
        """Replace the bar by a new one."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(label, total=total)
        if not self._console.is_terminal:
            self.note(label if total is None else f"{label} ({self._amount(total)})")

    def advance(self, count: int) -> None:
        """Advance the bar."""
        assert self._task is not None
        self._bars.advance(self._task, count)

    def note(self, text: str) -> None:
        """Print a sentence above the bar."""
        self._console.print(harmless(text), soft_wrap=True)

    def _columns(self) -> tuple[ProgressColumn, ...]:
        return DownloadColumn(), TransferSpeedColumn()

    def _amount(self, total: int) -> str:
        return human(total)


class Steps(Bars):
    """The progress bar of work that is counted in slow steps."""

    refreshes = 2.0  # drawing disturbs a measurement that runs at the same time

    def describe(self, label: str) -> None:
        """Label the bar with the next step."""
        assert self._task is not None
        self._bars.update(self._task, description=label)

    def expect(self, total: int) -> None:
        """Change the number of steps."""
        assert self._task is not None
        self._bars.update(self._task, total=total)

    def _columns(self) -> tuple[ProgressColumn, ...]:
        return MofNCompleteColumn(), TimeElapsedColumn()

    def _amount(self, total: int) -> str:
        return f"{total} steps" if total != 1 else "1 step"
