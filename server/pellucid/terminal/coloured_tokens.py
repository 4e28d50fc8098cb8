"""Token output on the terminal, coloured by probability."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.style import Style
from rich.text import Text

from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.token import Token


@dataclass(frozen=True, slots=True)
class ProbabilityLevel:
    """The style of tokens with probabilities from ``floor`` up to the next level.

    A level sets both colours, for the same look on light and dark terminals.
    """

    floor: float
    label: str
    foreground: str | None = None
    background: str | None = None
    underline: bool = False

    @property
    def style(self) -> Style:
        return Style(color=self.foreground, bgcolor=self.background, underline=self.underline or None)


LEVELS = (
    ProbabilityLevel(0.9, "90% or more"),
    ProbabilityLevel(0.6, "60-90%", "#ffffff", "#2166ac"),
    ProbabilityLevel(0.3, "30-60%", "#000000", "#92c5de"),
    ProbabilityLevel(0.1, "10-30%", "#000000", "#fdae61"),
    ProbabilityLevel(0.0, "under 10%", "#000000", "#d95f02", underline=True),
)
"""Blue to orange: colour-blind people can distinguish these colours. Probable tokens stay plain."""


_CONTROL_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"} | {0x7F: 0x2421}


_CONTROL_PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


def level_of(logprob: float | None) -> ProbabilityLevel:
    probability = 1.0 if logprob is None else math.exp(logprob)
    return next(level for level in LEVELS if probability >= level.floor)


def harmless(text: str) -> str:
    """Return ``text`` with control characters as pictures: no answer may control the terminal."""
    return text.translate(_CONTROL_PICTURES)


def paint(token: Token) -> Text:
    """Return a token's text in its level's style. Line ends in a coloured style are drawn."""
    style = level_of(token.logprob).style
    painted = Text()
    for index, line in enumerate(harmless(token.text).split("\n")):
        if index:
            painted.append("↵" if style else "", style).append("\n")
        painted.append(line, style)
    return painted


def legend() -> Text:
    line = Text.assemble(("probability:", "dim"))
    for level in LEVELS:
        line.append(" ").append(f" {level.label} ", level.style)
    return line


def summary(tokens: int, logprobs: float, finish: Finish) -> str:
    """Summarise an answer in one line; ``logprobs`` is the sum over the tokens."""
    usage = finish.usage
    parts = ["1 token" if tokens == 1 else f"{tokens} tokens"]
    if tokens:
        parts.append(f"perplexity {math.exp(-logprobs / tokens):.2f}")
    if usage.generated > 1 and usage.decode > 0:
        parts.append(f"{(usage.generated - 1) / usage.decode:.1f} tokens/s")
    parts.append(f"{usage.cached} of {usage.prompt} prompt tokens from the cache")
    if finish.reason is not FinishReason.STOP:
        parts.append(f"ended by {finish.reason}")
    return "; ".join(parts)


class Writer:
    """A writer of tokens: coloured on a terminal, plain text to a file or pipe.

    Only a terminal gets the reasoning before an answer.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._console = Console(file=self._stream, highlight=False, soft_wrap=True, legacy_windows=False)
        self._last = ""
        self._scored = 0
        self._logprobs = 0.0
        self._reasons = False

    @property
    def coloured(self) -> bool:
        return self._console.is_terminal

    def begin(self) -> None:
        self._scored, self._logprobs, self._reasons = 0, 0.0, False

    def token(self, token: Token) -> None:
        if token.reasoning:
            self.plain(token.reasoning)
            self._reasons = True
        elif self.coloured:
            if self._reasons and token.text:
                self._console.print("\n")
                self._reasons = False
            self._console.print(paint(token), end="")
        else:
            self._stream.write(token.text)
        self._stream.flush()
        self._last = token.text or self._last
        if token.logprob is not None:
            self._scored += 1
            self._logprobs += token.logprob

    def plain(self, text: str) -> None:
        if self.coloured:
            self._console.print(Text(harmless(text), "dim"), end="")
            self._last = text or self._last

    def end(self, finish: Finish) -> None:
        if not self._last.endswith("\n"):
            self._stream.write("\n")
        if self.coloured:
            self._console.print(legend())
            self._console.print(Text(summary(self._scored, self._logprobs, finish), "dim"))
        self._stream.flush()
        self._last = ""
