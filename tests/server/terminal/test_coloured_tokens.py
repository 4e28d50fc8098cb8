"""The terminal's colours are readable and distinguishable for everyone; a file gets plain text."""

from __future__ import annotations

import io
import itertools
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.terminal.coloured_tokens import LEVELS, ProbabilityLevel, Writer, harmless, level_of, paint
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.token import Token

RGB = tuple[float, float, float]


COLOUR_VISION: dict[str, tuple[RGB, RGB, RGB]] = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
"""Matrices on linear RGB of Machado, Oliveira and Fernandes 2009 (severity 1.0)."""


COLOURED = [level for level in LEVELS if level.background]


def token(text: str, probability: float | None = 0.5) -> Token:
    logprob = None if probability is None else math.log(probability)
    return Token(1, text, text.encode(), 0, logprob, 1, 0.0)


def linear(colour: str) -> RGB:
    """Convert sRGB hex to linear light."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return (_linear(red), _linear(green), _linear(blue))


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def luminance(colour: str) -> float:
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


def times(matrix: tuple[RGB, RGB, RGB], colour: RGB) -> RGB:
    red, green, blue = (sum(m * c for m, c in zip(row, colour, strict=True)) for row in matrix)
    return (red, green, blue)


def lab(colour: RGB) -> RGB:
    """Convert linear RGB to CIE L*a*b* (D65), where distances match perception."""
    red, green, blue = (min(max(part, 0.0), 1.0) for part in colour)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    fx, fy, fz = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in (x, y, z))
    return (116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz))


@pytest.mark.parametrize("level", COLOURED, ids=lambda level: level.label)
def test_text_is_readable(level: ProbabilityLevel) -> None:
    """Text on a coloured background has the contrast of WCAG 2 (4.5), in any terminal theme."""
    assert level.foreground is not None
    assert level.background is not None
    dark, light = sorted((luminance(level.foreground), luminance(level.background)))

    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_levels_are_distinguishable(vision: str) -> None:
    """Any two backgrounds differ by more than 20 in CIE76, for each kind of colour vision."""
    matrix = COLOUR_VISION[vision]
    for one, other in itertools.combinations(COLOURED, 2):
        first, second = (lab(times(matrix, linear(str(level.background)))) for level in (one, other))

        assert math.dist(first, second) > 20, (vision, one.label, other.label)


@pytest.mark.parametrize(
    ("probability", "label"),
    [
        (1.0, "90% or more"),
        (0.9, "90% or more"),
        (0.899, "60-90%"),
        (0.3, "30-60%"),
        (0.1, "10-30%"),
        (1e-30, "under 10%"),
    ],
)
def test_level(probability: float, label: str) -> None:
    """A level includes the floor and all probabilities up to the next level."""
    assert level_of(math.log(probability) + 1e-12).label == label


def test_first_token_is_plain() -> None:
    """A first token has no probability, and is not marked as improbable."""
    assert not level_of(None).style


def test_impossible_token_has_a_level() -> None:
    """A probability of zero is the lowest level, not an error."""
    assert level_of(-math.inf) is LEVELS[-1]


@given(st.text())
def test_no_answer_controls_the_terminal(text: str) -> None:
    """Output keeps the number of characters, without control characters but tab and line end."""
    shown = harmless(text)

    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    assert len(shown) == len(text)


def test_line_end_is_drawn_where_unsure() -> None:
    """An improbable line end is drawn; a probable line end only breaks the line."""
    assert paint(token("a\nb", 0.05)).plain == "a↵\nb"
    assert paint(token("a\nb", 0.99)).plain == "a\nb"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=8))
def test_pipe_gets_the_text_alone(texts: list[str]) -> None:
    """A file gets the plain text with a final line end, and no colour, legend or context."""
    stream = io.StringIO()
    writer = Writer(stream)

    writer.plain("context")
    for text in texts:
        writer.token(token(text))
    writer.end(Finish(FinishReason.STOP, Usage()))

    whole = "".join(texts)
    assert stream.getvalue() == (whole if whole.endswith("\n") else whole + "\n")


def test_terminal_gets_colours_and_legend(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal an improbable token is coloured, and a legend and a summary follow."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = io.StringIO()
    writer = Writer(stream)

    writer.begin()
    writer.token(token("stopped", 0.99))
    writer.begin()
    writer.token(replace(token("", 0.5), reasoning="hm"))
    writer.token(token("sure", 0.99))
    writer.token(token("unsure", 0.2))
    writer.end(Finish(FinishReason.LENGTH, Usage(cached=3, computed=4, generated=2, decode=0.5)))

    painted = stream.getvalue()
    assert painted.startswith("stopped\x1b[2mhm\x1b[0m\n\nsure\x1b[38;2;0;0;0;48;2;253;174;97munsure\x1b[0m\n")
    for level in LEVELS:
        assert level.label in painted
    assert "3 tokens; perplexity 2.16; 2.0 tokens/s; 3 of 7 prompt tokens from the cache; ended by length" in painted
