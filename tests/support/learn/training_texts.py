"""Training texts for tests."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from pellucid.learn.train.bits_per_byte import Bytes

_WORDS = "the king says that no man of the north shall pass without naming his lord and"
WORDS = _WORDS.split()


def text_of(size: int, seed: int = 0) -> str:
    """Return lines of words of about ``size`` bytes, including the non-ASCII word "naïve"."""
    draw, lines, length = random.Random(seed), [], 0
    while length < size:
        words = draw.choices(WORDS, k=draw.randint(4, 10))
        line = " ".join(words).capitalize() + draw.choice([".", "!", "?", ", naïve as he is."]) + "\n"
        lines.append(line)
        length += len(line.encode())
    return "".join(lines)


def text_file(folder: Path, size: int = 24_000, seed: int = 0) -> Path:
    """Write such a text to a file."""
    path = folder / "words.txt"
    path.write_text(text_of(size, seed), encoding="utf-8")
    return path


def as_bytes(text: str) -> Bytes:
    return np.frombuffer(bytearray(text.encode()), dtype=np.uint8)
