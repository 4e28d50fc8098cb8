"""Prints tokens to the terminal, coloured by their probability, and the progress bars of long work."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
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
from rich.style import Style
from rich.text import Text

from pellucid.system.atomic_files import human
from pellucid.tokens import Finish, FinishReason, Token


@dataclass(frozen=True, slots=True)
class ProbabilityLevel:
    """The look of tokens with probabilities from ``floor`` up to the next level's.

    A level sets both colours, so that it looks the same on a light and on a dark terminal.
    """

    floor: float
    label: str
    foreground: str | None = None
    background: str | None = None
    underline: bool = False

    @property
    def style(self) -> Style:
        """Style of the level for rich."""
        return Style(color=self.foreground, bgcolor=self.background, underline=self.underline or None)


LEVELS = (
    ProbabilityLevel(0.9, "90% or more"),
    ProbabilityLevel(0.6, "60-90%", "#ffffff", "#2166ac"),
    ProbabilityLevel(0.3, "30-60%", "#000000", "#92c5de"),
    ProbabilityLevel(0.1, "10-30%", "#000000", "#fdae61"),
    ProbabilityLevel(0.0, "under 10%", "#000000", "#d95f02", underline=True),
)
"""From probable to improbable along blue and orange, which colour-blind people can distinguish. Probable tokens stay plain."""

_CONTROL_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
_CONTROL_PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


def level_of(logprob: float | None) -> ProbabilityLevel:
    """Return the level of a logprob. A token that follows nothing (None) looks like a probable one."""
    probability = 1.0 if logprob is None else math.exp(logprob)
    return next(level for level in LEVELS if probability >= level.floor)


def harmless(text: str) -> str:
    """Return ``text`` with its control characters as pictures, so that no answer can control the terminal."""
    return text.translate(_CONTROL_PICTURES)


def paint(token: Token) -> Text:
    """Return a token's text in the style of its level. The end of a line is drawn if its style is not plain."""
    style = level_of(token.logprob).style
    painted = Text()
    for index, line in enumerate(harmless(token.text).split("\n")):
        if index:
            painted.append("↵" if style else "", style).append("\n")
        painted.append(line, style)
    return painted


def legend() -> Text:
    """Return the legend of the colours."""
    line = Text.assemble(("probability:", "dim"))
    for level in LEVELS:
        line.append(" ").append(f" {level.label} ", level.style)
    return line


def summary(tokens: int, logprobs: float, finish: Finish) -> str:
    """Summarise an answer or a text in one line: its tokens, their perplexity, its speed, and the reason why it ended.

    ``logprobs`` is the sum over the tokens.
    """
    usage = finish.usage
    parts = [f"{tokens} tokens"]
    if tokens:
        parts.append(f"perplexity {math.exp(-logprobs / tokens):.2f}")
    if usage.generated > 1 and usage.decode > 0:
        parts.append(f"{(usage.generated - 1) / usage.decode:.1f} tokens/s")
    parts.append(f"{usage.cached} of {usage.prompt} prompt tokens from the cache")
    if finish.reason is not FinishReason.STOP:
        parts.append(f"ended by {finish.reason}")
    return "; ".join(parts)


class Writer:
    """Writes tokens as they arrive: coloured on a terminal, plain text to a file or pipe."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._console = Console(file=self._stream, highlight=False, soft_wrap=True, legacy_windows=False)
        self._last = ""
        self._scored = 0
        self._logprobs = 0.0

    @property
    def coloured(self) -> bool:
        """True if the output is a terminal."""
        return self._console.is_terminal

    def begin(self) -> None:
        """Begin the counts of a new answer."""
        self._scored, self._logprobs = 0, 0.0

    def token(self, token: Token) -> None:
        """Write one token."""
        if self.coloured:
            self._console.print(paint(token), end="")
        else:
            self._stream.write(token.text)
        self._stream.flush()
        self._last = token.text or self._last
        if token.logprob is not None:
            self._scored += 1
            self._logprobs += token.logprob

    def plain(self, text: str) -> None:
        """Write text that is not a token's (the context of a completion, say), only on a terminal."""
        if self.coloured:
            self._console.print(Text(harmless(text), "dim"), end="")
            self._last = text or self._last

    def end(self, finish: Finish) -> None:
        """End the line and, on a terminal, print the legend and a summary."""
        if not self._last.endswith("\n"):
            self._stream.write("\n")
        if self.coloured:
            self._console.print(legend())
            self._console.print(Text(summary(self._scored, self._logprobs, finish), "dim"))
        self._stream.flush()
        self._last = ""


class Bars:
    """Progress bars on stderr with size, speed and time left; without a terminal, one line for each piece of work.

    Implements :class:`pellucid.system.progress_protocol.Progress`. Exit the context before writing elsewhere on the terminal.
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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
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
